//! The queues of an environment: how many of their runs execute at a time, how many wait for a place, and whether any start.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use oncekey_core::protocol::change::{change_queue, pause_environment};
use oncekey_core::runs::queues::{QueueView, Queues};
use oncekey_core::{App, Error, QueueLabel};

use crate::door::Submitted;
use crate::form::token;
use crate::format::{Kind, badge_of};
use crate::page::{Failure, Page, inside, live};
use crate::runs::encoded;
use crate::session::{Session, Visitor};

/// Most queues that the page shows: each is counted anew.
const MOST: usize = 100;
/// The buttons of a queue.
const PAUSE: &str = "pause";
const RESUME: &str = "resume";
/// Those of all queues.
const PAUSE_ALL: &str = "pause_all";
const RESUME_ALL: &str = "resume_all";

/// Shows the queues, by their names.
pub(crate) async fn queues(State(app): State<App>, visitor: Visitor) -> Result<Page, Failure> {
    let read = async {
        let queues = Queues::of(&app, &visitor.environment).await?;
        let views = queues.views(&app, &visitor.environment, queues.names.iter().take(MOST)).await?;
        Ok((queues, views))
    };
    let (queues, views) = read.await.map_err(|error| Failure::of(&visitor, error))?;
    let content = html! {
        div.heading {
            h1 { "Queues" }
            @if queues.are_paused() { (badge_of(Kind::Stopped, "all paused")) }
            @if !views.is_empty() { (form_of_buttons(&visitor.session, queues.are_paused())) }
        }
        @if views.is_empty() {
            div.card.empty { p {
                "There are no queues yet: a task has one once its worker was deployed. Give it a limit with "
                code { "queue({ name, concurrencyLimit })" } " in a task's file, or " code { "Task::concurrency" } " in Rust."
            } }
        } @else {
            (live(true, table(&views, queues.names.len().saturating_sub(MOST))))
        }
    };
    Ok(inside(&visitor, "/queues", "Queues", content))
}

/// What the buttons of the page send beside what they are, and those that are of all queues.
fn form_of_buttons(session: &Session, are_paused: bool) -> Markup {
    html! {
        form #steer method="post" action="/queues" {
            (token(session))
            div.buttons {
                @if are_paused {
                    button name=(RESUME_ALL) value="1" { "Resume all" }
                } @else {
                    button name=(PAUSE_ALL) value="1" { "Pause all" }
                }
            }
        }
    }
}

fn table(views: &[QueueView], more: usize) -> Markup {
    html! {
        div.scroll { table.queues {
            thead { tr { th { "Queue" } th { "Limit" } th.roomy { "Running" } th { "Waiting" } th {} } }
            tbody { @for view in views { (row(view)) } }
        } }
        @if views.iter().any(|view| view.setting.limit().is_some()) {
            p.muted { "Of runs with a concurrency key, a limit holds for those of each key by themselves." }
        }
        @if more > 0 { p.muted { (more) " more are not shown here." } }
    }
}

fn row(QueueView { setting, running, parked }: &QueueView) -> Markup {
    let limit = setting.limit();
    html! {
        tr {
            td {
                div.key { (link(&setting.queue)) }
                @if setting.paused { (badge_of(Kind::Stopped, "paused")) }
                @for task in setting.tasks.iter().take(5) { div.muted { (task) } }
                @if setting.tasks.len() > 5 { div.muted { "and " (setting.tasks.len() - 5) " more tasks" } }
            }
            td {
                @match limit { Some(limit) => (limit), None => span.muted { "none" } }
                @if setting.overridden.is_some() {
                    div.muted { "declared: " @match setting.declared { Some(limit) => (limit), None => "none" } }
                }
            }
            td.roomy { @if limit.is_some() { (running) } @else { span.muted title="nothing limits them, so nobody counts" { "–" } } }
            td { (parked) }
            td {
                div.buttons role="group" aria-label=(setting.queue) data-hold {
                    @if setting.paused {
                        button form="steer" name=(RESUME) value=(setting.queue) { "Resume" }
                    } @else {
                        button form="steer" name=(PAUSE) value=(setting.queue) { "Pause" }
                    }
                }
            }
        }
    }
}

/// A queue, which leads to its runs.
pub(crate) fn link(queue: &QueueLabel) -> Markup {
    html! { a href=(format!("/runs?queue={}", encoded(queue.as_str()))) title=(queue) { (queue) } }
}

/// Pauses a queue, or all of them, or lets them go on.
pub(crate) async fn steer(
    State(app): State<App>,
    Submitted { visitor, fields }: Submitted,
) -> Result<Response, Failure> {
    let environment = &visitor.environment;
    let steered = async {
        for (all, paused) in [(PAUSE_ALL, true), (RESUME_ALL, false)] {
            if fields.given(all).is_some() {
                return pause_environment(&app, environment, paused).await;
            }
        }
        let asked = fields.given(PAUSE).map(|queue| (queue, true)).or(fields.given(RESUME).map(|queue| (queue, false)));
        let (queue, paused) = asked.ok_or_else(|| Error::invalid("queue", "say which"))?;
        let queue = QueueLabel::parse(queue)?;
        if !Queues::of(&app, environment).await?.names.contains(&queue) {
            return Err(Error::NotFound(format!("there is no queue {queue} any more")));
        }
        change_queue(&app, environment, &queue, |setting| setting.paused = paused).await.map(drop)
    };
    steered.await.map_err(|error| Failure::of(&visitor, error))?;
    Ok(Redirect::to("/queues").into_response())
}
