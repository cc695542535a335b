//! The wait tokens of an environment: newest first, filtered, live on their first page, with buttons to complete those that wait.

use axum::extract::State;
use maud::{Markup, html};
use oncekey_core::protocol::token::{TokenFilter, TokenPage, TokensFrom, list};
use oncekey_core::request::token::status;
use oncekey_core::token::StoredToken;
use oncekey_core::{App, Error, Timestamp, TokenId, TokenStatus};

use crate::form::{Fields, Query, token};
use crate::format::{Kind, badge_of, moment};
use crate::page::{Failure, Page, inside, live};
use crate::session::{Session, Visitor};
use crate::sign_in::local;

/// Tokens a page.
const SIZE: usize = 50;
/// What a filter may say.
const FIELDS: [&str; 2] = ["status", "tag"];
/// The field that says which token is approved, and the one that says which is rejected.
pub(crate) const APPROVE: &str = "approve";
pub(crate) const REJECT: &str = "reject";
/// The field that says to which page its button leads.
pub(crate) const BACK: &str = "back";

/// Shows a page of the list.
pub(crate) async fn tokens(State(app): State<App>, visitor: Visitor, Query(query): Query) -> Result<Page, Failure> {
    let now = app.clock.now();
    let (from, page) = async {
        let from = place(&query)?;
        let page = list(&app, &visitor.environment, &filter(&query)?, &from, SIZE).await?;
        Ok::<_, Error>((from, page))
    }
    .await
    .map_err(|error| Failure::of(&visitor, error))?;
    let newest = from == TokensFrom::Newest;
    let content = html! {
        div.heading { h1 { "Wait tokens" } @if newest { span.muted { "newest first, live" } } }
        @if let Some(done) = notice(query.get("done")) {
            p.note role="status" { (done) @if let Ok(id) = TokenId::parse(query.get("token")) { " " span.id { (id) } } }
        }
        (filters(&query))
        (live(newest, render_list(&visitor.session, &query, &page, now)))
    };
    Ok(inside(&visitor, "/tokens", "Wait tokens", content))
}

fn place(query: &Fields) -> Result<TokensFrom, Error> {
    let cursor = |name: &str, text: &str| {
        TokenId::parse(text).map_err(|_| Error::invalid(name, format!("{text:?} is not a cursor of this list")))
    };
    match (query.given("after"), query.given("before")) {
        (Some(after), _) => Ok(TokensFrom::After(cursor("after", after)?)),
        (None, Some(before)) => Ok(TokensFrom::Before(cursor("before", before)?)),
        (None, None) => Ok(TokensFrom::Newest),
    }
}

fn filter(query: &Fields) -> Result<TokenFilter, Error> {
    Ok(TokenFilter {
        statuses: query.given("status").map(|name| status("status", name)).transpose()?.into_iter().collect(),
        tags: query.given("tag").map(str::to_owned).into_iter().collect(),
        ..TokenFilter::default()
    })
}

fn is_filtered(query: &Fields) -> bool {
    FIELDS.iter().any(|field| query.given(field).is_some())
}

fn filters(query: &Fields) -> Markup {
    html! {
        form.filters method="get" action="/tokens" role="search" {
            label { "Status"
                select name="status" {
                    option value="" { "any" }
                    @for status in TokenStatus::ALL {
                        option selected[query.get("status") == status.as_str()] { (status) }
                    }
                }
            }
            label { "Tag" input name="tag" value=(query.get("tag")) size="14"; }
            button.primary { "Filter" }
            @if is_filtered(query) { a href="/tokens" { "Clear" } }
        }
    }
}

/// This list, filtered as it is, at another place.
fn link<'a>(query: &Fields, places: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let filter = FIELDS.iter().filter_map(|field| Some((*field, query.given(field)?)));
    let mut link = form_urlencoded::Serializer::new(String::new());
    match link.extend_pairs(filter).extend_pairs(places).finish() {
        query if query.is_empty() => "/tokens".to_owned(),
        query => format!("/tokens?{query}"),
    }
}

