//! Replay and reschedule.

use std::time::Duration;

use oncekey_core::store::{Move, Moved};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, PROD, Place, answer, run_id};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn replay(oncekey: &Oncekey, id: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    answer(oncekey.post(&format!("/api/v1/runs/{id}/replay"), body)).await
}

async fn reschedule(oncekey: &Oncekey, id: &str, delay: Value) -> (StatusCode, Value) {
    answer(oncekey.post(&format!("/api/v1/runs/{id}/reschedule"), json!({ "delay": delay }).to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_the_same_task_once_more_without_the_key() {
    let oncekey = Oncekey::anywhere().await;
    let options =
        json!({ "idempotencyKey": "k", "tags": ["a"], "metadata": { "m": 1 }, "maxAttempts": 2, "test": true });
    let first = oncekey.trigger("echo", json!({ "payload": { "n": 1 }, "options": options })).await;
    oncekey.finished(&first.id).await;
    let (status, replayed) = replay(&oncekey, &first.id, Value::Null).await;
    assert_eq!(status, 200);
    let run = oncekey.finished(replayed["id"].as_str().unwrap()).await;
    assert_ne!(run["id"], first.id);
    assert_eq!((&run["taskIdentifier"], &run["output"]), (&json!("echo"), &json!({ "n": 1 })));
    assert_eq!((&run["tags"], &run["metadata"], &run["isTest"]), (&json!(["a"]), &json!({ "m": 1 }), &json!(true)));
    assert_eq!(run.get("idempotencyKey"), None);
    assert_eq!(oncekey.keyed("echo", "k").await.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_may_say_otherwise() {
    let oncekey = Oncekey::anywhere().await;
    let first = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": "1h", "tags": ["a"] } })).await;
    let body = json!({ "payload": 2, "tags": ["b"], "queue": "default", "idempotencyKey": "own" });
    let (_, replayed) = replay(&oncekey, &first.id, body.clone()).await;
    let run = oncekey.finished(replayed["id"].as_str().unwrap()).await;
    assert_eq!((&run["output"], &run["tags"], &run["idempotencyKey"]), (&json!(2), &json!(["b"]), &json!("own")));
    assert_eq!(replay(&oncekey, &first.id, body).await.1["id"], run["id"]);
    assert_eq!(replay(&oncekey, &first.id, json!({ "delay": "soon" })).await.0, 400);

    let post = oncekey.post(&format!("/api/v1/runs/{}/replay", first.id), r#"{"delay":"1h"}"#);
    let (_, replayed) = answer(post.header("idempotency-key", "by header")).await;
    assert_eq!(oncekey.keyed("echo", "by header").await.id, replayed["id"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_replay_that_is_asked_for_again_by_the_same_request_is_one_run() {
    let oncekey = Oncekey::anywhere().await;
    let (one, other) = (oncekey.trigger("echo", json!({})).await, oncekey.trigger("echo", json!({})).await);
    let ask = async |id: &str| {
        let path = format!("/api/v1/runs/{id}/replay");
        let request = oncekey.post(&path, "").header("x-trigger-request-idempotency-key", "r");
        answer(request).await.1["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(&one.id).await, ask(&one.id).await);
    assert_ne!(ask(&one.id).await, ask(&other.id).await);
    assert_eq!(oncekey.all_runs().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_another_environments_run_cannot_be_replayed_or_rescheduled() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await;
    let oncekey = oncekey.as_key(PROD);
    assert_eq!(replay(&oncekey, &run.id, Value::Null).await.0, 404);
    assert_eq!(reschedule(&oncekey, &run.id, json!("1m")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_run_can_be_given_an_earlier_start() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await;
    let (status, moved) = reschedule(&oncekey, &run.id, json!("1m")).await;
    assert_eq!((status, &moved["status"], &moved["id"]), (StatusCode::OK, &json!("DELAYED"), &json!(run.id)));
    oncekey.clock.advance(Duration::from_secs(61));
    assert_eq!(oncekey.finished(&run.id).await["attemptCount"], 1);
    // Its first message finds it done.
    oncekey.clock.advance(Duration::from_secs(3_600));
    oncekey.drained("oncekey-runs").await;
    assert_eq!(oncekey.run(&run.id).await["attemptCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_run_can_be_given_a_later_start() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "10m" } })).await;
    let at = oncekey.clock.now().plus(Duration::from_secs(2_400)).to_string();
    let (_, moved) = reschedule(&oncekey, &run.id, json!(at)).await;
    assert_eq!(moved["delayedUntil"], at);
    for _ in 0..2 {
        oncekey.clock.advance(Duration::from_secs(900));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(oncekey.run(&run.id).await["status"], "DELAYED");
    }
    oncekey.clock.advance(Duration::from_secs(700));
    assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_reschedule_that_died_before_sending_its_message_loses_nothing() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "10m" } })).await;
    let stored = oncekey.app().store.run(&run_id(&run.id)).await.unwrap().unwrap();
    let now = oncekey.clock.now();
    let due_at = now.plus(Duration::from_secs(30 * 60));
    let moved = Move::Reschedule { turn: stored.turn, due_at, kept_until: stored.kept_until() };
    // What a process that died after this move and before sending leaves behind: the trigger's own message.
    assert!(matches!(oncekey.app().store.move_run(&stored.id, moved, now).await.unwrap(), Moved::To(_)));
    oncekey.clock.advance(Duration::from_secs(660));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(oncekey.run(&run.id).await["status"], "DELAYED");
    for _ in 0..3 {
        oncekey.clock.advance(Duration::from_secs(900));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_delayed_cannot_be_rescheduled() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({})).await;
    oncekey.finished(&run.id).await;
    let (status, error) = reschedule(&oncekey, &run.id, json!("1m")).await;
    assert_eq!(status, 422);
    assert!(
        error["error"].as_str().unwrap().ends_with("is COMPLETED: only a DELAYED run can be rescheduled"),
        "{error}"
    );
    let (status, error) = reschedule(&oncekey, &run.id, json!("soon")).await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().starts_with("delay: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ttl_of_a_rescheduled_run_counts_from_its_new_start() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1m", "ttl": "1m" } })).await;
    reschedule(&oncekey, &run.id, json!("10m")).await;
    oncekey.clock.advance(Duration::from_secs(601));
    assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
}
