//! R31, R52, R60–R62, I9: waiting for children and for time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oncekey::Options;
use oncekey_core::protocol::cancel::cancel;
use oncekey_core::protocol::start::{Start, start};
use oncekey_core::protocol::wait::{Suspension, await_children, await_time, suspend};
use oncekey_core::queue::message::RunMessage;
use oncekey_core::run::Run;
use oncekey_core::run::status::Event;
use oncekey_core::run::waiter::Waiter;
use oncekey_core::store::{Guard, Moved, Transition, WaitRecord};
use oncekey_core::{RunId, Timestamp};
use oncekey_tests_api::{Oncekey, answer, dev, run_id};
use oncekey_worker::{Child, Context, RetryPolicy, Task, TaskError, Worker};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

fn quick() -> RetryPolicy {
    RetryPolicy { first_pause: Duration::from_millis(20), ..RetryPolicy::default() }
}

/// `child` sleeps as long as its payload says and returns it; `fail` fails.
fn children() -> Worker {
    Worker::new()
        .task(Task::new("child", |_: Context, ms: u64| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(ms)
        }))
        .task(Task::new("fail", async |_: Context, _: Value| Err::<(), _>(TaskError::new("it broke"))).max_attempts(1))
}

async fn with(parent: Task) -> Oncekey {
    Oncekey::running(children().task(parent), |options| options).await
}

