//! Requests as Lambda and AWS's services carry them out: whole. Whoever stops halfway is not waited for.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::refusal;

/// The request with its whole body, or its refusal: 413 over `most` bytes, 408 if it did not come within `patience`.
pub(super) async fn read(
    request: Request<Incoming>,
    most: usize,
    patience: Duration,
) -> Result<Request<Body>, Response> {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(patience, collect(body, most)).await {
        Ok(Ok(Some(body))) => Ok(Request::from_parts(parts, Body::from(body))),
        // In API Gateway's words.
        Ok(Ok(None)) => Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")),
        Ok(Err(_)) => Err(last(refusal(StatusCode::BAD_REQUEST, "the body could not be read to its end"))),
        Err(_) => {
            let why = format!("the body did not come within {} seconds: send it again", patience.as_secs());
            Err(last(refusal(StatusCode::REQUEST_TIMEOUT, &why)))
        }
    }
}

/// The body, or nothing if it is larger. What is too large is read to its end all the same: a sender that meets a closed
/// connection would not read the answer.
async fn collect(mut body: Incoming, most: usize) -> Result<Option<Bytes>, hyper::Error> {
    let (mut bytes, mut fits) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        fits &= bytes.len() + data.len() <= most;
        if fits {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(fits.then(|| bytes.into()))
}

fn last(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
