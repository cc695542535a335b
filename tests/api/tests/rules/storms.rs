//! Storms: many at once of what is usually one, and a database that cannot keep up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use dynoxide::Database;
use futures_util::{StreamExt, stream};
use oncekey::Options;
use oncekey_tests_api::{Oncekey, Place, answer, handle};
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_duplicates_of_one_key_are_one_run_and_no_error() {
    let Some(place) = Place::here_alone("it takes long on a slow database") else { return };
    let oncekey = Oncekey::start(place).await;
    let body = json!({ "payload": 1, "options": { "idempotencyKey": "one" } }).to_string();
    let ask = |_| answer(oncekey.post("/api/v1/tasks/echo/trigger", body.clone()));
    // As many at a time as leave a process its usual thousand open files.
    let answers: Vec<_> = stream::iter(0..10_000).map(ask).buffer_unordered(400).collect().await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK));
    let handles: Vec<_> = answers.iter().map(|(_, answer)| handle(answer)).collect();
    assert_eq!(handles.iter().filter(|handle| !handle.is_cached).count(), 1);
    assert!(handles.iter().all(|handle| handle.id == handles[0].id));
    assert_eq!(oncekey.finished(&handles[0].id).await["attemptCount"], 1);
    assert_eq!(oncekey.all_runs().await.len(), 1);
}

/// Before a DynamoDB: refuses a part of all calls as DynamoDB does that is asked too much.
#[derive(Clone)]
struct Throttle {
    behind: String,
    http: reqwest::Client,
    calls: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

async fn forward(State(throttle): State<Throttle>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let call = throttle.calls.fetch_add(1, Ordering::SeqCst);
    let target = headers["x-amz-target"].to_str().unwrap().to_owned();
    let is_request = ["PutItem", "UpdateItem", "DeleteItem", "GetItem"].iter().any(|name| target.ends_with(name));
    // Most of them for a while, so that the SDK's own retries are used up, then one of six.
    if is_request && if (50..70).contains(&(call % 100)) { call % 5 != 0 } else { call % 6 == 5 && call > 50 } {
        throttle.refused.fetch_add(1, Ordering::SeqCst);
        let kind = "com.amazonaws.dynamodb.v20120810#ThrottlingException";
        return (StatusCode::BAD_REQUEST, json!({ "__type": kind, "message": "Rate exceeded" }).to_string());
    }
    let mut onward = throttle.http.post(&throttle.behind).body(body);
    for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
        onward = onward.header(name, headers[name].to_str().unwrap());
    }
    let answer = onward.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_database_loses_nothing() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let serve = async |listener: TcpListener, router: Router| axum::serve(listener, router).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, Database::memory().unwrap()));
    let (calls, refused) = (Arc::default(), Arc::default());
    let throttle = Throttle { behind, http: reqwest::Client::new(), calls, refused: Arc::clone(&refused) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, Router::new().fallback(forward).with_state(throttle)));
    let oncekey = Oncekey::with(place, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;

    let oncekey = &oncekey;
    let trigger = |n: usize| async move {
        let body = json!({ "payload": n, "options": { "idempotencyKey": format!("k{}", n % 16) } }).to_string();
        loop {
            let request = oncekey.post("/api/v1/tasks/echo/trigger", body.clone());
            let (status, text) = answer(request.header("x-trigger-request-idempotency-key", n.to_string())).await;
            if status == StatusCode::OK {
                return handle(&text).id;
            }
            // What the client would do: such an answer says that it may.
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
        }
    };
    let ids: Vec<String> = stream::iter(0..24).map(trigger).buffered(24).collect().await;
    for n in 16..24 {
        assert_eq!(ids[n], ids[n - 16], "the same key");
    }
    // Messages whose handling failed come again after their visibility timeout.
    for id in &ids {
        for tries in 0.. {
            let (status, run) = answer(oncekey.get(&format!("/api/v3/runs/{id}"))).await;
            if status == StatusCode::OK && run["isCompleted"] == true {
                assert_eq!(run["status"], "COMPLETED", "{run}");
                break;
            }
            assert!(tries < 2_000, "{run}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            if tries % 20 == 19 {
                oncekey.clock.advance(std::time::Duration::from_secs(100));
            }
        }
    }
    assert!(refused.load(Ordering::SeqCst) > 20, "{refused:?} refused");
}
