//! I8: a run whose message the queue deleted unread, because no worker came for weeks, is ended by whoever reads it.

use std::time::Duration;

use oncekey_core::protocol::start::{Start, start};
use oncekey_core::queue::message::RunMessage;
use oncekey_tests_api::{Oncekey, Place, answer, run_id};
use oncekey_worker::{Child, Context, Task, Worker};
use reqwest::StatusCode;
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);

/// A delayed run whose message is gone, with the key `k`.
async fn forgotten(oncekey: &Oncekey) -> String {
    let body = json!({ "options": { "delay": "1d", "idempotencyKey": "k", "idempotencyKeyTTL": "300d" } });
    let run = oncekey.trigger("echo", body).await;
    oncekey.purge("oncekey-runs").await;
    run.id
}

async fn status(oncekey: &Oncekey, run: &str) -> Value {
    oncekey.run(run).await["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_run_whose_message_is_gone_is_expired_by_whoever_looks_at_it_and_not_before_its_message_must_be() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = forgotten(&oncekey).await;
    oncekey.clock.advance(DAY * 15);
    assert_eq!(status(&oncekey, &run).await, "DELAYED");
    oncekey.clock.advance(DAY * 2);
    assert_eq!(status(&oncekey, &run).await, "EXPIRED");
    // Its key is free as after every expiry.
    oncekey.drained("oncekey-completions").await;
    let (status, _) = answer(oncekey.get("/api/v1/idempotencyKeys/k?taskIdentifier=echo")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_duplicate_of_a_run_whose_message_is_gone_makes_a_new_one() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = forgotten(&oncekey).await;
    oncekey.clock.advance(DAY * 17);
    let next = oncekey.keyed("echo", "k").await;
    assert!(next.id != run && !next.is_cached, "{next:?}");
    assert_eq!(oncekey.finished(&next.id).await["status"], "COMPLETED");
    assert_eq!(status(&oncekey, &run).await, "EXPIRED");
    assert_eq!(oncekey.keyed("echo", "k").await.id, next.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_the_list_and_a_look_at_the_key_expire_it_too() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    for look in ["/api/v1/runs", "/api/v1/idempotencyKeys/k?taskIdentifier=echo"] {
        let run = forgotten(&oncekey).await;
        oncekey.clock.advance(DAY * 17);
        answer(oncekey.get(look)).await;
        let stored = oncekey.app().store.run(&run_id(&run)).await.unwrap().unwrap();
        assert_eq!(stored.status.as_str(), "EXPIRED", "{look}");
        oncekey.drained("oncekey-completions").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_run_whose_worker_died_and_whose_message_is_gone_is_expired() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = forgotten(&oncekey).await;
    oncekey.clock.advance(DAY * 2);
    let app = oncekey.app();
    let stored = app.store.run(&run_id(&run)).await.unwrap().unwrap();
    let deadline = app.clock.now().plus(DAY);
    let started = start(app, &RunMessage::of(&stored), deadline, |_| 3).await.unwrap();
    assert!(matches!(started, Start::Execute(_)), "{started:?}");
    oncekey.clock.advance(DAY * 16);
    assert_eq!(status(&oncekey, &run).await, "EXECUTING");
    oncekey.clock.advance(DAY);
    assert_eq!(status(&oncekey, &run).await, "EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_child_whose_message_is_gone_is_expired_by_a_look_at_its_parent_which_is_woken() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        Ok(ctx.trigger_and_wait::<Value>(Child::new("echo", 1).delay("1d")).await.is_err())
    });
    let worker = Worker::new().task(parent).task(Task::new("echo", |_: Context, it: Value| async move { Ok(it) }));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let first = oncekey.trigger("parent", json!({})).await.id;
    oncekey.in_status(&first, "WAITING").await;
    oncekey.purge("oncekey-runs").await;
    oncekey.clock.advance(DAY * 17);
    oncekey.run(&first).await;
    assert_eq!(oncekey.in_status(&first, "COMPLETED").await["output"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_run_whose_wait_is_over_and_whose_message_is_gone_is_woken_by_whoever_looks_at_it() {
    let Some(place) = Place::own_stack() else { return };
    let wait = Task::new("wait", |ctx: Context, _: Value| async move { Ok(ctx.wait_for(DAY).await?) });
    let oncekey = Oncekey::running(place, Worker::new().task(wait), |options| options).await;
    let run = oncekey.trigger("wait", json!({})).await;
    oncekey.in_status(&run.id, "WAITING").await;
    oncekey.purge("oncekey-runs").await;
    oncekey.clock.advance(DAY - Duration::from_secs(60));
    oncekey.run(&run.id).await;
    oncekey.drained("oncekey-runs").await;
    assert_eq!(status(&oncekey, &run.id).await, "WAITING", "it is not over");
    oncekey.clock.advance(Duration::from_secs(2 * 60 * 60));
    assert_eq!(oncekey.in_status(&run.id, "COMPLETED").await["attemptCount"], 1);
}
