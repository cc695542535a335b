//! One run: where it stands, what it went through, what it was given and returned, and its idempotency key.

use axum::extract::State;
use maud::{Markup, html};
use oncekey_core::payload::path::BlobPath;
use oncekey_core::runs::content::{output_of, payload_of};
use oncekey_core::runs::find::find;
use oncekey_core::runs::list::{Filter, PageStart, list};
use oncekey_core::runs::waiting::{WaitingFor, waiting_for};
use oncekey_core::{App, Error, Json, Run, Timestamp};
use oncekey_http::{Segment, run_id};

use crate::form::{Query, token};
use crate::format::{badge, moment, pretty, span, took};
use crate::keys::of_run;
use crate::page::{Failure, Page, inside, live};
use crate::session::{Session, Visitor};
use crate::timeline::timeline;
use crate::tokens::{buttons as buttons_of_token, form_of_buttons};

/// Most lines of its log that are shown: the newest.
const LINES: usize = 200;
/// Most children that are shown.
const CHILDREN: usize = 50;

/// Shows a run.
pub(crate) async fn run(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment,
    Query(query): Query,
) -> Result<Page, Failure> {
    match render_run(&app, &visitor, &id, query.get("done")).await {
        Ok((title, content)) => Ok(inside(&visitor, "/runs", &title, content)),
        Err(error) => Err(Failure::of(&visitor, error)),
    }
}

async fn render_run(app: &App, visitor: &Visitor, id: &str, done: &str) -> Result<(String, Markup), Error> {
    let mut run = find(app, &visitor.environment, &run_id(id)?).await?;
    app.store.read_metadata(std::slice::from_mut(&mut run)).await?;
    let now = app.clock.now();
    let children = children(app, &run).await?;
    let waiting = waiting_for(app, &run).await?;
    let content = html! {
        div.heading { h1 { (run.spec.task) } code.id { (run.id) } (copy("run-id", run.id.as_str())) }
        @if let Some(done) = notice(done) { p.note role="status" { (done) } }
        (live(!run.status.is_final(), html! {
            div.bar { (badge(run.status)) (facts(&run, now)) (buttons(&visitor.session, &run)) }
            @if let Some(waiting) = &waiting { (waits(&visitor.session, &run, waiting, now)) }
            @if let Some(error) = &run.error {
                section.failure {
                    h2 { @if let Some(name) = &error.name { (name) } @else { "Error" } }
                    pre { (error.message) }
                    @if let Some(stack) = &error.stack_trace { pre.muted { (stack) } }
                }
            }
            section { h2 { "Timeline" } (timeline(&run, &children, now)) (note_of_children(&children)) (failures(&run)) }
            div.columns {
                section { (of_run(app, &visitor.session, &run, now).await?) }
                section { h2 { "Details" } (details(&run, now)) (family(&run)) }
            }
            div.columns {
                section { (payload(app, &run).await?) }
                section { (output(app, &run).await?) }
            }
            (written(app, &run))
        }))
    };
    Ok((format!("{} {}", run.spec.task, crate::runs::short(&run)), content))
}

/// Says that there may be more children than are shown.
fn note_of_children(children: &[Run]) -> Markup {
    html! { @if children.len() == CHILDREN { p.muted { "Of its children the newest " (CHILDREN) " are shown." } } }
}

/// What the task has written, where that is kept.
fn written(app: &App, run: &Run) -> Markup {
    let Some(lines) = &app.lines else { return html! {} };
    let logs = lines.of(&run.id, 0);
    let left_out = logs.left_out + logs.data.len().saturating_sub(LINES) as u64;
    let shown = &logs.data[logs.data.len().saturating_sub(LINES)..];
    html! {
        section #log {
            h2 { "Log" }
            @if shown.is_empty() { p.muted { "Its task has written nothing." } } @else {
                @if left_out > 0 { p.muted { (left_out) " earlier lines are not shown." } }
                pre.log {
                    @for line in shown {
                        span class=[matches!(line.stream.as_str(), "stderr" | "error" | "warn").then_some("bad")] title=(format!("{} {}", line.at, line.stream)) { (line.text) } "\n"
                    }
                }
            }
        }
    }
}

