//! What every page has: its frame, its headers, its looks; and how an error reads.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use oncekey_core::Error;
use oncekey_http::ErrorView;
use sha2::{Digest, Sha256};

use crate::form::token;
use crate::session::Visitor;

/// In the page itself, so that it comes in one round trip.
const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/script.js");
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='5' cy='8' r='3.2' \
fill='none' stroke='%234f5bd5' stroke-width='2'/%3E%3Cpath d='M8 8h7m-2 0v3' stroke='%234f5bd5' stroke-width='2' fill='none'/%3E%3C/svg%3E";

/// Nothing but our own style and script is used, whatever else should find its way into a page.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text.as_bytes())));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The pages that lead everywhere.
const NAVIGATION: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/runs", "Runs"),
    ("/queues", "Queues"),
    ("/schedules", "Schedules"),
    ("/tokens", "Tokens"),
    ("/keys", "Keys"),
    ("/try", "Try it"),
];

/// A page.
pub(crate) struct Page(Markup);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers: [(HeaderName, HeaderValue); 4] = [
            (CONTENT_SECURITY_POLICY, POLICY.clone()),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, Html(self.0.into_string())).into_response()
    }
}

fn whole(title: &str, body: Markup) -> Page {
    Page(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Oncekey" }
                link rel="icon" href=(PreEscaped(ICON));
                style { (PreEscaped(STYLE)) }
                script { (PreEscaped(SCRIPT)) }
            }
            body { (body) }
        }
    })
}

/// A page for whoever has not signed in.
pub(crate) fn outside(title: &str, main: Markup) -> Page {
    whole(title, html! { main { (main) } })
}

/// A page of the environment in view; `at` is the place in the navigation that it belongs to.
pub(crate) fn inside(visitor: &Visitor, at: &str, title: &str, main: Markup) -> Page {
    whole(
        title,
        html! {
            a.skip href="#main" { "Skip to content" }
            header {
                a.brand href="/" { "Oncekey" }
                nav aria-label="Pages" {
                    @for (path, name) in NAVIGATION {
                        a href=(path) aria-current=[(path == at).then_some("page")] { (name) }
                    }
                }
                div.session {
                    (switcher(visitor))
                    button.quiet type="button" data-theme-toggle aria-label="Switch between dark and light" { "◐" }
                }
            }
            main #main { (main) }
        },
    )
}

/// What a visitor may switch to.
fn switcher(visitor: &Visitor) -> Markup {
    html! {
        form.switcher method="post" action="/environment" {
            (token(&visitor.session))
            label.hidden for="chosen" { "Environment" }
            select #chosen name="chosen" data-submit {
                @for (place, environment) in &visitor.environments {
                    option value=(place) selected[*environment == visitor.environment] { (environment) }
                }
            }
            noscript { button { "Show" } }
        }
        a.muted href="/sign-in" title="Sign in to another environment" { "add" }
        form method="post" action="/sign-out" { (token(&visitor.session)) button.quiet { "Sign out" } }
    }
}

/// A part of a page that is kept up to date while `going`.
pub(crate) fn live(going: bool, content: Markup) -> Markup {
    html! { div #live data-live=[going.then_some("")] { (content) } }
}

/// An error as a page.
pub(crate) struct Failure {
    status: StatusCode,
    page: Page,
}

impl Failure {
    /// For somebody who has signed in.
    pub(crate) fn of(visitor: &Visitor, error: Error) -> Self {
        Self::new(error, |title, main| inside(visitor, "", title, main))
    }

    /// For anybody.
    pub(crate) fn nobodys(error: Error) -> Self {
        Self::new(error, outside)
    }

    fn new(error: Error, page: impl FnOnce(&str, Markup) -> Page) -> Self {
        let ErrorView { status, retry, text } = ErrorView::of(&error);
        let title = status.canonical_reason().unwrap_or("Error");
        let main = html! {
            div.card.narrow {
                h1 { (title) }
                p.error role="alert" { (text) }
                @if retry { p { "Reload the page to try again." } }
                p { a href="/" { "To the overview" } }
            }
        };
        Self { status, page: page(title, main) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::nobodys(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, self.page).into_response()
    }
}
