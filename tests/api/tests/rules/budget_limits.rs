//! What limits and rates of queues cost in DynamoDB.

use std::sync::Arc;

use oncekey_core::QueueLabel;
use oncekey_tests_api::{Place, dev};
use oncekey_worker::{Context, Queue, Task, TaskError, Worker};
use serde_json::{Value, json};

use crate::budget::{COSTS_UNTOLD, counted_with, settled, take};
use crate::protocol::until;

/// What it takes to learn that nothing limits any queue: a worker asks every five seconds, and whoever ends a run that nobody started.
pub(super) const LIMITS: f64 = 0.5;

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_limit_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let open = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&open);
    let task = Task::new("held", move |_: Context, held_back: bool| {
        let held = Arc::clone(&held);
        async move {
            if held_back {
                held.acquire().await.map_err(|_| TaskError::new("closed"))?.forget();
            }
            Ok(())
        }
    });
    let (oncekey, units) = counted_with(place, Worker::new().task(task.concurrency(1))).await;
    // The first makes the item of the places.
    oncekey.trigger("held", json!({ "payload": false })).await;
    settled(&oncekey).await;
    take(&units);
    oncekey.trigger("held", json!({ "payload": false })).await;
    settled(&oncekey).await;
    let (writes, reads) = take(&units);
    assert_eq!(writes, 4.0 + 2.0, "a run, and a place that is taken and freed");
    // Whether one waits; and again, before and after the place is freed.
    let finds = 0.5 + 2.0 * 1.0;
    assert!([0.5 + finds, 0.5 + finds + LIMITS].contains(&reads), "a look for waiters, and those for places: {reads}");

    let first = oncekey.trigger("held", json!({ "payload": true })).await;
    oncekey.in_status(&first.id, "EXECUTING").await;
    take(&units);
    let second = oncekey.trigger("held", json!({ "payload": false })).await;
    let queue = QueueLabel::parse("task/held").unwrap();
    until(async || oncekey.app().store.parked_count(&dev(), &queue).await.unwrap() == 1).await;
    open.add_permits(1);
    // Its message comes when the first has ended: until then the queues are empty.
    oncekey.finished(&second.id).await;
    settled(&oncekey).await;
    let (writes, _) = take(&units);
    // The end of the first is a write, and hands its place on by another; the second is triggered, and ends.
    let waited = writes - (2.0 + 4.0 + 2.0);
    assert_eq!(waited, PARKED, "a refused place, a move, an item that is put and deleted");
}

/// Writes that it takes to wait for a place.
const PARKED: f64 = 4.0;

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_rate_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let hourly = Queue::new("slow").rate(2, "20m").burst(1);
    let task = Task::new("slow", |_: Context, _: Value| async { Ok(()) }).queue(hourly);
    let (oncekey, units) = counted_with(place, Worker::new().task(task)).await;
    take(&units);
    // Nobody has started for long: the counter is behind, and set.
    let first = oncekey.trigger("slow", json!({})).await;
    oncekey.finished(&first.id).await;
    settled(&oncekey).await;
    // The worker may be ahead of the trigger, whose put is refused then.
    let is_spent = |writes: f64| [4.0 + 2.0, 5.0 + 2.0].contains(&writes);
    assert!(is_spent(take(&units).0), "a run, a refused look at the counter, and the counter");
    // The next waits for its slot, ten minutes.
    let second = oncekey.trigger("slow", json!({})).await;
    until(async || oncekey.depth("oncekey-runs-slow").await == [0, 0, 1]).await;
    oncekey.clock.advance(std::time::Duration::from_secs(601));
    oncekey.finished(&second.id).await;
    settled(&oncekey).await;
    assert!(is_spent(take(&units).0), "a run, the counter, and a move to the turn of its slot");
}