/// What an action that led here did.
fn notice(done: &str) -> Option<&'static str> {
    match done {
        "canceled" => Some("Cancelled. Its key, if it has one, is kept to the end of its window."),
        "replayed" => Some("This is the replay: a new run of the same payload, without a key."),
        "reset" => Some("The key is free: the next trigger with it makes a new run."),
        _ => crate::tokens::notice(done),
    }
}

/// Those of a run's children that its environment's list shows: created while it was going.
async fn children(app: &App, run: &Run) -> Result<Vec<Run>, Error> {
    let filter = Filter {
        parent: Some(run.id.clone()),
        from: Some(run.spec.created_at),
        // A trigger that it sent by message comes a little later.
        to: run.finished_at.map(|end| end.plus(std::time::Duration::from_secs(60))),
        ..Filter::default()
    };
    if run.started_at.is_none() {
        return Ok(Vec::new());
    }
    let mut children = list(app, &run.spec.environment, &filter, &PageStart::Newest, CHILDREN).await?.runs;
    children.reverse();
    Ok(children)
}

fn facts(run: &Run, now: Timestamp) -> Markup {
    html! {
        span { "created " (moment(run.spec.created_at, now)) }
        @if let Some(took) = took(run, now) {
            span { @if run.status.is_final() { "took " } @else { "going for " } (span(took)) }
        }
        @if run.started_at.is_some() { span { "attempt " (run.turn.attempt) @if let Some(most) = run.max_attempts { " of " (most) } } }
    }
}

/// What a run waits for, and until when, with buttons to complete its tokens.
fn waits(session: &Session, run: &Run, waiting: &WaitingFor, now: Timestamp) -> Markup {
    let more = waiting.run_count.saturating_sub(waiting.runs.len() as u64);
    html! {
        div.note #waiting-for {
            p {
                "Waits"
                @if let Some(place) = &waiting.place { ", " (place) }
                @if waiting.worker { " for a worker to take it up" }
                " "
                @for (number, awaited) in waiting.runs.iter().enumerate() {
                    @if number == 0 { "for " } @else { ", " }
                    @if let Some(task) = &awaited.task_identifier { (task) " " }
                    a.id href=(format!("/runs/{}", awaited.id)) { (awaited.id) }
                }
                @if more > 0 { " and " (more) " more" }
                @for (number, token) in waiting.tokens.iter().enumerate() {
                    @if number == 0 && waiting.runs.is_empty() { "for the token " } @else { ", " }
                    span.id { (token) }
                }
                @if let Some(until) = waiting.until {
                    @if !waiting.runs.is_empty() || !waiting.tokens.is_empty() { ", or " }
                    "until " time datetime=(until) data-exact { (until) } ", " (moment(until, now))
                }
            }
            @if !waiting.tokens.is_empty() { (form_of_buttons(session, &format!("/runs/{}", run.id))) }
            @for token in &waiting.tokens {
                @if waiting.tokens.len() > 1 { p.id { (token) } }
                (buttons_of_token(token))
            }
        }
    }
}

/// Why earlier attempts failed.
fn failures(run: &Run) -> Markup {
    html! {
        @if !run.failures.is_empty() {
            ul #failures {
                @for failure in &run.failures {
                    li {
                        "Attempt " (failure.attempt) ": "
                        @if let Some(name) = &failure.error.name { strong { (name) } ": " }
                        (failure.error.message)
                    }
                }
            }
        }
    }
}

fn buttons(session: &Session, run: &Run) -> Markup {
    let action = |action: &str, name: &str| {
        html! {
            form method="post" action=(format!("/runs/{}/{action}", run.id)) {
                (token(session))
                input type="hidden" name="request" value=(crate::session::random());
                button { (name) }
            }
        }
    };
    html! {
        div.buttons {
            @if !run.status.is_final() { (action("cancel", "Cancel")) }
            (action("replay", "Replay"))
        }
    }
}

