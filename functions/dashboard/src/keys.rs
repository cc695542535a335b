//! Idempotency keys: the one of a run, and any that is looked up as the client would hash it.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use oncekey_core::key::{KeyGroup, KeyPlace, KeyRelease, Parent, Scope};
use oncekey_core::protocol::reset::reset_claim;
use oncekey_core::runs::holder::look_up;
use oncekey_core::store::{KeyAddress, KeyRecord};
use oncekey_core::{App, Error, KeyHash, Run, RunId, RunStatus, TaskId, Timestamp};

use crate::form::{Fields, Query, token};
use crate::format::{moment, span};
use crate::page::{Failure, Page, inside};
use crate::session::{Session, Visitor};

/// Whether a run still holds the key it was triggered with, and if not, why.
enum Held {
    Yes,
    WindowOver,
    RunEnded(RunStatus),
    ByAnother(RunId),
    Reset,
}

fn held(run: &Run, record: Option<KeyRecord>, window_ends_at: Timestamp, now: Timestamp) -> Held {
    let made = |record: &KeyRecord| KeyAddress::of_run(run).is_some_and(|address| record.made(address, run));
    match record {
        Some(record) if record.run_id != run.id => Held::ByAnother(record.run_id),
        _ if run.frees_key() => Held::RunEnded(run.status),
        _ if window_ends_at <= now => Held::WindowOver,
        Some(record) if made(&record) => Held::Yes,
        _ => Held::Reset,
    }
}

/// What a run's page says of its key.
pub(crate) async fn of_run(app: &App, session: &Session, run: &Run, now: Timestamp) -> Result<Markup, Error> {
    let (Some(claimed), Some(address)) = (&run.spec.key, KeyAddress::of_run(run)) else {
        return Ok(html! {
            h2 { "Idempotency key" }
            p.muted { "None: every trigger without a key is a run of its own." }
        });
    };
    let held = held(run, app.store.key(address).await?, claimed.window_ends_at, now);
    let key = &claimed.key;
    Ok(html! {
        h2 { "Idempotency key" }
        dl.details {
            dt { "Key" } dd { code { (key.display_text()) } }
            @if let Some(scope) = key.scope { dt { "Scope" } dd { (scope.as_str()) } }
            @if let Some(group) = &key.group { dt { "Group" } dd { (group) } }
            dt { "Hash" } dd { code.id { (key.hash) } }
            dt { "Freed by" } dd { (freed_by(claimed.release)) }
            (window(run.spec.created_at, claimed.window_ends_at, matches!(held, Held::Yes), now))
            dt { "Held" }
            dd #held { @match &held {
                Held::Yes => { strong { "Yes" } ": a trigger with this key is answered with this run." }
                Held::WindowOver => { strong { "No" } ": its window is over." }
                Held::RunEnded(status) => { strong { "No" } ": this run is " (status) ", which gives its key up." }
                Held::ByAnother(run) => {
                    strong { "No" } ": " a.id href=(format!("/runs/{run}")) { (run) } " holds it now."
                }
                Held::Reset => { strong { "No" } ": it was reset." }
            } }
        }
        @if let Held::Yes = held { (reset(session, &format!("/runs/{}/reset", run.id), html! {})) }
    })
}

/// What frees a key before its window ends, in words.
fn freed_by(release: KeyRelease) -> &'static str {
    match release {
        KeyRelease::OnEnd => "any end of its run",
        KeyRelease::Never => "nothing but the end of its window, or a reset",
        _ => "a failure of its run",
    }
}

fn window(from: Timestamp, to: Timestamp, is_held: bool, now: Timestamp) -> Markup {
    html! {
        dt { "Window" }
        dd {
            (span(to.since(from))) " long"
            @if is_held && to > now { "; " (span(to.since(now))) " left, until " time datetime=(to) data-exact { (to) } }
            @else if to <= now { "; over since " (moment(to, now)) }
        }
    }
}

/// A button that frees a key, and asks before it does.
fn reset(session: &Session, action: &str, fields: Markup) -> Markup {
    html! {
        details.confirm {
            summary { "Reset" }
            form method="post" action=(action) {
                (token(session)) (fields)
                p { "The next trigger with this key will make a new run. The run that holds it goes on." }
                button.danger { "Reset this key" }
            }
        }
    }
}

/// A key as somebody asks for it.
struct KeyQuery {
    place: Place,
    hash: KeyHash,
}

/// The task or the group in which it holds.
enum Place {
    Task(TaskId),
    Group(KeyGroup),
}

impl KeyQuery {
    /// What the fields say, or `None` if they say nothing yet.
    fn parse(fields: &Fields) -> Result<Option<Self>, Error> {
        let (Some(key), Some(place)) = (fields.given("key"), fields.given("task")) else { return Ok(None) };
        let place = match place.strip_prefix('@') {
            Some(group) => Place::Group(KeyGroup::parse(group)?),
            None => Place::Task(TaskId::parse(place)?),
        };
        let parent = fields.given("parent").map(RunId::parse).transpose()?;
        let scope = scope(fields);
        let attempt = match (scope, fields.get("attempt")) {
            (Scope::Attempt, text) if parent.is_some() => text.parse().map_err(|_| {
                Error::invalid("attempt", "a key of scope attempt is made of the parent's attempt too: give its number")
            })?,
            _ => 1,
        };
        let hash = KeyHash::from_wire("key", key)?;
        let hash = match parent.as_ref() {
            // A hash is one already.
            Some(run) if hash.as_str() != key => {
                KeyHash::of(&[key], scope, Some(Parent { run: run.as_str(), attempt }))
            }
            _ => hash,
        };
        Ok(Some(Self { place, hash }))
    }

