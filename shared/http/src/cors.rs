//! Which pages of other origins may call: those of known origins, with a public token, on the routes that take one (R68). An API
//! key does not belong into a page, and what calls with one is no page: it is told nothing of this.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use oncekey_core::Error;

use crate::permit::shows_public_token;
use crate::routes;

/// The variable with the origins whose pages may call a deployment: with commas between, or `*`.
pub const ALLOWED_ORIGINS: &str = "ONCEKEY_ALLOWED_ORIGINS";
/// How long a browser need not ask again, in seconds.
const KEPT: &str = "600";
/// What a page may read of an answer beside its body.
const SHOWN: &str = "x-trigger-jwt, x-should-retry, retry-after";

/// The origins whose pages may call.
#[derive(Clone, Debug)]
pub struct Origins(Of);

#[derive(Clone, Debug)]
enum Of {
    All,
    Listed(Arc<[String]>),
    Judged(fn(&HeaderValue) -> bool),
}

impl Origins {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self(Of::Listed(Arc::default()))
    }

    /// Those of which this is true.
    #[must_use]
    pub fn judged(is_known: fn(&HeaderValue) -> bool) -> Self {
        Self(Of::Judged(is_known))
    }

    /// Those that the environment variable says.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming what is no origin.
    pub(crate) fn from_env() -> Result<Self, Error> {
        Self::parse(&std::env::var(ALLOWED_ORIGINS).unwrap_or_default())
    }

    fn parse(text: &str) -> Result<Self, Error> {
        if text.trim() == "*" {
            return Ok(Self(Of::All));
        }
        let origin = |origin: &str| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let is_one = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '@', '?', '#', ' ']));
            let no_origin = || {
                let text = format!(
                    "{ALLOWED_ORIGINS}: {origin:?} is no origin: give one like https://app.example.com, or * for all"
                );
                Error::Configuration(text)
            };
            is_one.then(|| origin.to_ascii_lowercase()).ok_or_else(no_origin)
        };
        let listed = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        Ok(Self(Of::Listed(listed.map(origin).collect::<Result<_, _>>()?)))
    }

    fn know(&self, origin: &HeaderValue) -> bool {
        match &self.0 {
            Of::All => true,
            Of::Listed(listed) => origin.to_str().is_ok_and(|origin| listed.iter().any(|one| one == origin)),
            Of::Judged(is_known) => is_known(origin),
        }
    }
}

/// Answers what a browser asks before a page may call, and tells it that the page may have the answer.
pub(crate) async fn let_pages_call(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let Some(origin) = origin(headers).filter(|origin| origins.know(origin)).cloned() else {
        return next.run(request).await;
    };
    let path = request.uri().path();
    if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| request.method() == Method::OPTIONS) {
        let method = Method::from_bytes(asked.as_bytes()).ok().filter(|method| takes_public_tokens(method, path));
        return match method {
            Some(_) => may_call(origin, asked, headers.get(ACCESS_CONTROL_REQUEST_HEADERS)),
            None => next.run(request).await,
        };
    }
    let is_with_token = takes_public_tokens(request.method(), path) && shows_public_token(headers);
    let mut response = next.run(request).await;
    if is_with_token {
        let told = response.headers_mut();
        told.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        told.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN));
        told.append(VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut all = headers.get_all(ORIGIN).iter();
    all.next().filter(|_| all.next().is_none())
}

fn takes_public_tokens(method: &Method, path: &str) -> bool {
    routes::at(path).find(|route| route.method() == *method).is_some_and(|route| route.takes_public_tokens())
}

/// The answer to a browser that asks whether a page may send this. Its headers are of no account: they are read, or they are not.
fn may_call(origin: HeaderValue, method: &HeaderValue, headers: Option<&HeaderValue>) -> Response {
    let asked = "origin, access-control-request-method, access-control-request-headers";
    let mut response = StatusCode::NO_CONTENT.into_response();
    let told = response.headers_mut();
    told.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    told.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(headers) = headers {
        told.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
    }
    told.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(KEPT));
    told.insert(VARY, HeaderValue::from_static(asked));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_by_their_whole_text() {
        let known = |text: &str, origin: &str| {
            Origins::parse(text).expect(text).know(&HeaderValue::from_str(origin).expect(origin))
        };
        let two = "https://App.example.com, http://localhost:3000";
        for origin in ["https://app.example.com", "http://localhost:3000"] {
            assert!(known(two, origin) && known("*", origin) && !known("", origin), "{origin}");
        }
        for origin in [
            "null",
            "https://app.example.com.evil.net",
            "https://example.com",
            "http://app.example.com",
            "http://localhost",
        ] {
            assert!(!known(two, origin), "{origin}");
        }
        for text in ["app.example.com", "https://", "https://a.b/", "https://*.b.c", "https://a.b,*", "null"] {
            let error = Origins::parse(text).expect_err(text).to_string();
            assert!(error.starts_with("ONCEKEY_ALLOWED_ORIGINS: ") && error.contains("is no origin"), "{error}");
        }
    }
}