fn render_list(session: &Session, query: &Fields, page: &TokenPage, now: Timestamp) -> Markup {
    let here = link(query, ["after", "before"].into_iter().filter_map(|name| Some((name, query.given(name)?))));
    html! {
        @if page.tokens.is_empty() {
            div.card.empty {
                @match page.next {
                    Some(_) => p { "None among the hundreds of tokens that this page looked at. Older ones may match." },
                    None if !is_filtered(query) => p {
                        "There are no wait tokens yet. Make one with " code { "wait.createToken" } " of the npm client, or with "
                        code { "oncekey tokens create" } "."
                    },
                    None => p { "No token is like that. " a href="/tokens" { "Show all" } "." },
                }
            }
        } @else {
            (form_of_buttons(session, &here))
            div.scroll { table.tokens {
                thead { tr { th { "Token, tags and key" } th { "Status" } th { "Ends" } th.roomy { "Created" } th.roomy {} } }
                tbody { @for token in &page.tokens { (row(token, now)) } }
            } }
        }
        nav.pages aria-label="Pages of tokens" {
            @if let Some(previous) = &page.previous { a href=(link(query, [("before", previous.as_str())])) { "← Newer" } }
            @if let Some(next) = &page.next { a href=(link(query, [("after", next.as_str())])) { "Older →" } }
        }
    }
}

fn row(token: &StoredToken, now: Timestamp) -> Markup {
    let status = token.status_at(now);
    let (kind, ends) = match status {
        TokenStatus::Waiting => (Kind::Idle, token.timeout_at),
        TokenStatus::Completed => (Kind::Good, token.completed_at.unwrap_or(token.timeout_at)),
        TokenStatus::TimedOut => (Kind::Bad, token.timeout_at),
    };
    html! {
        tr {
            td {
                span.id { (token.id) }
                @for tag in &token.tags { " " span.tag { (tag) } }
                @if let Some(key) = &token.key { div.key { (key) } }
            }
            td { (badge_of(kind, status.as_str())) }
            td { (moment(ends, now)) }
            td.roomy { (moment(token.created_at, now)) }
            td { @if status == TokenStatus::Waiting { (buttons(&token.id)) } }
        }
    }
}

/// What the buttons of a page send beside what they are, and that they lead back to `here`.
pub(crate) fn form_of_buttons(session: &Session, here: &str) -> Markup {
    html! {
        form #decide method="post" action="/tokens" { (token(session)) input type="hidden" name=(BACK) value=(here); }
    }
}

/// The buttons that complete a token that waits. The page stays as it is while somebody points at them: a list that moved would
/// have another token's under the pointer.
pub(crate) fn buttons(id: &TokenId) -> Markup {
    html! {
        div.buttons role="group" aria-label=(id) data-hold {
            button form="decide" name=(APPROVE) value=(id) { "Approve" }
            button form="decide" name=(REJECT) value=(id) { "Reject" }
        }
    }
}

/// The page of a button, told what it did.
pub(crate) fn back_with(page: &str, done: &str, id: &TokenId) -> String {
    let page = local(page);
    let and = if page.contains('?') { '&' } else { '?' };
    format!("{page}{and}done={done}&token={id}")
}

/// What a button that led here did.
pub(crate) fn notice(done: &str) -> Option<&'static str> {
    match done {
        "approved" => Some("Approved: whoever waits for the token is told so."),
        "rejected" => Some("Rejected: whoever waits for the token is told so."),
        "ended" => Some("Nothing was changed: the token had ended before, and its first end stands."),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_leads_back_to_a_page_of_this_site_with_its_filter_and_place() {
        let id = TokenId::fresh(Timestamp::from_millis(1));
        let query = Fields::parse(b"status=WAITING&tag=a%26b&done=approved&other=1");
        let here = link(&query, [("after", id.as_str())]);
        assert_eq!(here, format!("/tokens?status=WAITING&tag=a%26b&after={id}"));
        for (page, led) in [
            (here.as_str(), format!("{here}&done=ended&token={id}")),
            ("/runs/run_x", format!("/runs/run_x?done=ended&token={id}")),
            ("https://evil.example", format!("/?done=ended&token={id}")),
        ] {
            assert_eq!(back_with(page, "ended", &id), led);
        }
        assert_eq!(link(&Fields::parse(b""), []), "/tokens");
    }
}
