//! Bulk actions: the page that asks before all runs of a filter are cancelled or replayed, the one that tells how far that is, and
//! the list of them.

use axum::extract::State;
use maud::{Markup, html};
use oncekey_core::bulk::{BulkRequest, Selection, StoredBulkAction};
use oncekey_core::protocol::bulk::find;
use oncekey_core::protocol::bulk::list::{BulkCursor, BulkFrom, BulkPage, list as list_actions};
use oncekey_core::runs::list::{PageStart, list};
use oncekey_core::{App, BulkActionStatus, BulkActionType, Error, KeyHash, Timestamp};
use oncekey_http::{Segment, bulk_action_id};

use crate::form::{Fields, Query, token};
use crate::format::{Kind, badge_of, moment};
use crate::page::{Failure, Page, inside, live};
use crate::runs::{FIELDS, brief, filter, is_filtered};
use crate::session::{Session, Visitor};

/// Actions a page.
const SIZE: usize = 50;
/// Runs that are shown of those that are meant.
const SHOWN: usize = 20;

/// What a form, or the query that leads to it, asks for.
///
/// # Errors
/// [`Error::Invalid`] naming the field.
pub(crate) fn asked(fields: &Fields, now: Timestamp) -> Result<BulkRequest, Error> {
    let kinds = [BulkActionType::Cancel, BulkActionType::Replay];
    let kind = kinds.into_iter().find(|kind| kind.verb() == fields.get("action"));
    let kind = kind.ok_or_else(|| Error::invalid("action", "is to be cancel or replay"))?;
    if !is_filtered(fields) {
        return Err(Error::invalid("action", "would be done with all runs: filter those that are meant"));
    }
    let selection = Selection::by(kind, filter(fields, now)?);
    let said: Vec<&str> = FIELDS.iter().map(|field| fields.get(field)).collect();
    let fingerprint = KeyHash::of_text(&format!("{}\n{}", kind.verb(), said.join("\n"))).to_string();
    Ok(BulkRequest { kind, name: None, selection, fingerprint })
}

/// Asks before an action is made, where the query says which; lists those that there are otherwise.
pub(crate) async fn ask_or_list(
    State(app): State<App>,
    visitor: Visitor,
    Query(query): Query,
) -> Result<Page, Failure> {
    let content = match query.given("action") {
        Some(_) => ask(&app, &visitor, &query).await,
        None => all(&app, &visitor, &query).await,
    };
    let content = content.map_err(|error| Failure::of(&visitor, error))?;
    Ok(inside(&visitor, "/runs", "Bulk actions", content))
}

fn verb(kind: BulkActionType) -> &'static str {
    match kind {
        BulkActionType::Cancel => "Cancel",
        BulkActionType::Replay => "Replay",
    }
}

async fn ask(app: &App, visitor: &Visitor, query: &Fields) -> Result<Markup, Error> {
    let now = app.clock.now();
    let request = asked(query, now)?;
    let Selection::Filter(filter) = &request.selection else { return Ok(Markup::default()) };
    let page = list(app, &visitor.environment, filter, &PageStart::Newest, SHOWN).await?;
    let verb = verb(request.kind);
    let count = page.runs.len();
    Ok(html! {
        div.heading { h1 { (verb) " all of these?" } }
        p {
            @match (&page.next, count) {
                (Some(_), 0) => "The newest runs are not like that; older ones may be.",
                (Some(_), _) => "These, and older ones that are like them:",
                (None, 0) => "No run is like that.",
                (None, 1) => "This run:",
                (None, _) => { (count) " runs:" },
            }
        }
        @if count > 0 { (brief(&page.runs, now)) }
        @if request.kind == BulkActionType::Cancel { p.muted { "Runs that have ended stay as they are." } }
        div.buttons {
            @if count > 0 || page.next.is_some() {
                form method="post" action="/bulk" {
                    (token(&visitor.session))
                    input type="hidden" name="request" value=(crate::session::random());
                    input type="hidden" name="action" value=(request.kind.verb());
                    @for field in FIELDS {
                        @if let Some(value) = query.given(field) { input type="hidden" name=(field) value=(value); }
                    }
                    button.danger { (verb) " all" }
                }
            }
            a href=(back(query)) { "Back to the runs" }
        }
    })
}

