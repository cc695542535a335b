//! Errors over HTTP: the one place that maps them.

use axum::Json;
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use oncekey_core::Error;

use crate::openapi::ErrorAnswer;

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error as an answer: `{"error": "what is wrong and what to do"}`.
#[derive(Debug)]
pub struct ApiError(pub Error);

impl ApiError {
    pub(crate) fn method_not_allowed(method: &Method, path: &str) -> Response {
        answer(StatusCode::METHOD_NOT_ALLOWED, false, &format!("{path} has no {method}"))
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, retry) = match &error {
            Error::Invalid { .. } => (StatusCode::BAD_REQUEST, false),
            Error::Unauthorized(_) => (StatusCode::UNAUTHORIZED, false),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, false),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, false),
            Error::Unprocessable(_) | Error::IllegalMove(_) => (StatusCode::UNPROCESSABLE_ENTITY, false),
            Error::Contended(_) => (StatusCode::SERVICE_UNAVAILABLE, true),
            Error::Aws { .. } => (StatusCode::INTERNAL_SERVER_ERROR, true),
            Error::Unreadable { .. } | Error::Configuration(_) => (StatusCode::INTERNAL_SERVER_ERROR, false),
        };
        if status != StatusCode::INTERNAL_SERVER_ERROR {
            return answer(status, retry, &error.to_string());
        }
        // Its cause is for our logs, not for the caller.
        tracing::error!(%error, "request failed");
        let text = match retry {
            true => "something behind Oncekey failed: the same request can be sent again",
            false => "Oncekey cannot answer this: its logs say why",
        };
        answer(status, retry, text)
    }
}

fn answer(status: StatusCode, retry: bool, text: &str) -> Response {
    (status, [(SHOULD_RETRY, if retry { "true" } else { "false" })], Json(ErrorAnswer { error: text.to_owned() }))
        .into_response()
}
