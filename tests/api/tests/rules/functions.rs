//! The SQS functions as somebody else's processes: the stack only feeds them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use oncekey::Options;
use oncekey_core::App;
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place};
use serde_json::json;

/// A Lambda API, as `cargo lambda watch` has one.
#[derive(Clone, Default)]
struct Lambda {
    app: Arc<OnceLock<App>>,
    invoked: Arc<[AtomicUsize; 3]>,
}

/// The functions, in the order in which they are counted.
const FUNCTIONS: [&str; 3] = ["oncekey-function-ingest", "oncekey-function-worker", "oncekey-function-complete"];

async fn invoke(
    State(lambda): State<Lambda>,
    Path(name): Path<String>,
    Json(event): Json<SqsEvent>,
) -> Result<Json<SqsBatchResponse>, StatusCode> {
    let function = FUNCTIONS.iter().position(|function| *function == name).ok_or(StatusCode::NOT_FOUND)?;
    let before = lambda.invoked[function].fetch_add(1, Ordering::SeqCst);
    let app = lambda.app.get().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(Json(match function {
        0 => oncekey_function_ingest::handle(app, event).await,
        // Its process dies over the first.
        1 if before == 0 => return Err(StatusCode::BAD_GATEWAY),
        1 => oncekey_function_worker::worker().handle(app, event, app.clock.now().plus(Duration::from_secs(30))).await,
        _ => oncekey_function_complete::handle(app, event).await,
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_their_own_processes_are_fed_and_one_that_dies_is_fed_again() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let lambda = Lambda::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/2015-03-31/functions/{name}/invocations", post(invoke));
    tokio::spawn(axum::serve(listener, router.with_state(lambda.clone())).into_future());
    let oncekey = Oncekey::with(place, |options| Options { functions: Some(url), ..options }).await;
    lambda.app.set(oncekey.app().clone()).unwrap();

    let message = json!({ "environment": "local/dev", "task": "echo", "payload": 7, "requestId": "r",
        "options": { "idempotencyKey": "k" } });
    oncekey.app().queues.send_trigger(&message).await.unwrap();
    oncekey.drained("oncekey-triggers").await;
    let run = oncekey.keyed("echo", "k").await;
    assert!(run.is_cached, "the message made it");
    while lambda.invoked[1].load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Not seen again before the visibility timeout is over, six times the worker's own.
    oncekey.in_status(&run.id, "QUEUED").await;
    oncekey.clock.advance(Duration::from_secs(6 * 60 + 1));
    let ended = oncekey.finished(&run.id).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("COMPLETED"), &json!(7)));
    let invoked = [0, 1, 2].map(|function| lambda.invoked[function].load(Ordering::SeqCst));
    assert_eq!(invoked, [1, 2, 1]);
}
