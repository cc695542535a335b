//! What stands between a caller and an HTTP function on AWS: API Gateway, which hands requests to Lambda as events and takes
//! answers from it, and neither may be larger than Lambda carries.

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::payload::{MAX_PAYLOAD_BYTES, as_base64, as_json};

/// The largest request that API Gateway takes: 10 MB.
pub(crate) const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;
/// What an event or an answer has around headers and body: names of fields, the caller, times.
const AROUND: usize = 2048;
/// The most that a byte becomes in JSON.
const MAX_PER_BYTE: usize = 6;

/// The functions' routes, with these limits.
pub(crate) fn before(functions: Router) -> Router {
    functions.layer(from_fn(pass))
}

async fn pass(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let line = parts.uri.path().len() + 2 * parts.uri.query().unwrap_or_default().len();
    let Some(body) = carried(body, &parts.headers, line).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let (parts, body) = next.run(Request::from_parts(parts, body)).await.into_parts();
    match carried(body, &parts.headers, 0).await {
        Some(body) => Response::from_parts(parts, body),
        None => {
            tracing::error!("an answer has more than the {MAX_PAYLOAD_BYTES} bytes that Lambda carries");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

/// The body, if Lambda carries it with its headers and `more`.
async fn carried(body: Body, headers: &HeaderMap, more: usize) -> Option<Body> {
    let room = MAX_PAYLOAD_BYTES.checked_sub(AROUND + more + headers_as_json(headers))?;
    // Most are known to fit before they are looked at.
    if HttpBody::size_hint(&body).upper().is_some_and(|most| most * (MAX_PER_BYTE as u64) < room as u64) {
        return Some(body);
    }
    let bytes: Bytes = to_bytes(body, MAX_REQUEST_BYTES).await.ok()?;
    let size = if is_text(headers) { as_json(&bytes) } else { as_base64(bytes.len()) };
    (size <= room).then(|| bytes.into())
}

fn headers_as_json(headers: &HeaderMap) -> usize {
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        name.as_str().len() + as_json(value.as_bytes()) + "\"\":,".len()
    };
    headers.iter().map(header).sum()
}

/// Whether a body of this type travels as text, and not as base64. Without a type it is taken for text.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
    kind.starts_with("text/") || ["json", "xml", "javascript"].iter().any(|format| kind.contains(format))
}

/// In API Gateway's words, which are no words of ours.
fn refusal(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    /// Whether so many bytes of this type are carried.
    async fn fits(kind: &'static str, byte: u8, bytes: usize) -> bool {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, axum::http::HeaderValue::from_static(kind))]);
        carried(Body::from(vec![byte; bytes]), &headers, 0).await.is_some()
    }

    #[tokio::test]
    async fn a_text_is_carried_up_to_6_megabytes_as_json_has_it() {
        let (kind, most) = ("application/json; charset=utf-8", MAX_PAYLOAD_BYTES - AROUND);
        assert!(fits(kind, b'x', most - 100).await);
        assert!(!fits(kind, b'x', most).await);
        assert!(fits("text/html", b'"', most / 2 - 100).await);
        assert!(!fits("text/html", b'"', most / 2).await);
    }

    #[tokio::test]
    async fn what_is_no_text_is_carried_as_base64() {
        let (kind, most) = ("application/octet-stream", (MAX_PAYLOAD_BYTES - AROUND) / 4 * 3);
        assert!(fits(kind, b'x', most - 100).await);
        assert!(!fits(kind, b'x', most).await);
    }

    #[tokio::test]
    async fn headers_count_and_a_small_body_is_not_looked_at() {
        let mut headers = HeaderMap::new();
        assert!(carried(Body::from("x"), &headers, 0).await.is_some());
        headers.insert("large", "x".repeat(MAX_PAYLOAD_BYTES).parse().expect("a header"));
        assert!(carried(Body::from("x"), &headers, 0).await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_lambda_does_not_carry_is_the_gateways_own() {
        let answer = |bytes: usize| async move { "x".repeat(bytes) };
        let fits = MAX_PAYLOAD_BYTES - 2 * AROUND;
        let functions = Router::new()
            .route("/fits", get(move || answer(fits)))
            .route("/too-large", get(move || answer(MAX_PAYLOAD_BYTES)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, before(functions)).await });
        let read = async |path: &str| {
            let answer = reqwest::get(format!("{url}{path}")).await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a text"))
        };
        let (status, text) = read("/fits").await;
        assert_eq!((status, text.len()), (200, fits));
        assert_eq!(read("/too-large").await, (500, json!({ "message": "Internal Server Error" }).to_string()));
    }
}
