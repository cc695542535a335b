//! Signing in with an API key, out again, and choosing among the environments of a session.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use oncekey_core::Error;
use oncekey_core::environments::Environments;
use oncekey_http::Body;

use crate::Dashboard;
use crate::door::Submitted;
use crate::form::{Fields, Query, token};
use crate::page::{Failure, outside};
use crate::session::Session;

/// Asks for an API key.
pub(crate) async fn ask(
    State(dashboard): State<Dashboard>,
    headers: HeaderMap,
    Query(query): Query,
) -> Result<Response, Failure> {
    let session = match dashboard.sessions.of(&headers).await? {
        Some(session) => session,
        None => Session::nobody(dashboard.app.clock.now()),
    };
    let kept = dashboard.sessions.keep(&session).await?;
    Ok((kept, outside("Sign in", form(&session, &query, None))).into_response())
}

/// Signs in.
pub(crate) async fn sign_in(
    State(dashboard): State<Dashboard>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Failure> {
    let fields = Fields::parse(&body);
    let Some(session) = dashboard.sessions.of(&headers).await? else {
        let text = "your browser did not send the cookie of this form: reload the page, and allow cookies";
        return Err(Error::Unprocessable(text.to_owned()).into());
    };
    fields.check(&session)?;
    let key = fields.get("key");
    match dashboard.app.environments.opened_by(key).await {
        Ok(opened) => {
            let session = session.and(Environments::name_of(key, &opened), dashboard.app.clock.now());
            let kept = dashboard.sessions.keep(&session).await?;
            Ok((kept, Redirect::to(local(fields.get("to")))).into_response())
        }
        Err(Error::Unauthorized(_)) => {
            let wrong = "This API key is unknown. Was it revoked or rotated?";
            Ok(outside("Sign in", form(&session, &fields, Some(wrong))).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn form(session: &Session, fields: &Fields, wrong: Option<&str>) -> Markup {
    html! {
        form.card.narrow method="post" action="/sign-in" {
            h1 { "Oncekey" }
            p.muted { "Sign in with an API key to see its environment." }
            (token(session))
            input type="hidden" name="to" value=(local(fields.get("to")));
            label for="key" { "API key" }
            input #key type="password" name="key" required autocomplete="current-password" placeholder="tr_…" autofocus;
            @if let Some(wrong) = wrong { p.error role="alert" { (wrong) } }
            button.primary { "Sign in" }
            p.muted { "A local stack prints its keys when it starts. On AWS, " code { "oncekey env create" } " makes one." }
        }
    }
}

/// A path of this site, or its first page.
pub(crate) fn local(path: &str) -> &str {
    let ours = path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\r', '\n', '\t']);
    if ours { path } else { "/" }
}

/// Signs out: the browser forgets the session.
pub(crate) async fn sign_out(State(dashboard): State<Dashboard>, _: Submitted) -> Result<Response, Failure> {
    let nobody = Session::nobody(dashboard.app.clock.now());
    let kept = dashboard.sessions.keep(&nobody).await?;
    Ok((kept, Redirect::to("/sign-in")).into_response())
}

/// Shows another environment of the session.
pub(crate) async fn choose(
    State(dashboard): State<Dashboard>,
    Submitted { visitor, fields }: Submitted,
) -> Result<Response, Failure> {
    let session = visitor.session.choosing(fields.get("chosen").parse().unwrap_or_default());
    let kept = dashboard.sessions.keep(&session).await?;
    Ok((kept, Redirect::to("/")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_led_back_to_this_site_alone() {
        for (path, led) in [
            ("/runs?status=FAILED", "/runs?status=FAILED"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(local(path), led);
        }
    }
}
