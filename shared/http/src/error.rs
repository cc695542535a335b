//! Errors over HTTP: the one place that maps them.

use axum::Json;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use oncekey_core::{Error, Invalid};

use oncekey_wire::ErrorAnswer;

use crate::routes;

/// Whether sending the same request again may help. The official client goes by it, whatever the status says.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error as an answer: `{"error": "what is wrong and what to do"}`.
#[derive(Debug)]
pub struct ApiError(pub Error);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Invalid> for ApiError {
    fn from(error: Invalid) -> Self {
        Self(error.into())
    }
}

/// The answer to a request for what is not there: the path, or the path by this method.
pub(crate) fn nothing_there(method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let there: Vec<String> = routes::methods_of(path).iter().map(Method::to_string).collect();
    if there.is_empty() {
        return refusal(StatusCode::NOT_FOUND, &format!("there is no {method} {path}"));
    }
    let mut text = format!("{path} has no {method}: use {}", there.join(" or "));
    // Whoever opens the URL of a trigger in a browser wants to trigger.
    if routes::at(path).any(|route| *route == routes::TRIGGER) {
        text = format!("{text}, like this: {}", trigger_line(path, headers));
    }
    refusal(StatusCode::METHOD_NOT_ALLOWED, &text)
}

/// The command that triggers the task of this path.
fn trigger_line(path: &str, headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let of_a_host = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]".contains(letter);
    let host: String = host.chars().filter(|letter| of_a_host(*letter)).collect();
    let is_local = ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local));
    let scheme = if is_local { "http" } else { "https" };
    let url = format!("{scheme}://{host}{}", path.replace('\'', "%27"));
    format!("curl '{url}' -H 'Authorization: Bearer YOUR_API_KEY' -d '{{\"payload\": {{}}}}'")
}

/// An error as it is told to whoever caused it.
#[derive(Debug)]
pub struct ErrorView {
    /// The status of the answer.
    pub status: StatusCode,
    /// Whether the same request may succeed if it is sent again.
    pub retry: bool,
    /// What is wrong and what to do.
    pub text: String,
}

impl ErrorView {
    /// What to tell of `error`. The cause of one that is ours goes to the logs instead.
    pub fn of(error: &Error) -> Self {
        let (status, retry) = match error {
            Error::Invalid { .. } => (StatusCode::BAD_REQUEST, false),
            Error::Unauthorized(_) => (StatusCode::UNAUTHORIZED, false),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, false),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, false),
            Error::KeyHeld { .. } => (StatusCode::CONFLICT, false),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, false),
            Error::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, false),
            Error::Contended(_) | Error::BeingMade(_) | Error::Throttled(_) => (StatusCode::SERVICE_UNAVAILABLE, true),
            Error::Aws { .. } => (StatusCode::INTERNAL_SERVER_ERROR, true),
            Error::Refused { .. } | Error::Unreadable { .. } | Error::Configuration(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, false)
            }
        };
        if status != StatusCode::INTERNAL_SERVER_ERROR {
            return Self { status, retry, text: error.to_string() };
        }
        tracing::error!(%error, "request failed");
        let text = match retry {
            true => "something behind Oncekey failed: the same request can be sent again",
            false => "Oncekey cannot answer this: its logs say why",
        };
        Self { status, retry, text: text.to_owned() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ErrorView { status, retry, text } = ErrorView::of(&self.0);
        answer(status, retry, &text)
    }
}

/// A refusal for good, in words.
pub(crate) fn refusal(status: StatusCode, text: &str) -> Response {
    answer(status, false, text)
}

fn answer(status: StatusCode, retry: bool, text: &str) -> Response {
    (status, [(SHOULD_RETRY, if retry { "true" } else { "false" })], Json(ErrorAnswer::new(text))).into_response()
}
