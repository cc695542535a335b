//! I8, I9: messages that are sent on towards their time go there, and no further than their run; where no schedule can be had.

use std::time::Duration;

use oncekey_core::protocol::wait::wake;
use oncekey_core::queue::message::RunMessage;
use oncekey_core::queue::name::QueueName;
use oncekey_core::run::waiter::Waiter;
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, run_id};
use oncekey_worker::{Context, Task};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::protocol::until;

const MINUTE: Duration = Duration::from_secs(60);

/// A stack whose time stands still, and whose task waits for as many minutes as its payload says.
async fn with_a_sleeper(place: Place) -> Oncekey {
    let sleeper = Task::new("sleeper", |ctx: Context, minutes: u32| async move {
        ctx.wait_for(MINUTE * minutes).await?;
        Ok("rested")
    });
    let frozen = oncekey_core::Clock::frozen(oncekey_core::Timestamp::from_millis(1_790_000_000_000));
    let worker = oncekey_function_worker::worker().task(sleeper);
    let change = |options| oncekey::Options { clock: frozen, schedules: false, ..options };
    Oncekey::running(place, worker, change).await
}

/// A run that waits for so many minutes, what wakes it, and when. The message of its wait is lost.
async fn asleep(oncekey: &Oncekey, minutes: u32) -> (String, RunMessage) {
    let run = oncekey.trigger("sleeper", json!({ "payload": minutes })).await;
    oncekey.in_status(&run.id, "WAITING").await;
    oncekey.purge("oncekey-runs").await;
    let waiter = Waiter { run: run_id(&run.id), attempt: 1, call: 1 };
    let due_at = oncekey.clock.now().plus(MINUTE * minutes);
    (run.id, RunMessage::wake(&waiter, &QueueName::default(), Some(due_at)))
}

/// Waits until one message is delayed and no other is there.
async fn one_is_delayed(oncekey: &Oncekey) {
    until(|| async { oncekey.depth("oncekey-runs").await == [0, 0, 1] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_wake_that_is_dead_lettered_before_its_time_goes_on_to_it() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = with_a_sleeper(place).await;
    let (run, message) = asleep(&oncekey, 10).await;
    oncekey.send("oncekey-runs-dead", serde_json::to_string(&message).unwrap()).await;
    oncekey.drained("oncekey-runs-dead").await;
    one_is_delayed(&oncekey).await;
    assert_eq!(oncekey.run(&run).await["status"], "WAITING");
    oncekey.clock.advance(MINUTE * 10);
    assert_eq!(oncekey.finished(&run).await["output"], "rested");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_run_that_is_woken_before_its_time_by_a_clock_that_is_ahead_is_woken_again() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = with_a_sleeper(place).await;
    let (run, message) = asleep(&oncekey, 4).await;
    wake(oncekey.app(), &message.waiter().unwrap()).await.unwrap();
    one_is_delayed(&oncekey).await;
    oncekey.in_status(&run, "WAITING").await;
    oncekey.clock.advance(MINUTE * 4);
    assert_eq!(oncekey.finished(&run).await["output"], "rested");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hops_of_a_run_that_is_over_end() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = with_a_sleeper(place).await;
    let delayed = oncekey.trigger("echo", json!({ "options": { "delay": "300d" } })).await;
    let waiting = oncekey.trigger("sleeper", json!({ "payload": 300 })).await;
    oncekey.in_status(&waiting.id, "WAITING").await;
    until(|| async { oncekey.depth("oncekey-runs").await == [0, 0, 2] }).await;
    for run in [&delayed.id, &waiting.id] {
        let cancelled = answer(oncekey.post(&format!("/api/v2/runs/{run}/cancel"), "")).await;
        assert_eq!(cancelled.0, StatusCode::OK);
    }
    oncekey.clock.advance(MINUTE * 15);
    oncekey.drained("oncekey-runs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_run_that_was_rescheduled_one_message_hops_on() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = with_a_sleeper(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "40m" } })).await;
    for delay in ["50m", "2h", "20m"] {
        let path = format!("/api/v1/runs/{}/reschedule", run.id);
        let (status, moved) = answer(oncekey.post(&path, json!({ "delay": delay }).to_string())).await;
        assert_eq!(status, StatusCode::OK, "{moved}");
    }
    until(|| async { oncekey.depth("oncekey-runs").await == [0, 0, 4] }).await;
    oncekey.clock.advance(MINUTE * 15);
    one_is_delayed(&oncekey).await;
    oncekey.clock.advance(MINUTE * 5);
    let ended: Value = oncekey.finished(&run.id).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(1)));
    oncekey.drained("oncekey-runs").await;
}