/// The list of the same runs.
fn back(query: &Fields) -> String {
    let said = FIELDS.iter().filter_map(|field| Some((*field, query.given(field)?)));
    format!("/runs?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(said).finish())
}

async fn all(app: &App, visitor: &Visitor, query: &Fields) -> Result<Markup, Error> {
    let from = match (query.given("after"), query.given("before")) {
        (Some(after), _) => BulkFrom::After(BulkCursor::parse("after", after)?),
        (None, Some(before)) => BulkFrom::Before(BulkCursor::parse("before", before)?),
        (None, None) => BulkFrom::Newest,
    };
    let page = list_actions(app, &visitor.environment, &from, SIZE).await?;
    let now = app.clock.now();
    let newest = from == BulkFrom::Newest;
    Ok(html! {
        div.heading { h1 { "Bulk actions" } span.muted { "of the last fourteen days" } }
        (live(newest, table(&page, now)))
    })
}

fn table(page: &BulkPage, now: Timestamp) -> Markup {
    html! {
        @if page.actions.is_empty() {
            div.card.empty { p {
                "There are none. Filter " a href="/runs" { "runs" } ", and cancel or replay all that you see; or say which with "
                code { "oncekey runs cancel" } " or " code { "runs.bulk" } " of the npm client."
            } }
        } @else {
            div.scroll { table {
                thead { tr { th { "Action" } th { "Status" } th.number { "Done" } th.number { "Not" } th { "Created" } } }
                tbody { @for action in &page.actions { tr {
                    td {
                        a href=(format!("/bulk/{}", action.id)) title=(action.id) { (verb(action.kind)) }
                        @if let Some(name) = &action.name { div.key { (name) } }
                    }
                    td { (badge(action.status)) }
                    td.number { (action.counts.success) " of " (action.counts.total) }
                    td.number { (action.counts.failure) }
                    td { (moment(action.created_at, now)) }
                } } }
            } }
        }
        nav.pages aria-label="Pages of bulk actions" {
            @if let Some(previous) = &page.previous { a href=(format!("/bulk?before={previous}")) { "← Newer" } }
            @if let Some(next) = &page.next { a href=(format!("/bulk?after={next}")) { "Older →" } }
        }
    }
}

fn badge(status: BulkActionStatus) -> Markup {
    let kind = match status {
        BulkActionStatus::Pending => Kind::Busy,
        BulkActionStatus::Completed => Kind::Good,
        BulkActionStatus::Aborted => Kind::Stopped,
    };
    badge_of(kind, status.as_str())
}

/// Tells how far an action is, until it has ended.
pub(crate) async fn action(State(app): State<App>, visitor: Visitor, Segment(id): Segment) -> Result<Page, Failure> {
    let found = async { find(&app, &visitor.environment, &bulk_action_id(&id)?).await };
    let action = found.await.map_err(|error| Failure::of(&visitor, error))?;
    let content = html! {
        div.heading { h1 { (verb(action.kind)) " many runs" } a.muted href="/bulk" { "all bulk actions" } }
        @if let Some(name) = &action.name { p { (name) } }
        p.id { (action.id) }
        (live(!action.is_over(), progress(&visitor.session, &action, app.clock.now())))
    };
    Ok(inside(&visitor, "/runs", "Bulk action", content))
}

fn progress(session: &Session, action: &StoredBulkAction, now: Timestamp) -> Markup {
    let counts = &action.counts;
    let done = if action.kind == BulkActionType::Cancel { "Cancelled" } else { "Replayed" };
    let not = match action.kind {
        BulkActionType::Cancel => "Not: they had ended otherwise, or are not there",
        BulkActionType::Replay => "Not: they are not there, or cannot be triggered again",
    };
    let is_pending = action.status == BulkActionStatus::Pending;
    // Of a filter nobody knows yet how many there will be.
    let found = if action.filter.is_some() { "Found so far" } else { "Runs" };
    html! {
        p {
            (badge(action.status)) " "
            progress max=(counts.total.max(1)) value=(counts.success + counts.failure) aria-label="Runs that are done with" {}
        }
        dl.details {
            dt { (found) } dd { (counts.total) }
            dt { (done) } dd { (counts.success) }
            @if counts.failure > 0 { dt { (not) } dd { (counts.failure) } }
            dt { "Created" } dd { (moment(action.created_at, now)) }
            @if let Some(at) = action.completed_at { dt { "Ended" } dd { (moment(at, now)) } }
        }
        @if is_pending {
            form.buttons method="post" action=(format!("/bulk/{}/abort", action.id)) data-hold {
                (token(session))
                button { "Stop" }
                span.muted { "What is done stays." }
            }
        }
    }
}
