//! I8: a run whose message the queue deleted unread, because no worker came for weeks, is ended by whoever reads it, and by the
//! daily sweep where nobody does.

use std::time::Duration;

use oncekey_core::protocol::start::{Start, start};
use oncekey_core::queue::message::{Outcome, RunMessage};
use oncekey_core::runs::sweep::SweepMessage;
use oncekey_core::store::{Move, Moved};
use oncekey_core::{Clock, RunId, Timestamp};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, run_id};
use oncekey_worker::{Child, Context, Task, Worker};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::batches::{create, send};
use super::protocol::until;

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

/// All runs, page by page.
async fn listed(oncekey: &Oncekey) -> Vec<RunId> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = oncekey.list(&format!("page[size]=100{after}")).await;
        ids.extend(page["data"].as_array().unwrap().iter().map(|run| run_id(run["id"].as_str().unwrap())));
        match page["pagination"]["next"].as_str() {
            Some(next) => after = format!("&page[after]={next}"),
            None => return ids,
        }
    }
}

/// Moves time on by days, with a sweep each day that comes to its end.
async fn days_pass(oncekey: &Oncekey, days: u32) {
    for _ in 0..days {
        oncekey.clock.advance(DAY);
        sweep(oncekey).await;
    }
}

/// What the schedule of each day sends, whenever somebody asks the queue, at once.
pub(super) async fn sweep(oncekey: &Oncekey) {
    oncekey.send("oncekey-completions", SweepMessage::TEXT).await;
    until(|| async { oncekey.depth("oncekey-completions").await == [0; 3] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_the_sweep_comes_every_day_by_itself() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = forgotten(&oncekey).await;
    oncekey.clock.advance(DAY * 17);
    until(|| async { stored(&oncekey, &run).await == "EXPIRED" }).await;
}

async fn stored(oncekey: &Oncekey, run: &str) -> String {
    oncekey.app().store.run(&run_id(run)).await.unwrap().unwrap().status.as_str().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_run_that_nobody_looks_at_is_expired_by_the_daily_sweep_and_its_key_freed() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    let at_once = oncekey.trigger("echo", json!({ "options": { "idempotencyKey": "at once", "delay": "1s" } })).await;
    let later = oncekey.trigger("echo", json!({ "options": { "idempotencyKey": "later", "delay": "10d" } })).await;
    oncekey.purge("oncekey-runs").await;
    oncekey.forget_schedules().await;
    days_pass(&oncekey, 15).await;
    assert_eq!(
        (stored(&oncekey, &at_once.id).await.as_str(), stored(&oncekey, &later.id).await.as_str()),
        ("DELAYED", "DELAYED")
    );
    days_pass(&oncekey, 3).await;
    assert_eq!(
        (stored(&oncekey, &at_once.id).await.as_str(), stored(&oncekey, &later.id).await.as_str()),
        ("EXPIRED", "DELAYED")
    );
    days_pass(&oncekey, 15).await;
    assert_eq!(stored(&oncekey, &later.id).await, "EXPIRED");
    for key in ["at%20once", "later"] {
        let (status, told) = answer(oncekey.get(&format!("/api/v1/idempotencyKeys/{key}?taskIdentifier=echo"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_parent_that_nobody_has_told_of_the_end_of_its_child_is_told_by_the_daily_sweep() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        Ok(ctx.trigger_and_wait::<Value>(Child::new("echo", 1).delay("1h")).await.is_err())
    });
    let worker = Worker::new().task(parent).task(Task::new("echo", |_: Context, it: Value| async move { Ok(it) }));
    let clock = Clock::frozen(Timestamp::from_millis(1_790_000_000_000));
    let oncekey = Oncekey::running(place, worker, |options| oncekey::Options { clock, ..options }).await;
    let run = oncekey.trigger("parent", json!({})).await.id;
    oncekey.in_status(&run, "WAITING").await;
    // The child ends, and the event that tells of it is lost.
    let ids = listed(&oncekey).await;
    let child = ids.iter().find(|id| id.as_str() != run).unwrap();
    let app = oncekey.app();
    let turn = app.store.run(child).await.unwrap().unwrap().turn;
    let now = app.clock.now();
    let end = Move::End {
        turn,
        outcome: &Outcome::Canceled { replaced_by: None },
        children: &[],
        unless_leased: false,
        kept_until: now.plus(DAY * 30),
        makes_room: false,
    };
    let moved = app.store.move_run(child, end, now).await.unwrap();
    assert!(matches!(moved, Moved::To(_)), "{moved:?}");
    days_pass(&oncekey, 15).await;
    assert_eq!(stored(&oncekey, &run).await, "WAITING");
    days_pass(&oncekey, 2).await;
    assert_eq!(oncekey.in_status(&run, "COMPLETED").await["output"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_on_by_message_over_more_runs_than_one_looks_at() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    for _ in 0..2 {
        let batch = create(&oncekey, json!({ "runCount": 1_000 })).await;
        let item = |index| json!({ "index": index, "task": "echo", "options": { "delay": "10m" } });
        let (status, sent) = send(&oncekey, &batch, &(0..1_000).map(item).collect::<Vec<_>>()).await;
        assert_eq!((status, &sent["itemsAccepted"]), (200, &json!(1_000)), "{sent}");
    }
    oncekey.drained("oncekey-triggers").await;
    let ids = listed(&oncekey).await;
    assert_eq!(ids.len(), 2_000);
    oncekey.purge("oncekey-runs").await;
    oncekey.clock.advance(DAY * 16 + DAY / 2);
    sweep(&oncekey).await;
    for run in oncekey.app().store.runs(&ids.iter().collect::<Vec<_>>()).await.unwrap() {
        assert_eq!(run.status.as_str(), "EXPIRED", "{}", run.id);
    }
}
