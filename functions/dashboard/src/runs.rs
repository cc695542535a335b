//! The list of runs: newest first, filtered, live on its first page.

use std::time::Duration;

use axum::extract::State;
use maud::{Markup, html};
use oncekey_core::cron::ScheduleId;
use oncekey_core::runs::list::{Cursor, Filter, Page as RunsPage, PageStart, list};
use oncekey_core::{App, BulkActionType, Error, KeyHash, Run, RunStatus, TaskId, Timestamp, span};

use crate::form::{Fields, Query};
use crate::format;
use crate::page::{Failure, Page, inside, live};
use crate::session::Visitor;

/// Runs a page.
const SIZE: usize = 50;
/// Spans that the filter offers.
const PERIODS: [&str; 4] = ["1h", "1d", "7d", "30d"];
/// What a filter may say.
pub(crate) const FIELDS: [&str; 7] = ["task", "status", "tag", "key", "queue", "period", "schedule"];

/// Shows a page of the list.
pub(crate) async fn runs(State(app): State<App>, visitor: Visitor, Query(query): Query) -> Result<Page, Failure> {
    let now = app.clock.now();
    let (from, page, holds) = async {
        let from = place(&query)?;
        let page = list(&app, &visitor.environment, &filter(&query, now)?, &from, SIZE).await?;
        let holds = app.store.holds_key(&page.runs, now).await?;
        Ok::<_, Error>((from, page, holds))
    }
    .await
    .map_err(|error| Failure::of(&visitor, error))?;
    let newest = matches!(from, PageStart::Newest);
    let content = html! {
        div.heading {
            h1 { "Runs" }
            @if newest { span.muted { "newest first, live" } }
            a.muted href="/bulk" { "bulk actions" }
        }
        (filters(&query))
        (bulk_links(&query))
        (live(newest, render_list(&query, &page, &holds, now)))
    };
    Ok(inside(&visitor, "/runs", "Runs", content))
}

fn place(query: &Fields) -> Result<PageStart, Error> {
    match (query.given("after"), query.given("before")) {
        (Some(after), _) => Ok(PageStart::After(Cursor::parse("after", after)?)),
        (None, Some(before)) => Ok(PageStart::Before(Cursor::parse("before", before)?)),
        (None, None) => Ok(PageStart::Newest),
    }
}

/// Which runs a query, or a form of its fields, is about.
pub(crate) fn filter(query: &Fields, now: Timestamp) -> Result<Filter, Error> {
    let status = query.given("status").map(|name| {
        let found = RunStatus::ALL.into_iter().find(|status| status.as_str() == name);
        found.ok_or_else(|| Error::invalid("status", format!("{name:?} is not a status")))
    });
    let period = query.given("period").map(|text| {
        let wrong = || Error::invalid("period", "give a span like \"7d\"");
        span::parse(text).ok_or_else(wrong)
    });
    let back = |period: Duration| {
        let millis = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(now.millis().saturating_sub(millis))
    };
    Ok(Filter {
        statuses: status.transpose()?.map(|status| vec![status]),
        tasks: query.given("task").map(TaskId::parse).transpose()?.into_iter().collect(),
        tags: query.given("tag").map(str::to_owned).into_iter().collect(),
        queues: query.given("queue").map(str::to_owned).into_iter().collect(),
        key: query.given("key").map(|text| KeyHash::from_wire("key", text)).transpose()?,
        schedules: query.given("schedule").map(ScheduleId::parse).transpose()?.into_iter().collect(),
        from: period.transpose()?.map(back),
        ..Filter::default()
    })
}

fn filters(query: &Fields) -> Markup {
    let text = |name: &'static str, hint: &'static str| {
        html! { label { (hint) input name=(name) value=(query.get(name)) size="14"; } }
    };
    html! {
        form.filters method="get" action="/runs" role="search" {
            (text("task", "Task"))
            label { "Status"
                select name="status" {
                    option value="" { "any" }
                    @for status in RunStatus::ALL {
                        option selected[query.get("status") == status.as_str()] { (status) }
                    }
                }
            }
            (text("tag", "Tag"))
            (text("key", "Key, as text or hash"))
            (text("queue", "Queue"))
            label { "Created within"
                select name="period" {
                    option value="" { "any time" }
                    @for period in PERIODS { option selected[query.get("period") == period] { (period) } }
                }
            }
            @if let Some(schedule) = query.given("schedule") { input type="hidden" name="schedule" value=(schedule); }
            button.primary { "Filter" }
            @if is_filtered(query) { a href="/runs" { "Clear" } }
        }
    }
}

