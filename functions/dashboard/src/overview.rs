//! The first page: how an environment does. It looks at the newest runs of a period, and says so if there are more.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use maud::{Markup, html};
use oncekey_core::runs::list::{Filter, MAX_PAGE, PageStart, list};
use oncekey_core::{App, EnvironmentId, Error, Run, TaskId, Timestamp};

use crate::OwnTasks;
use crate::chart::chart;
use crate::form::Query;
use crate::format::{Kind, badge, moment, span, took};
use crate::page::{Failure, Page, inside, live};
use crate::runs::brief;
use crate::session::Visitor;
use crate::try_it::example;

/// Pages of runs that are looked at, so that the page costs alike whatever goes on.
const PAGES: usize = 4;
/// Rows of each short list.
const SHORT: usize = 5;
/// What one may look at: its name in the query, how long it is, and what it is called.
const PERIODS: [(&str, Duration, &str); 4] = [
    ("1h", Duration::from_secs(3_600), "Hour"),
    ("24h", Duration::from_secs(86_400), "Day"),
    ("7d", Duration::from_secs(7 * 86_400), "Week"),
    ("30d", Duration::from_secs(30 * 86_400), "Month"),
];

/// Shows the overview.
pub(crate) async fn overview(
    State(app): State<App>,
    State(own): State<OwnTasks>,
    visitor: Visitor,
    Query(query): Query,
) -> Result<Page, Failure> {
    let period = PERIODS.into_iter().find(|(name, ..)| *name == query.get("period")).unwrap_or(PERIODS[1]);
    let now = app.clock.now();
    let from = Timestamp::from_millis(now.millis() - period.1.as_millis() as i64);
    let (runs, all) = newest(&app, &visitor.environment, from).await.map_err(|error| Failure::of(&visitor, error))?;
    let known = own.and_those_of(&app, &visitor.environment).await;
    let content = html! {
        div.heading {
            h1 { "Overview" }
            nav.tabs aria-label="Period" {
                @for (name, _, title) in PERIODS {
                    a href=(format!("/?period={name}")) aria-current=[(name == period.0).then_some("true")] { (title) }
                }
            }
        }
        (live(true, if runs.is_empty() { empty(&known) } else { filled(&runs, all, &known, from, now) }))
    };
    Ok(inside(&visitor, "/", "Overview", content))
}

/// The newest runs since `from`, and whether they are all.
async fn newest(app: &App, environment: &EnvironmentId, from: Timestamp) -> Result<(Vec<Run>, bool), Error> {
    let filter = Filter { from: Some(from), ..Filter::default() };
    let (mut runs, mut place) = (Vec::new(), PageStart::Newest);
    for _ in 0..PAGES {
        let page = list(app, environment, &filter, &place, MAX_PAGE).await?;
        runs.extend(page.runs);
        match page.next {
            Some(next) => place = PageStart::After(next),
            None => return Ok((runs, true)),
        }
    }
    Ok((runs, false))
}

fn filled(runs: &[Run], all: bool, known: &[TaskId], from: Timestamp, now: Timestamp) -> Markup {
    let count = |wanted: Kind| runs.iter().filter(|run| Kind::of(run.status) == wanted).count();
    let failed: Vec<&Run> = runs.iter().filter(|run| Kind::of(run.status) == Kind::Bad).take(SHORT).collect();
    let mut slowest: Vec<&Run> = runs.iter().filter(|run| run.started_at.is_some()).collect();
    slowest.sort_by_key(|run| std::cmp::Reverse(took(run, now)));
    // From the oldest on, so that the plot is filled; a minute at least.
    let oldest = runs.last().map_or(from, |oldest| oldest.spec.created_at);
    let from = oldest.min(Timestamp::from_millis(now.millis() - 60_000)).max(from);
    html! {
        @if !all {
            p.note { "More runs than these: the newest " (runs.len()) " are looked at, since " (moment(from, now)) "." }
        }
        dl.figures {
            div { dt { "Runs" } dd { (runs.len()) @if !all { "+" } } }
            div.good { dt { "Completed" } dd { (count(Kind::Good)) } }
            div.bad { dt { "Failed" } dd { (count(Kind::Bad)) } }
            div.busy { dt { "Executing" } dd { (count(Kind::Busy)) } }
            div.idle { dt { "Queued or waiting" } dd { (count(Kind::Idle)) } }
            div.stopped { dt { "Cancelled" } dd { (count(Kind::Stopped)) } }
        }
        (chart(runs, from, now))
        div.columns {
            section { h2 { "Failures" } (failures(&failed, now)) }
            section { h2 { "Tasks" } (tasks(runs, known, now)) }
        }
        div.columns {
            section { h2 { "Slowest" } (brief(slowest.into_iter().take(SHORT), now)) }
            section { h2 { "Latest" } (brief(runs.iter().take(SHORT), now)) }
        }
    }
}

fn failures(failed: &[&Run], now: Timestamp) -> Markup {
    html! {
        @if failed.is_empty() { p.muted { "None in this period." } }
        ul.failures {
            @for run in failed {
                li {
                    (badge(run.status)) " "
                    a href=(format!("/runs/{}", run.id)) { (run.spec.task) } " "
                    span.muted { (moment(run.finished_at.unwrap_or(run.updated_at), now)) }
                    @if let Some(error) = &run.error { div.message { (error.message) } }
                }
            }
        }
    }
}

/// What is told of one task.
#[derive(Default)]
struct TaskStats {
    runs: usize,
    failed: usize,
    took: Vec<Duration>,
}

fn tasks(runs: &[Run], known: &[TaskId], now: Timestamp) -> Markup {
    let mut tasks: BTreeMap<&TaskId, TaskStats> = known.iter().map(|task| (task, TaskStats::default())).collect();
    for run in runs {
        let stats = tasks.entry(&run.spec.task).or_default();
        stats.runs += 1;
        stats.failed += usize::from(Kind::of(run.status) == Kind::Bad);
        stats.took.extend(took(run, now).filter(|_| run.status.is_final()));
    }
    html! {
        div.scroll { table {
            thead { tr { th { "Task" } th.number { "Runs" } th.number { "Failed" } th.number { "Median" } } }
            tbody {
                @for (task, stats) in &mut tasks {
                    tr {
                        td { a href=(format!("/runs?task={}", crate::runs::encoded(task.as_str()))) { (task) } }
                        td.number { (stats.runs) }
                        td.number { (stats.failed) }
                        td.number { @if let Some(median) = median(&mut stats.took) { (span(median)) } }
                    }
                }
            }
        } }
    }
}

fn median(took: &mut [Duration]) -> Option<Duration> {
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// What to do where there is nothing to see.
fn empty(known: &[TaskId]) -> Markup {
    let example = example(known);
    html! {
        div.card.empty {
            h2 { "No runs in this period" }
            p { "Make the first one from a shell, twice, and see that it runs once:" }
            pre { code data-curl {
                "curl ORIGIN/api/v1/tasks/" (example) "/trigger -H 'Authorization: Bearer YOUR_API_KEY' \\\n  \
                 -H 'Idempotency-Key: order-42' -d '{\"payload\": {\"hello\": \"world\"}}'"
            } }
            p { "Or " a href="/try" { "try it on this site" } "." }
            @if !known.is_empty() { p.muted { "The tasks here: " @for (place, task) in known.iter().enumerate() { @if place > 0 { ", " } code { (task) } } "." } }
        }
    }
}