async fn completed(oncekey: &Oncekey, payload: Value) -> Value {
    let handle = oncekey.trigger("parent", json!({ "payload": payload })).await;
    let run = oncekey.finished(&handle.id).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    run["output"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_waits_without_a_worker_and_resumes_in_the_same_attempt() {
    let invocations = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&invocations);
    let oncekey = with(Task::new("parent", move |ctx: Context, _: Value| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let output: u64 = ctx.trigger_and_wait(Child::new("child", 300)).await?;
            Ok(json!({ "output": output, "attempt": ctx.attempt() }))
        }
    }))
    .await;
    let run = oncekey.trigger("parent", json!({})).await;
    let waiting = oncekey.in_status(&run.id, "WAITING").await;
    assert_eq!(waiting["isWaiting"], true);
    assert_eq!(oncekey.finished(&run.id).await["output"], json!({ "output": 300, "attempt": 1 }));
    assert_eq!(invocations.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r60_a_key_whose_run_is_complete_gives_its_output_at_once_as_often_as_asked() {
    let oncekey = with(Task::new("parent", |ctx: Context, _: Value| async move {
        let mut outputs = Vec::new();
        for _ in 0..3 {
            let child = Child::new("child", 5).idempotency_key(ctx.idempotency_key("k").global());
            outputs.push(ctx.trigger_and_wait::<u64>(child).await?);
        }
        Ok(outputs)
    }))
    .await;
    assert_eq!(completed(&oncekey, json!(1)).await, json!([5, 5, 5]));
    assert_eq!(completed(&oncekey, json!(2)).await, json!([5, 5, 5]));
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r61_several_parents_wait_for_one_run_that_is_still_going() {
    let oncekey = with(Task::new("parent", |ctx: Context, _: Value| async move {
        let child = Child::new("child", 300).idempotency_key(ctx.idempotency_key("k").global());
        Ok(ctx.trigger_and_wait::<u64>(child).await?)
    }))
    .await;
    let (one, other) = (oncekey.trigger("parent", json!({})).await, oncekey.trigger("parent", json!({})).await);
    for run in [one, other] {
        assert_eq!(oncekey.finished(&run.id).await["output"], 300);
    }
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r61_the_parent_of_a_child_that_fails_gets_the_childs_error() {
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        Ok(ctx.trigger_and_wait::<Value>(Child::new("fail", 1)).await?)
    });
    let oncekey = with(parent.max_attempts(1)).await;
    let run = oncekey.finished(&oncekey.trigger("parent", json!({})).await.id).await;
    assert_eq!(run["status"], "FAILED");
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("fail run run_") && message.ends_with("ended FAILED: it broke"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_failed_child_that_was_waited_for_gives_up_its_key() {
    let oncekey = with(
        Task::new("parent", |ctx: Context, _: Value| async move {
            let child = Child::new("fail", 1).idempotency_key(ctx.idempotency_key("k").global());
            Ok(ctx.trigger_and_wait::<Value>(child).await?)
        })
        .retry(RetryPolicy { max_attempts: 3, ..quick() }),
    )
    .await;
    let run = oncekey.finished(&oncekey.trigger("parent", json!({})).await.id).await;
    assert_eq!((&run["status"], &run["attemptCount"]), (&json!("FAILED"), &json!(3)));
    assert_eq!(oncekey.list("filter[taskIdentifier]=fail").await["data"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_a_batch_and_wait_whose_items_share_a_key_resumes_once_with_each_result_in_its_place() {
    let oncekey = with(Task::new("parent", |ctx: Context, _: Value| async move {
        let child = |ms: u64, key: &str| Child::new("child", ms).idempotency_key(key);
        let batch = vec![child(100, "a"), child(50, "b"), child(200, "a"), Child::new("fail", 0), child(10, "c")];
        let ends = ctx.batch_trigger_and_wait::<u64>(batch).await?;
        Ok(ends.into_iter().map(|end| end.map_err(|error| error.to_string())).collect::<Vec<_>>())
    }))
    .await;
    let output = completed(&oncekey, json!(1)).await;
    let values: Vec<Option<u64>> = output.as_array().unwrap().iter().map(|end| end["Ok"].as_u64()).collect();
    assert_eq!(values, [Some(100), Some(50), Some(100), None, Some(10)]);
    assert!(output[3]["Err"].as_str().unwrap().ends_with("ended FAILED: it broke"));
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_a_wait_past_the_window_triggers_a_new_child() {
    let oncekey = Oncekey::start().await;
    let run = oncekey.trigger("wait-past-window", json!({})).await;
    oncekey.in_status(&run.id, "WAITING").await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(Duration::from_secs(61));
    let ended = oncekey.finished(&run.id).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    assert_ne!(ended["output"]["first"], ended["output"]["second"]);
    assert_eq!(ended["attemptCount"], 1);
}

trait DrainedButDelayed {
    async fn drained_but_delayed(&self);
}

impl DrainedButDelayed for Oncekey {
    /// Waits until nobody is at work: were time moved under them, they would seem to have died.
    async fn drained_but_delayed(&self) {
        while self.depth("oncekey-runs").await[..2] != [0, 0] || self.depth("oncekey-completions").await != [0; 3] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_longer_than_sqs_carries_is_made_of_hops() {
    let oncekey = with(Task::new("parent", |ctx: Context, _: Value| async move {
        ctx.wait_for(Duration::from_secs(3 * 3_600)).await?;
        Ok(1)
    }))
    .await;
    let run = oncekey.trigger("parent", json!({})).await;
    oncekey.in_status(&run.id, "WAITING").await;
    for _ in 0..11 {
        oncekey.drained_but_delayed().await;
        oncekey.clock.advance(Duration::from_secs(900));
        assert_eq!(oncekey.run(&run.id).await["status"], "WAITING");
    }
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(Duration::from_secs(900));
    assert_eq!(oncekey.finished(&run.id).await["output"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_triggered_without_a_key_before_a_wait_are_not_triggered_again() {
    let oncekey = with(Task::new("parent", |ctx: Context, _: Value| async move {
        let first = ctx.trigger(Child::new("child", 1)).await?;
        ctx.wait_for(Duration::from_secs(10)).await?;
        let second = ctx.trigger(Child::new("child", 1)).await?;
        ctx.wait_for(Duration::from_secs(10)).await?;
        Ok((first.id, second.id))
    }))
    .await;
    let run = oncekey.trigger("parent", json!({})).await;
    while oncekey.run(&run.id).await["isCompleted"] == false {
        oncekey.drained_but_delayed().await;
        oncekey.clock.advance(Duration::from_secs(11));
    }
    let ended = oncekey.finished(&run.id).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(1)));
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_task_that_makes_other_calls_fails_naming_both() {
    let invocations = Arc::new(AtomicU32::new(0));
    let oncekey = with(Task::new("parent", move |ctx: Context, _: Value| {
        let invocation = invocations.fetch_add(1, Ordering::SeqCst);
        async move {
            let task = if invocation == 0 { "child" } else { "fail" };
            ctx.trigger(Child::new(task, 1)).await?;
            ctx.trigger_and_wait::<Value>(Child::new("child", 50)).await?;
            Ok(())
        }
    }))
    .await;
    let run = oncekey.finished(&oncekey.trigger("parent", json!({})).await.id).await;
    assert_eq!((&run["status"], &run["attemptCount"]), (&json!("FAILED"), &json!(1)));
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("call 1 is now \"trigger fail\" and was \"trigger child\""), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_waiting_parent_ends_it_and_wakes_whoever_waits_for_it() {
    let oncekey = Oncekey::running(
        children()
            .task(Task::new("middle", |ctx: Context, _: Value| async move {
                Ok(ctx.wait_for(Duration::from_secs(3_600)).await?)
            }))
            .task(
                Task::new("parent", |ctx: Context, _: Value| async move {
                    Ok(ctx.trigger_and_wait::<Value>(Child::new("middle", 1)).await?)
                })
                .max_attempts(1),
            ),
        |options| options,
    )
    .await;
    let parent = oncekey.trigger("parent", json!({})).await;
    oncekey.in_status(&parent.id, "WAITING").await;
    let middle = oncekey.list("filter[taskIdentifier]=middle").await["data"][0]["id"].as_str().unwrap().to_owned();
    oncekey.in_status(&middle, "WAITING").await;
    answer(oncekey.post(&format!("/api/v2/runs/{middle}/cancel"), "")).await;
    assert_eq!(oncekey.run(&middle).await["status"], "CANCELED");
    let ended = oncekey.finished(&parent.id).await;
    assert!(ended["error"]["message"].as_str().unwrap().contains("ended CANCELED"), "{ended:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_many_parents_and_children_all_end_though_every_message_comes_twice() {
    let oncekey = Oncekey::running(
        children().task(Task::new("parent", |ctx: Context, n: u64| async move {
            let batch = (0..4).map(|i| Child::new("child", (n + i) % 7)).collect();
            let ends = ctx.batch_trigger_and_wait::<u64>(batch).await?;
            let sum: u64 = ends.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().sum();
            Ok(sum)
        })),
        |options| Options { worker_concurrency: 16, ..options },
    )
    .await;
    let mut parents = Vec::new();
    for n in 0..20u64 {
        parents.push(oncekey.trigger("parent", json!({ "payload": n })).await.id);
    }
    // Send what the queues carried once more, as they may: every dispatch of every run as it stands now.
    for _ in 0..3 {
        for id in oncekey.all_runs().await {
            let stored = oncekey.app().store.run(&run_id(&id)).await.unwrap().unwrap();
            let again = oncekey_core::queue::message::RunMessage::next(&stored);
            oncekey.app().queues.send_run(&again).await.unwrap();
        }
    }
    for (n, id) in (0u64..).zip(&parents) {
        let ended = oncekey.finished(id).await;
        let sum: u64 = (0..4).map(|i| (n + i) % 7).sum();
        assert_eq!((&ended["status"], &ended["output"]), (&json!("COMPLETED"), &json!(sum)));
        assert_eq!(ended["attemptCount"], 1);
    }
    assert_eq!(oncekey.all_runs().await.len(), 100);
}

/// A parent that a worker of this test, and not the stack's, has begun to execute.
async fn begun(oncekey: &Oncekey) -> Run {
    let handle = oncekey.trigger("parent", json!({ "payload": 1, "options": { "delay": "1h" } })).await;
    let app = oncekey.app();
    let stored = app.store.run(&run_id(&handle.id)).await.unwrap().unwrap();
    oncekey.purge("oncekey-runs").await;
    let message = RunMessage { due_at: None, ..RunMessage::first(&stored) };
    match start(app, &message, app.clock.now().plus(MINUTE), |_| 3).await.unwrap() {
        Start::Execute(run) => *run,
        other => panic!("{other:?}"),
    }
}

/// Its only child, delayed by an hour, and what it writes to wait for that.
async fn waiting_for_a_child(oncekey: &Oncekey, parent: &Run) -> (RunId, Waiter, WaitRecord) {
    let child = oncekey.trigger("child", json!({ "payload": 1, "options": { "delay": "1h" } })).await;
    let child = run_id(&child.id);
    let waiter = Waiter { run: parent.id.clone(), attempt: 1, call: 1 };
    let call =
        json!([{ "what": "trigger and wait child with key k", "children": [{ "id": child, "isCached": false }] }]);
    let record = WaitRecord { calls: call.to_string(), pending: vec![child.clone()], due_at: None };
    (child, waiter, record)
}

fn waits_for_its_child() -> Task {
    Task::new("parent", |ctx: Context, _: Value| async move {
        Ok(ctx.trigger_and_wait::<u64>(Child::new("child", 1).idempotency_key("k")).await?)
    })
    .retry(quick())
}

fn far(oncekey: &Oncekey) -> Timestamp {
    oncekey.clock.now().plus(MINUTE * 600)
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_child_that_ends_before_its_parent_suspends_is_not_missed() {
    let oncekey = with(waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter, record) = waiting_for_a_child(&oncekey, &parent).await;
    await_children(app, &waiter, record, far(&oncekey)).await.unwrap();
    // Between registering and suspending.
    cancel(app, &dev(), &child).await.unwrap();
    oncekey.drained("oncekey-completions").await;
    let suspended = suspend(app, &parent, &waiter, 0, Duration::ZERO, far(&oncekey)).await.unwrap();
    assert!(matches!(suspended, Suspension::LookAgain { wakes: 1.. }), "{suspended:?}");
    assert_eq!(app.store.wait(&waiter).await.unwrap().unwrap().pending, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_child_that_ended_before_its_parent_registers_is_not_waited_for() {
    let oncekey = with(waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter, record) = waiting_for_a_child(&oncekey, &parent).await;
    cancel(app, &dev(), &child).await.unwrap();
    let journalled = await_children(app, &waiter, record, far(&oncekey)).await.unwrap();
    assert_eq!(journalled.pending, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_worker_that_dies_after_registering_and_before_suspending_crashes_the_attempt_and_nothing_else() {
    let oncekey = with(waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter, record) = waiting_for_a_child(&oncekey, &parent).await;
    await_children(app, &waiter, record, far(&oncekey)).await.unwrap();
    // The worker is dead now, the child ends meanwhile, and once the lease is over the message comes again.
    cancel(app, &dev(), &child).await.unwrap();
    oncekey.clock.advance(MINUTE * 61);
    oncekey.send("oncekey-runs", serde_json::to_string(&RunMessage::first(&parent)).unwrap()).await;
    let ended = oncekey.finished_somehow(&parent.id).await;
    assert_eq!(
        (&ended["status"], &ended["attemptCount"], &ended["output"]),
        (&json!("COMPLETED"), &json!(2), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_wake_up_whose_message_was_not_sent_is_sent_by_the_redelivered_event() {
    let oncekey = with(waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter, record) = waiting_for_a_child(&oncekey, &parent).await;
    await_children(app, &waiter, record, far(&oncekey)).await.unwrap();
    let suspended = suspend(app, &parent, &waiter, 0, Duration::ZERO, far(&oncekey)).await.unwrap();
    assert_eq!(suspended, Suspension::Suspended);
    // What a process that died after this move and before sending leaves behind.
    app.store.remove_pending(&waiter, &child).await.unwrap();
    let woken = Transition::new(Event::Wake, Guard::Any, app.clock.now()).resuming(&waiter);
    let woken = app.store.move_run(&parent.id, woken).await.unwrap();
    assert!(matches!(woken, Moved::To(_)), "{woken:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(oncekey.run(parent.id.as_str()).await["status"], "QUEUED");
    cancel(app, &dev(), &child).await.unwrap();
    let ended = oncekey.finished_somehow(&parent.id).await;
    // Resumed in its first attempt, it got the child's end as an error, and tried again.
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_timed_wait_whose_worker_died_before_suspending_is_tried_again_and_its_message_is_dropped() {
    let oncekey = with(Task::new("parent", |_: Context, _: Value| async move { Ok(1) }).retry(quick())).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let waiter = Waiter { run: parent.id.clone(), attempt: 1, call: 1 };
    let due_at = Some(app.clock.now().plus(MINUTE / 2));
    let record = WaitRecord { calls: "[]".to_owned(), pending: Vec::new(), due_at };
    await_time(app, &waiter, "default", record, far(&oncekey)).await.unwrap();
    oncekey.clock.advance(MINUTE * 61);
    oncekey.send("oncekey-runs", serde_json::to_string(&RunMessage::first(&parent)).unwrap()).await;
    let ended = oncekey.finished_somehow(&parent.id).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(2)));
}

trait FinishedSomehow {
    async fn finished_somehow(&self, id: &RunId) -> Value;
}

impl FinishedSomehow for Oncekey {
    /// The run once it is final, while time goes twenty times as fast as it does: what is under way ends long before its
    /// lease, and what a second delivery left for a lease's end comes.
    async fn finished_somehow(&self, id: &RunId) -> Value {
        while self.run(id.as_str()).await["isCompleted"] == false {
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.clock.advance(Duration::from_secs(1));
        }
        self.run(id.as_str()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn max_duration_counts_what_an_attempt_computes_and_not_what_it_waits() {
    let oncekey = with(Task::new("parent", |ctx: Context, _: Value| async move {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ctx.wait_for(Duration::from_secs(3_600)).await?;
        }
        Ok(())
    }))
    .await;
    let started = |seconds: u32| json!({ "options": { "maxDuration": seconds, "maxAttempts": 1 } });
    let enough = oncekey.trigger("parent", started(20)).await;
    let little = oncekey.trigger("parent", started(1)).await;
    for run in [&enough, &little] {
        while oncekey.run(&run.id).await["isCompleted"] == false {
            oncekey.drained_but_delayed().await;
            oncekey.clock.advance(Duration::from_secs(3_600));
        }
    }
    assert_eq!(oncekey.run(&enough.id).await["status"], "COMPLETED");
    // Half a second in each of three invocations, of which each runs what was before it again.
    assert_eq!(oncekey.run(&little.id).await["status"], "TIMED_OUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_the_queue_of_its_trigger_or_its_task() {
    let own = Task::new("own", |_: Context, _: Value| async move { Ok(()) }).queue("slow");
    let oncekey =
        Oncekey::running(children().task(own), |options| Options { queues: vec!["other".to_owned()], ..options }).await;
    let delayed = |queue: Option<&str>| {
        let mut options = json!({ "delay": "1h" });
        if let Some(name) = queue {
            options["queue"] = json!({ "name": name });
        }
        json!({ "payload": 1, "options": options })
    };
    let runs = [
        oncekey.trigger("own", delayed(None)).await,
        oncekey.trigger("own", delayed(Some("other"))).await,
        oncekey.trigger("child", delayed(None)).await,
    ];
    for queue in ["oncekey-runs-slow", "oncekey-runs-other", "oncekey-runs"] {
        assert_eq!(oncekey.depth(queue).await, [0, 0, 1], "{queue}");
    }
    let (status, error) = oncekey.try_trigger("own", delayed(Some("none"))).await;
    assert_eq!(status, 400);
    assert_eq!(error["error"], "options.queue.name: there is no queue \"none\"; there are: default, other, slow");
    oncekey.clock.advance(MINUTE * 60);
    for run in runs {
        assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_parent_that_outlives_its_invocation_after_a_wait_is_tried_again() {
    let died = Arc::new(AtomicU32::new(0));
    let oncekey = Oncekey::running(
        children().task(
            Task::new("parent", move |ctx: Context, _: Value| {
                let first = died.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    let output: u64 = ctx.trigger_and_wait(Child::new("child", 50).idempotency_key("k")).await?;
                    if first {
                        // Outlives the invocation, which is killed over it.
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    Ok(output)
                }
            })
            .retry(quick()),
        ),
        |options| Options { worker_timeout: Duration::from_secs(1), ..options },
    )
    .await;
    let run = oncekey.finished(&oncekey.trigger("parent", json!({})).await.id).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("COMPLETED"), &json!(50)));
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 1);
}