pub(crate) fn is_filtered(query: &Fields) -> bool {
    FIELDS.iter().any(|field| query.given(field).is_some())
}

/// A page about the same runs, told one thing more.
fn linked(page: &str, query: &Fields, name: &str, value: &str) -> String {
    let mut link = form_urlencoded::Serializer::new(String::new());
    link.extend_pairs(FIELDS.iter().filter_map(|field| Some((*field, query.given(field)?))));
    format!("{page}?{}", link.append_pair(name, value).finish())
}

/// Leads to the page that asks whether all that this filter shows is to be cancelled, or replayed.
fn bulk_links(query: &Fields) -> Markup {
    let status = RunStatus::ALL.into_iter().find(|status| query.get("status") == status.as_str());
    let ask = |kind: BulkActionType| linked("/bulk", query, "action", kind.verb());
    html! {
        @if is_filtered(query) {
            p.bulk {
                @if !status.is_some_and(RunStatus::is_final) { a href=(ask(BulkActionType::Cancel)) { "Cancel all of these…" } " " }
                a href=(ask(BulkActionType::Replay)) { "Replay all of these…" }
            }
        }
    }
}

fn render_list(query: &Fields, page: &RunsPage, holds: &[bool], now: Timestamp) -> Markup {
    let link = |name: &str, cursor: &Cursor| linked("/runs", query, name, &cursor.to_string());
    let is_filtered = is_filtered(query);
    html! {
        @if page.runs.is_empty() {
            div.card.empty {
                @match page.next {
                    Some(_) => p { "None among the thousand runs that this page looked at. Older ones may match." },
                    None if !is_filtered => p { "There are no runs yet. " a href="/try" { "Trigger one" } "." },
                    None => p { "No run is like that. " a href="/runs" { "Show all" } ", or " a href="/try" { "make one" } "." },
                }
            }
        } @else {
            (table(page.runs.iter().zip(holds), now))
        }
        nav.pages aria-label="Pages of runs" {
            @if let Some(previous) = &page.previous { a href=(link("before", previous)) { "← Newer" } }
            @if let Some(next) = &page.next { a href=(link("after", next)) { "Older →" } }
        }
    }
}

/// Runs as a table, each with whether it holds its key.
fn table<'a>(runs: impl Iterator<Item = (&'a Run, &'a bool)>, now: Timestamp) -> Markup {
    html! {
        div.scroll { table.runs {
            thead { tr { th.roomy { "Run" } th { "Status" } th { "Task and key" } th { "Created" } th.number.roomy { "Took" } } }
            tbody {
                @for (run, holds) in runs {
                    tr {
                        td.roomy { a.id href=(format!("/runs/{}", run.id)) title=(run.id) { (short(run)) } }
                        td { (format::badge(run.status)) }
                        td {
                            a href=(format!("/runs/{}", run.id)) { (run.spec.task) }
                            @for tag in run.tags() { " " span.tag { (tag) } }
                            @if let Some(claimed) = &run.spec.key { (keyed(claimed.key.display_text(), *holds)) }
                        }
                        td { (format::moment(run.spec.created_at, now)) }
                        td.number.roomy { @if let Some(took) = format::took(run, now) { (format::span(took)) } }
                    }
                }
            }
        } }
    }
}

/// The key that a run was triggered with. Long ones are cut, and the mark of one that it holds no more is not.
fn keyed(key: &str, holds: bool) -> Markup {
    html! { div.keyed { div.key title=(key) { (key) } @if !holds { span.muted { "(freed)" } } } }
}

/// The same without tags and keys, for where there is less room.
pub(crate) fn brief<'a>(runs: impl IntoIterator<Item = &'a Run>, now: Timestamp) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Task" } th { "Status" } th { "Created" } th.number.roomy { "Took" } } }
            tbody {
                @for run in runs {
                    tr {
                        td { a href=(format!("/runs/{}", run.id)) title=(run.id) { (run.spec.task) } }
                        td { (format::badge(run.status)) }
                        td { (format::moment(run.spec.created_at, now)) }
                        td.number.roomy { @if let Some(took) = format::took(run, now) { (format::span(took)) } }
                    }
                }
            }
        } }
    }
}

/// Enough of a run's id to tell it from its neighbours.
pub(crate) fn short(run: &Run) -> String {
    run.id.as_str().chars().take(14).chain(['…']).collect()
}

/// A text as part of a query.
pub(crate) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