    fn address<'a>(&'a self, visitor: &'a Visitor) -> KeyAddress<'a> {
        let place = match &self.place {
            Place::Task(task) => KeyPlace::Task(task),
            Place::Group(group) => KeyPlace::Group(group),
        };
        KeyAddress { environment: &visitor.environment, place, hash: &self.hash }
    }
}

fn scope(fields: &Fields) -> Scope {
    [Scope::Attempt, Scope::Global].into_iter().find(|scope| scope.as_str() == fields.get("scope")).unwrap_or_default()
}

/// Looks a key up.
pub(crate) async fn keys(State(app): State<App>, visitor: Visitor, Query(fields): Query) -> Result<Page, Failure> {
    let found = found(&app, &visitor, &fields).await.map_err(|error| Failure::of(&visitor, error))?;
    let content = html! {
        div.heading { h1 { "Keys" } }
        (form(&fields))
        @if fields.get("done") == "reset" {
            p.note role="status" { "The key is free: the next trigger with it makes a new run." }
        }
        (found)
    };
    Ok(inside(&visitor, "/keys", "Keys", content))
}

fn form(fields: &Fields) -> Markup {
    let scope = scope(fields);
    html! {
        form.card.grid method="get" action="/keys" {
            label { "Task, or @group" input name="task" value=(fields.get("task")) required; }
            label { "Key, as text or hash" input name="key" value=(fields.get("key")) required; }
            fieldset {
                legend { "Made inside a task? Its hash holds the parent too" }
                label { "Scope"
                    select name="scope" {
                        @for one in [Scope::Run, Scope::Attempt, Scope::Global] {
                            option selected[one == scope] { (one.as_str()) }
                        }
                    }
                }
                label { "Parent run" input name="parent" value=(fields.get("parent")) placeholder="run_…"; }
                label { "Attempt" input name="attempt" value=(fields.get("attempt")) inputmode="numeric" size="4"; }
            }
            button.primary { "Look it up" }
        }
    }
}

async fn found(app: &App, visitor: &Visitor, fields: &Fields) -> Result<Markup, Error> {
    let Some(query) = KeyQuery::parse(fields)? else { return Ok(html! {}) };
    let now = app.clock.now();
    let record = match look_up(app, query.address(visitor), query.hash.as_str()).await {
        Ok(record) => Some(record),
        Err(Error::NotFound(_)) => None,
        Err(error) => return Err(error),
    };
    let hidden = record.as_ref().map(|record| {
        html! {
            @for field in ["task", "key", "scope", "parent", "attempt"] {
                input type="hidden" name=(field) value=(fields.get(field));
            }
            // The claim that the page shows: pressed again, or on an old page, the button ends no other.
            input type="hidden" name="holder" value=(record.run_id);
            input type="hidden" name="since" value=(record.created_at.millis());
        }
    });
    Ok(html! {
        section.card #found {
            dl.details {
                dt { "Hash" } dd { code.id { (query.hash) } }
                @match &record {
                    None => {
                        dt { "Held" }
                        dd {
                            strong { "No" } ": it was never used, was reset, its run failed, or its window is over. "
                            "The next trigger makes a run."
                        }
                    }
                    Some(record) => {
                        dt { "Held" }
                        dd { strong { "Yes" } ", by " a.id href=(format!("/runs/{}", record.run_id)) { (record.run_id) } }
                        @if let Some(key) = &record.key { dt { "Key" } dd { code { (key) } } }
                        @if let Some(scope) = record.scope { dt { "Scope" } dd { (scope.as_str()) } }
                        dt { "First triggered" } dd { (moment(record.created_at, now)) }
                        (window(record.created_at, record.window_ends_at, true, now))
                    }
                }
            }
            @if let Some(hidden) = hidden { (reset(&visitor.session, "/keys", hidden)) }
        }
    })
}

/// Where the key that was just reset is shown.
pub(crate) fn to_key(fields: &Fields) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for field in ["task", "key", "scope", "parent", "attempt"] {
        query.append_pair(field, fields.get(field));
    }
    Redirect::to(&format!("/keys?{}", query.append_pair("done", "reset").finish())).into_response()
}

/// Frees the key that the fields name, if the claim that they name holds it.
pub(crate) async fn free(app: &App, visitor: &Visitor, fields: &Fields) -> Result<(), Error> {
    let query = KeyQuery::parse(fields)?.ok_or_else(|| Error::invalid("key", "say which key, and of which task"))?;
    let holder = RunId::parse(fields.get("holder"))?;
    let since = fields.get("since").parse().map_err(|_| Error::invalid("since", "say when it was claimed"))?;
    reset_claim(app, query.address(visitor), &holder, Timestamp::from_millis(since)).await
}
