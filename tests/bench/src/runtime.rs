//! A stub of Lambda's runtime API, from which one function at a time takes its events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

/// What the stub hands out, and what it is told.
struct Stub {
    events: Mutex<mpsc::Receiver<Value>>,
    asked: mpsc::Sender<Result<Instant, String>>,
    answers: mpsc::Sender<Result<Value, String>>,
}

/// The other ends.
pub(crate) struct Runtime {
    pub address: String,
    events: mpsc::Sender<Value>,
    asked: mpsc::Receiver<Result<Instant, String>>,
    answers: mpsc::Receiver<Result<Value, String>>,
}

impl Runtime {
    pub(crate) async fn start() -> Self {
        let (events, to_hand_out) = mpsc::channel(1);
        let (asking, asked) = mpsc::channel(64);
        let (answering, answers) = mpsc::channel(64);
        let stub = Arc::new(Stub { events: Mutex::new(to_hand_out), asked: asking, answers: answering });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{what}", post(answer))
            .route("/2018-06-01/runtime/init/error", post(never_started))
            .with_state(stub);
        Self { address: listen(router).await, events, asked, answers }
    }

    /// When a function asked for work.
    pub(crate) async fn asked(&mut self) -> Instant {
        in_time(self.asked.recv()).await.expect("a function that starts")
    }

    /// What a function makes of an event.
    pub(crate) async fn invoke(&mut self, event: Value) -> Value {
        self.events.send(event).await.unwrap();
        in_time(self.answers.recv()).await.expect("a function that answers")
    }
}

/// Serves on a free port of this machine: the address.
pub(crate) async fn listen(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// What a function tells, which it may have died instead of telling.
async fn in_time<T>(told: impl Future<Output = Option<T>>) -> T {
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("a function that lives").unwrap()
}

async fn next(State(stub): State<Arc<Stub>>) -> impl IntoResponse {
    let _ = stub.asked.try_send(Ok(Instant::now()));
    // A function that was killed while it waited leaves its wait to the next one.
    let event = stub.events.lock().await.recv().await;
    let headers = [
        ("lambda-runtime-aws-request-id", "00000000-0000-0000-0000-000000000000"),
        ("lambda-runtime-deadline-ms", "99999999999999"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:bench"),
        ("content-type", "application/json"),
    ];
    (headers, event.unwrap_or_default().to_string())
}

async fn answer(State(stub): State<Arc<Stub>>, Path((_, what)): Path<(String, String)>, body: String) -> StatusCode {
    let answer = if what == "response" { Ok(serde_json::from_str(&body).unwrap()) } else { Err(body) };
    let _ = stub.answers.send(answer).await;
    StatusCode::ACCEPTED
}

async fn never_started(State(stub): State<Arc<Stub>>, why: String) -> StatusCode {
    let _ = stub.asked.try_send(Err(why));
    StatusCode::ACCEPTED
}
