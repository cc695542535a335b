//! Triggers a task from the page, and tells whether that made a run or found one, and why.

use axum::extract::State;
use maud::{Markup, html};
use oncekey_core::key::KeyRelease;
use oncekey_core::protocol::claim::KeyStatus;
use oncekey_core::protocol::trigger::{Triggered, trigger};
use oncekey_core::request::{Envelope, TriggerBody, parse_json};
use oncekey_core::{App, Error, RequestId, TaskId, Timestamp};
use serde_json::json;
use serde_json::value::RawValue;

use crate::OwnTasks;
use crate::door::Submitted;
use crate::form::{Fields, Query, token};
use crate::format::{Kind, badge_of, moment, span};
use crate::page::{Failure, Page, inside};
use crate::session::{Visitor, random};

/// Which ends of its run free a key, and what the form calls them.
const RELEASES: [(KeyRelease, &str); 3] =
    [(KeyRelease::OnFailure, "a failure"), (KeyRelease::OnEnd, "any end"), (KeyRelease::Never, "no end")];

/// What to do about a key that is held: the words of the wire, and those shown.
const HELD: [(&str, &str); 3] =
    [("return", "answer with its run"), ("error", "fail"), ("replace", "replace its run, unless it has ended")];

/// Shows the form.
pub(crate) async fn ask(
    State(app): State<App>,
    State(own): State<OwnTasks>,
    visitor: Visitor,
    Query(query): Query,
) -> Page {
    let known = own.and_those_of(&app, &visitor.environment).await;
    page(&visitor, &query, &known, html! {})
}

/// A task to begin with.
#[must_use]
pub fn example(known: &[TaskId]) -> &str {
    let echo = |task: &&str| *task == "echo";
    known.iter().map(TaskId::as_str).find(echo).or_else(|| known.first().map(TaskId::as_str)).unwrap_or("echo")
}

/// Triggers, and shows what came of it above the form, filled in for the next time.
pub(crate) async fn trigger_task(
    State(app): State<App>,
    State(own): State<OwnTasks>,
    Submitted { visitor, fields }: Submitted,
) -> Result<Page, Failure> {
    let outcome = match triggered(&app, &visitor, &fields).await {
        Ok((triggered, warning)) => render_answer(&triggered, warning.as_deref(), app.clock.now()),
        // What is wrong with a field is said beside the form.
        Err(error @ (Error::Invalid { .. } | Error::TooLarge(_) | Error::Unprocessable(_))) => {
            html! { p.error role="alert" { (error) } }
        }
        Err(error) => return Err(Failure::of(&visitor, error)),
    };
    let known = own.and_those_of(&app, &visitor.environment).await;
    Ok(page(&visitor, &fields, &known, outcome))
}

async fn triggered(app: &App, visitor: &Visitor, fields: &Fields) -> Result<(Triggered, Option<String>), Error> {
    let payload = fields.given("payload").map(|text| {
        serde_json::from_str::<&RawValue>(text)
            .map_err(|error| Error::invalid("payload", format!("it is not JSON: {error}")))
    });
    let payload = payload.transpose()?;
    let options = json!({
        "idempotencyKey": fields.get("key"),
        "idempotencyKeyTTL": fields.given("ttl"),
        "idempotencyKeyRelease": fields.given("release"),
        "onKeyHeld": fields.given("held"),
        "delay": fields.given("delay"),
    });
    let body = match payload {
        Some(payload) => format!("{{\"payload\": {payload}, \"options\": {options}}}"),
        None => json!({ "options": options }).to_string(),
    };
    let task = TaskId::parse(fields.get("task"))?;
    // Named by the form: reloading the answer sends the same request again, which makes no second run (I3).
    let request_id = RequestId::from_caller(fields.get("request"))?;
    let envelope = Envelope::new(visitor.environment.clone(), task.clone(), request_id, app.clock.now());
    let triggered = trigger(app, parse_json::<TriggerBody<'_>>(body.as_bytes())?.check(envelope)?).await?;
    Ok((triggered, app.tasks.warning(&visitor.environment, &task).await))
}

fn render_answer(Triggered { handle, key, .. }: &Triggered, warning: Option<&str>, now: Timestamp) -> Markup {
    let (word, why) = match key.as_ref().map(|outcome| outcome.status) {
        None => ("created", "No key was given, so every trigger makes a run of its own."),
        Some(KeyStatus::Created) => ("created", "Nobody held the key, so this trigger made the run."),
        Some(KeyStatus::Cached) => ("cached", "A run holds the key: this is its handle, and nothing new runs."),
        Some(KeyStatus::ReplacedExpired) => ("replaced-expired", "The window of the run that held the key was over."),
        Some(KeyStatus::ReplacedFailed) => ("replaced-failed", "The run that held the key had failed."),
        Some(KeyStatus::Pushed) => {
            ("pushed", "The start of the run that is delayed under this debounce key was pushed.")
        }
        Some(KeyStatus::Replaced) => ("replaced", "The run that held the key was cancelled to make way for this one."),
    };
    html! {
        section.card #outcome role="status" {
            p { (badge_of(if handle.is_cached { Kind::Idle } else { Kind::Good }, word)) " " (why) }
            @if let Some(warning) = warning { p.error { (warning) } }
            dl.details {
                dt { "Run" } dd { a.id href=(format!("/runs/{}", handle.id)) { (handle.id) } }
                @if let Some(outcome) = key {
                    dt { "Hash" } dd { code.id { (outcome.key.hash) } }
                    dt { "First triggered" } dd { (moment(outcome.first_triggered_at, now)) }
                    dt { "Window" } dd { (span(outcome.window_ends_at.since(now))) " left" }
                }
            }
        }
    }
}

fn page(visitor: &Visitor, fields: &Fields, known: &[TaskId], outcome: Markup) -> Page {
    let or = |name: &str, default: &str| fields.given(name).unwrap_or(default).to_owned();
    let content = html! {
        div.heading { h1 { "Try it" } }
        (outcome)
        form.card.grid method="post" action="/try" {
            (token(&visitor.session))
            input type="hidden" name="request" value=(random());
            label { "Task" input name="task" list="tasks" value=(or("task", example(known))) required; }
            datalist id="tasks" { @for task in known { option value=(task) {} } }
            label.wide { "Payload, as JSON" textarea name="payload" rows="5" spellcheck="false" { (or("payload", "{\"hello\": \"world\"}")) } }
            label { "Idempotency key" input name="key" value=(fields.get("key")) placeholder="order-42"; }
            label { "Its window" input name="ttl" value=(fields.get("ttl")) placeholder="30d"; }
            label { "Freed by" select name="release" {
                @for (release, words) in RELEASES {
                    option value=(release) selected[fields.get("release") == release.as_str()] { (words) }
                }
            } }
            label { "If it is held" select name="held" {
                @for (held, words) in HELD {
                    option value=(held) selected[fields.get("held") == held] { (words) }
                }
            } }
            label { "Delay" input name="delay" value=(fields.get("delay")) placeholder="none"; }
            button.primary { "Trigger" }
        }
        p.muted { "Press it twice with the same key: the second answer is the first one's run." }
    };
    inside(visitor, "/try", "Try it", content)
}
