//! Storms: many at once of what is usually one, and a database that cannot keep up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use futures_util::{StreamExt, stream};
use oncekey::Options;
use oncekey_tests_api::{Oncekey, Place, answer, handle};
use serde_json::json;

use super::faults::{Fate, faulty_database};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_database_loses_nothing() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let (calls, refused) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&refused);
    let url = faulty_database(move |operation, _| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        let is_request = ["PutItem", "UpdateItem", "DeleteItem", "GetItem"].contains(&operation);
        // Most of them for a while, so that the SDK's own retries are used up, then one of six.
        let refuses = if (50..70).contains(&(call % 100)) { call % 5 != 0 } else { call % 6 == 5 && call > 50 };
        if is_request && refuses {
            counted.fetch_add(1, Ordering::SeqCst);
            return Fate::Throttled;
        }
        Fate::Passes
    })
    .await;
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
