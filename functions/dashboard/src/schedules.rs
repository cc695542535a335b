//! The cron schedules of an environment: what they trigger, when next, and the runs that each has made.

use axum::extract::State;
use maud::{Markup, html};
use oncekey_core::cron::{CronSchedule, OnMissed, OnOverlap};
use oncekey_core::{App, Timestamp};

use crate::format::{Kind, badge_of, moment};
use crate::page::{Failure, Page, inside, live};
use crate::session::Visitor;

/// Most schedules that the page shows.
const MOST: usize = 200;

/// Shows the schedules, those that tick next first.
pub(crate) async fn schedules(State(app): State<App>, visitor: Visitor) -> Result<Page, Failure> {
    let all = app.store.cron_schedules(&visitor.environment).await;
    let mut all = all.map_err(|error| Failure::of(&visitor, error))?;
    all.sort_by_key(|schedule| (!schedule.is_active, schedule.next_at));
    let now = app.clock.now();
    let content = html! {
        div.heading { h1 { "Schedules" } span.muted { "next first" } }
        @if all.is_empty() {
            div.card.empty { p {
                "There are no schedules yet. Declare one in a task's file with " code { "schedules.task({ cron })" }
                ", or make one with " code { "schedules.create" } " of the npm client or " code { "oncekey schedules create" } "."
            } }
        } @else {
            (live(true, table(&all, now)))
        }
    };
    Ok(inside(&visitor, "/schedules", "Schedules", content))
}

fn table(all: &[CronSchedule], now: Timestamp) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Task and key" } th { "Next" } th { "When" } th.roomy { "Last" } th.roomy { "Runs" } } }
            tbody { @for schedule in all.iter().take(MOST) { (row(schedule, now)) } }
        } }
        @if all.len() > MOST { p.muted { (all.len() - MOST) " more are not shown here." } }
    }
}

fn row(schedule: &CronSchedule, now: Timestamp) -> Markup {
    let CronSchedule { id, plan, deduplication_key, declared_by, is_active, next_at, last_at, .. } = schedule;
    let runs = format!("/runs?schedule={id}");
    html! {
        tr {
            td {
                a href=(runs) title=(id) { (plan.task) }
                @if let Some(key) = deduplication_key { div.key { (key) } }
                @if let Some(worker) = declared_by { div.muted { "declared by " (worker) } }
                @if let Some(external_id) = &plan.external_id { div.muted { (external_id) } }
            }
            td {
                @if !is_active {
                    (badge_of(Kind::Stopped, "stopped"))
                } @else if *next_at > now {
                    (moment(*next_at, now))
                } @else {
                    (badge_of(Kind::Busy, "due"))
                }
            }
            td {
                code { (plan.cron.expression()) }
                div.muted { (plan.cron.timezone()) }
                div.muted.roomy { (plan.cron.description()) }
                @if plan.on_overlap == OnOverlap::Skip { div.muted.roomy { "none while an earlier run is under way" } }
                @if plan.on_missed == OnMissed::Skip { div.muted.roomy { "missed ones are not made up for" } }
            }
            td.roomy { @if let Some(last_at) = last_at { (moment(*last_at, now)) } @else { span.muted { "never" } } }
            td.roomy { a href=(runs) { "show" } }
        }
    }
}
