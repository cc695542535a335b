//! Serving on Lambda, behind an HTTP API of API Gateway.
//!
//! API Gateway decodes the path before a function gets it: `a%2Fb` comes as `a/b`, a space as a space. Our routes take a
//! task, a key or a packet's path as one encoded segment, so what stands in the segment's place is encoded again here.
//! Whether `%25` is a percent sign whose escape was left, or the text that somebody escaped, is not known: it is refused.

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use lambda_http::lambda_runtime::{self, LambdaEvent, service_fn};
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Error, Service};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cors::Origins;
use crate::error::ApiError;
use crate::finish;
use crate::routes::{self, Route};

/// Everything in a segment but what needs no escape anywhere.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same in a path.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// Serves a function's router until Lambda stops the process.
///
/// # Errors
/// What the Lambda runtime reports; `ONCEKEY_ALLOWED_ORIGINS`, where it holds what is no origin.
pub async fn serve(router: Router) -> Result<(), Error> {
    let adapter = Adapter::from(finish(router, Origins::from_env()?).layer(from_fn(refuse_the_ambiguous)));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<LambdaRequest>| {
        let mut adapter = adapter.clone();
        async move { adapter.call(LambdaEvent::new(with_path_as_sent(event.payload), event.context)).await }
    }))
    .await
}

/// What `%25` has become in [`encoded`], and nothing else does.
const AMBIGUOUS: &str = "%2525";

async fn refuse_the_ambiguous(request: Request, next: Next) -> Response {
    if request.uri().path().contains(AMBIGUOUS) {
        let text =
            "%25 is not told from a percent sign here: give the key's hash, sha256 of its text in lower-case hex";
        return ApiError(oncekey_core::Error::invalid("path", text)).into_response();
    }
    next.run(request).await
}

fn with_path_as_sent(mut request: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV2(request) = &mut request {
        let path = request.raw_path.as_deref().unwrap_or_default();
        request.raw_path = Some(encoded(&request.request_context.http.method, path));
    }
    request
}

/// The path as it was sent, from the path as API Gateway tells it.
fn encoded(method: &Method, path: &str) -> String {
    let (same, other): (Vec<&Route>, Vec<&Route>) = routes::ALL.iter().partition(|route| route.method() == *method);
    // A method that the path does not have is told so, and not that the path is unknown.
    let held = same.into_iter().chain(other).find_map(|route| {
        let (before, after) = route.around_free_segment()?;
        let text = path.strip_prefix(before)?.strip_suffix(after)?;
        Some(format!("{before}{}{after}", utf8_percent_encode(text, SEGMENT)))
    });
    held.unwrap_or_else(|| utf8_percent_encode(path, PATH).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_as_it_was_sent() {
        let [get, post, put] = [Method::GET, Method::POST, Method::PUT];
        for (method, path, sent) in [
            (&post, "/api/v1/tasks/mail/send now/trigger", "/api/v1/tasks/mail%2Fsend%20now/trigger"),
            (&Method::OPTIONS, "/api/v1/tasks/mail/send now/trigger", "/api/v1/tasks/mail%2Fsend%20now/trigger"),
            (&post, "/api/v1/tasks/trigger/trigger", "/api/v1/tasks/trigger/trigger"),
            (&post, "/api/v1/idempotencyKeys/50%/ü/reset", "/api/v1/idempotencyKeys/50%25%2F%C3%BC/reset"),
            (&get, "/api/v1/idempotencyKeys/a/reset", "/api/v1/idempotencyKeys/a%2Freset"),
            (&put, "/api/v2/packets/a/b.json", "/api/v2/packets/a%2Fb.json"),
            (&get, "/api/v1/packets/a/b.json", "/api/v1/packets/a%2Fb.json"),
            (&put, "/api/v1/idempotencyKeys/a/b", "/api/v1/idempotencyKeys/a%2Fb"),
            (&get, "/api/v3/runs/run_a", "/api/v3/runs/run_a"),
            (&get, "/no such place", "/no%20such%20place"),
        ] {
            assert_eq!(encoded(method, path), sent);
            assert!(!sent.contains(AMBIGUOUS));
        }
    }

    #[test]
    fn the_escape_of_a_percent_sign_is_known_for_what_may_be_either() {
        for (path, either) in [("/%25/reset", true), ("/a%25b/reset", true), ("/%/reset", false), ("/%2/reset", false)]
        {
            let sent = encoded(&Method::POST, &format!("/api/v1/idempotencyKeys{path}"));
            assert_eq!(sent.contains(AMBIGUOUS), either, "{path}: {sent}");
        }
    }
}
