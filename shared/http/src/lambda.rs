//! Serving on Lambda, behind an HTTP API of API Gateway.
//!
//! API Gateway decodes the path before a function gets it: `a%2Fb` comes as `a/b`, a space as a space. Our routes take a
//! task, a key or a packet's path as one encoded segment, so what stands in the segment's place is encoded again here.
//! One escape may be left as it was sent, `%25`: it is taken for a percent sign.

use axum::Router;
use lambda_http::lambda_runtime::{self, LambdaEvent, service_fn};
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Error, Service};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::finish;

/// Where one segment holds a text of the caller's: the method, or any; what comes before it, and what after.
const SEGMENTS: [(Option<&str>, &str, &str); 5] = [
    (None, "/api/v1/tasks/", "/trigger"),
    (Some("POST"), "/api/v1/idempotencyKeys/", "/reset"),
    (None, "/api/v1/idempotencyKeys/", ""),
    (None, "/api/v1/packets/", ""),
    (None, "/api/v2/packets/", ""),
];

/// Everything in a segment but what needs no escape anywhere.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same in a path.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// Serves a function's router until Lambda stops the process.
///
/// # Errors
/// What the Lambda runtime reports.
pub async fn serve(router: Router) -> Result<(), Error> {
    let adapter = Adapter::from(finish(router));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<LambdaRequest>| {
        let mut adapter = adapter.clone();
        async move { adapter.call(LambdaEvent::new(with_path_as_sent(event.payload), event.context)).await }
    }))
    .await
}

fn with_path_as_sent(mut request: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV2(request) = &mut request {
        let path = request.raw_path.as_deref().unwrap_or_default();
        request.raw_path = Some(encoded(request.request_context.http.method.as_str(), path));
    }
    request
}

/// The path as it was sent, from the path as API Gateway tells it.
fn encoded(method: &str, path: &str) -> String {
    let path = &path.replace("%25", "%");
    let held =
        SEGMENTS.iter().filter(|(only, ..)| only.is_none_or(|only| only == method)).find_map(|(_, before, after)| {
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
        for (method, path, sent) in [
            ("POST", "/api/v1/tasks/mail/send now/trigger", "/api/v1/tasks/mail%2Fsend%20now/trigger"),
            ("POST", "/api/v1/tasks/trigger/trigger", "/api/v1/tasks/trigger/trigger"),
            ("POST", "/api/v1/idempotencyKeys/50%/ü/reset", "/api/v1/idempotencyKeys/50%25%2F%C3%BC/reset"),
            ("POST", "/api/v1/idempotencyKeys/50%25/ü/reset", "/api/v1/idempotencyKeys/50%25%2F%C3%BC/reset"),
            ("GET", "/api/v1/idempotencyKeys/a/reset", "/api/v1/idempotencyKeys/a%2Freset"),
            ("PUT", "/api/v2/packets/a/b.json", "/api/v2/packets/a%2Fb.json"),
            ("GET", "/api/v1/packets/a/b.json", "/api/v1/packets/a%2Fb.json"),
            ("GET", "/api/v3/runs/run_a", "/api/v3/runs/run_a"),
            ("GET", "/no such place", "/no%20such%20place"),
        ] {
            assert_eq!(encoded(method, path), sent);
        }
    }
}
