//! The API on loopback that children call: every call is handed to the run that the caller carries out, which answers it, or
//! sends it on to the routes that everybody has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use oncekey_core::EnvironmentId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::invocation::lock;

/// The largest body of a call: as much as over the API outside, and what is around it.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Calls of a child that wait to be heard.
const WAITING: usize = 1_000;

/// A call of a child.
#[derive(Debug)]
pub(crate) struct ChildCall {
    pub parts: Parts,
    pub body: Bytes,
    pub reply: oneshot::Sender<Reply>,
}

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Reply {
    /// This is its answer.
    Answer(StatusCode, Value),
    /// It has none to show.
    Empty,
    /// It goes to the routes that everybody has, from this environment, under this name. Whoever sends this is told when it
    /// has its answer.
    Forward { environment: EnvironmentId, request: String, done: oneshot::Sender<()> },
}

/// The children that may call, by the token that each was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(Arc<Mutex<HashMap<String, mpsc::Sender<ChildCall>>>>);

impl Tokens {
    /// A token for a new child, and what that will ask.
    pub(crate) fn issue(&self) -> (String, mpsc::Receiver<ChildCall>) {
        let (asks, calls) = mpsc::channel(WAITING);
        let token = format!("tr_host_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        lock(&self.0).insert(token.clone(), asks);
        (token, calls)
    }

    pub(crate) fn forget(&self, token: &str) {
        lock(&self.0).remove(token);
    }

    fn find(&self, token: &str) -> Option<mpsc::Sender<ChildCall>> {
        lock(&self.0).get(token).cloned()
    }
}

/// Serves the children, with `routes` for what is no business of a run's own.
pub(crate) async fn serve(listener: TcpListener, tokens: Tokens, routes: Router) {
    let routes = routes.layer(from_fn_with_state(tokens, hand_over));
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the API for task processes has ended");
    }
}

async fn hand_over(State(tokens): State<Tokens>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // A place for a packet is named with its caller's token, since nothing else comes with what is put there.
    let in_path = || request.uri().path().strip_prefix("/oncekey/v1/packets/")?.split('/').next();
    let Some(child) = bearer.or_else(in_path).and_then(|token| tokens.find(token)) else {
        return refusal(StatusCode::UNAUTHORIZED, "this is the API of a task's own process");
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "body: more than 8 MB, which is the limit");
    };
    let (reply, replied) = oneshot::channel();
    let call = ChildCall { parts: parts.clone(), body: body.clone(), reply };
    if child.send(call).await.is_err() {
        return refusal(StatusCode::GONE, "the run that called is over");
    }
    match replied.await {
        Ok(Reply::Answer(status, value)) if status.is_success() => (status, axum::Json(value)).into_response(),
        Ok(Reply::Answer(status, value)) => refusal(status, value.as_str().unwrap_or_default()),
        Ok(Reply::Empty) => StatusCode::NO_CONTENT.into_response(),
        Ok(Reply::Forward { environment, request: name, done }) => {
            let mut forwarded = Request::from_parts(parts, Body::from(body));
            // Whoever can put this here is in this process: nothing of it comes over the wire.
            forwarded.extensions_mut().insert(environment);
            if let Ok(name) = HeaderValue::from_str(&name) {
                forwarded.headers_mut().insert(HeaderName::from_static("x-trigger-request-idempotency-key"), name);
            }
            let answer = next.run(forwarded).await;
            let _ = done.send(());
            answer
        }
        Err(_) => refusal(StatusCode::GONE, "the run that called is over"),
    }
}

/// A refusal that the SDK does not send again.
fn refusal(status: StatusCode, message: &str) -> Response {
    let mut response = (status, axum::Json(json!({ "error": message }))).into_response();
    response.headers_mut().insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    response
}
