//! Storms: many at once of what is usually one, and a database that cannot keep up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::{StreamExt, stream};
use oncekey::Options;
use oncekey_tests_api::{Oncekey, Place, answer, handle};
use serde_json::json;

use super::faults::{Fate, faulty_database};
use super::protocol::until;

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
        // Of one payload a key: another one is told to come again in a minute while the first is being made, which depends on speed.
        let body = json!({ "payload": n % 16, "options": { "idempotencyKey": format!("k{}", n % 16) } }).to_string();
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
            tokio::time::sleep(Duration::from_millis(10)).await;
            if tries % 20 == 19 {
                oncekey.clock.advance(Duration::from_secs(100));
            }
        }
    }
    assert!(refused.load(Ordering::SeqCst) > 20, "{refused:?} refused");
}

/// Lets time go, a second at a time and far faster than it does, until a run is completed: how long that took.
async fn seconds_until_completed(oncekey: &Oncekey, run: &str) -> u64 {
    for seconds in 0..7_200 {
        let run = oncekey.run(run).await;
        if run["isCompleted"] == true {
            assert_eq!((&run["status"], &run["attemptCount"]), (&json!("COMPLETED"), &json!(1)), "{run}");
            return seconds;
        }
        oncekey.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    panic!("{run} is never completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_throttling_of_a_start_or_an_end_costs_seconds_and_no_attempt() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let [starts, ends] = [AtomicU64::new(0), AtomicU64::new(0)];
    let url = faulty_database(move |operation, body| {
        let calls = match operation {
            "UpdateItem" if body.contains("#finished_at") => &ends,
            "UpdateItem" => &starts,
            _ => return Fate::Passes,
        };
        // As many as the SDK makes of one.
        if calls.fetch_add(1, Ordering::SeqCst) < 3 { Fate::Throttled } else { Fate::Passes }
    })
    .await;
    let hour = Duration::from_secs(3_600);
    let options = |options| Options { dynamodb_endpoint: Some(url), worker_timeout: hour, ..options };
    let oncekey = Oncekey::with(place, options).await;
    let run = oncekey.trigger("echo", json!({ "options": { "maxAttempts": 1 } })).await;
    let took = seconds_until_completed(&oncekey, &run.id).await;
    assert!(took < 3_600, "{took} s, and the visibility timeout is six hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_hour_of_throttling_loses_nothing_and_dead_letters_nothing() {
    for (operation, of, queue) in [
        ("PutItem", "helped_from", "oncekey-triggers"),
        ("UpdateItem", "#started_at", "oncekey-runs"),
        ("UpdateItem", "#finished_at", "oncekey-completions"),
    ] {
        let Some(place) = Place::here_alone("it brings a database of its own") else { return };
        let is_throttled = Arc::new(AtomicBool::new(true));
        let throttled = Arc::clone(&is_throttled);
        let url = faulty_database(move |call, body| {
            match call == operation && body.contains(of) && throttled.load(Ordering::SeqCst) {
                true => Fate::Throttled,
                false => Fate::Passes,
            }
        })
        .await;
        let oncekey = Oncekey::with(place, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
        let options = json!({ "maxAttempts": 1, "idempotencyKey": "k" });
        let message = json!({ "environment": "local/dev", "task": "echo", "options": options });
        oncekey.send("oncekey-triggers", message.to_string()).await;
        for _ in 0..31 {
            // Every delivery that may be had within a minute is over.
            until(|| async { oncekey.depth(queue).await == [0, 1, 0] }).await;
            oncekey.clock.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        is_throttled.store(false, Ordering::SeqCst);
        until(|| async {
            oncekey.clock.advance(Duration::from_secs(100));
            !oncekey.all_runs().await.is_empty()
        })
        .await;
        seconds_until_completed(&oncekey, &oncekey.all_runs().await[0]).await;
        assert_eq!(oncekey.depth(&format!("{queue}-dead")).await, [0; 3]);
    }
}