fn details(run: &Run, now: Timestamp) -> Markup {
    let options = &run.spec.options;
    let when = |name: &'static str, at: Option<Timestamp>| {
        html! { @if let Some(at) = at { dt { (name) } dd { (moment(at, now)) " " span.muted.whole { (at) } } } }
    };
    html! {
        dl.details {
            (when("Created", Some(run.spec.created_at)))
            (when("Delayed until", run.delayed_until()))
            (when("Expires unless started by", run.expires_unless_started_by().filter(|_| run.started_at.is_none())))
            (when("Started", run.started_at))
            (when("Next attempt", run.retry_at.filter(|at| *at > now && run.turn.attempt > 1)))
            (when("Ended", run.finished_at))
            @if let Some(successor) = &run.replaced_by {
                dt { "Replaced by" } dd { a.id href=(format!("/runs/{successor}")) { (successor) } }
            }
            @if let Some(queue) = run.queue() { dt { "Queue" } dd { (crate::queues::link(&queue)) } }
            @if let Some(key) = options.concurrency_key() { dt { "Concurrency key" } dd { (key) } }
            @if let Some(seconds) = options.priority() { dt { "Priority" } dd { (seconds) " s" } }
            @if run.tags().next().is_some() { dt { "Tags" } dd { @for tag in run.tags() { span.tag { (tag) } " " } } }
            @if let Some(seconds) = options.max_duration { dt { "Limit" } dd { (seconds) " s an attempt" } }
            @if options.test { dt { "Test" } dd { "yes" } }
            @if let Some(batch) = &run.spec.batch { dt { "Batch" } dd { code { (batch) } } }
            @if let Some(metadata) = run.metadata().and_then(|metadata| Json::of(metadata).ok()) {
                dt { "Metadata" } dd { pre { (pretty(&metadata).0) } }
            }
            @if let Some(of) = &options.schedule {
                dt { "Schedule" }
                dd { a href=(format!("/runs?schedule={}", of.id)) { (of.deduplication_key.as_deref().unwrap_or("declared")) } " " code { (of.cron) } }
            }
            @if let Some(trace) = &options.traceparent { dt { "Trace" } dd { code { (trace) } } }
        }
    }
}

/// Links to whoever triggered it. Its children are in the timeline.
fn family(run: &Run) -> Markup {
    html! {
        @if let Some(line) = &run.spec.lineage {
            dl.details {
                dt { "Parent" } dd { a.id href=(format!("/runs/{}", line.parent)) { (line.parent) } }
                @if line.root != line.parent { dt { "Root" } dd { a.id href=(format!("/runs/{}", line.root)) { (line.root) } } }
                dt { "Depth" } dd { (line.depth) }
            }
        }
    }
}

async fn payload(app: &App, run: &Run) -> Result<Markup, Error> {
    match run.stored_payload() {
        Some(path) => stored(app, run, "Payload", &path).await,
        None => {
            let payload = payload_of(app, run).await?.and_then(|payload| payload.json().ok().flatten());
            Ok(value("Payload", payload.as_ref()))
        }
    }
}

async fn output(app: &App, run: &Run) -> Result<Markup, Error> {
    match &run.stored_output {
        Some(path) => stored(app, run, "Output", path).await,
        None => {
            let output = output_of(app, run).await?.and_then(|output| output.json().ok().flatten());
            Ok(value("Output", output.as_ref()))
        }
    }
}

/// A link to a value in the bucket.
async fn stored(app: &App, run: &Run, title: &str, path: &BlobPath) -> Result<Markup, Error> {
    let url = app.blobs.get_url(&run.spec.environment, path).await?;
    Ok(html! {
        h2 { (title) }
        p { a href=(url) rel="noreferrer" { "Open it" } " where large ones are kept; the link works for 15 minutes." }
    })
}

/// A value, with a button to copy it.
fn value(title: &str, value: Option<&Json>) -> Markup {
    let id = title.to_lowercase();
    match value.map(pretty) {
        None => html! { h2 { (title) } p.muted { "None." } },
        Some((text, cut)) => html! {
            div.heading { h2 { (title) } button.quiet type="button" data-copy=(format!("#{id}")) { "Copy" } }
            pre.json id=(id) tabindex="0" { (text) }
            @if cut { p.note { "Only its beginning is shown; the API has all of it." } }
        },
    }
}

/// A button that copies a text.
fn copy(id: &str, text: &str) -> Markup {
    html! { span.hidden id=(id) { (text) } button.quiet type="button" data-copy=(format!("#{id}")) { "Copy" } }
}
