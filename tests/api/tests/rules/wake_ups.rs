//! I8, I9: waits whose worker dies, whose messages come twice or not at all, and whose child is quicker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oncekey::Options;
use oncekey_core::protocol::cancel::cancel;
use oncekey_core::protocol::start::{Start, start};
use oncekey_core::protocol::wait::{Suspension, await_children, suspend};
use oncekey_core::queue::message::RunMessage;
use oncekey_core::queue::name::QueueName;
use oncekey_core::run::Run;
use oncekey_core::run::end::End;
use oncekey_core::run::waiter::Waiter;
use oncekey_core::store::{Move, Moved, Progress, Registration, Settled};
use oncekey_core::{Clock, RunId, RunStatus, Timestamp};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, dev, run_id};
use oncekey_worker::{Child, Context, Task, Worker};
use serde_json::{Value, json};

use super::protocol::until;
use super::waits::{children, quick, with};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn i9_many_parents_and_children_all_end_though_every_message_comes_twice() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(
        place,
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
            let again = oncekey_core::queue::message::RunMessage::of(&stored);
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
    oncekey.clock.advance(60 * MINUTE);
    let message = RunMessage::first(&stored);
    match start(app, &message, app.clock.now().plus(MINUTE), |_| 3).await.unwrap() {
        Start::Execute(run) => *run,
        other => panic!("{other:?}"),
    }
}

/// Its only child, delayed by an hour, and the wait of the call that triggered it.
async fn child_of(oncekey: &Oncekey, parent: &Run) -> (RunId, Waiter) {
    let child = oncekey.trigger("child", json!({ "payload": 1, "options": { "delay": "1h" } })).await;
    (run_id(&child.id), Waiter { run: parent.id.clone(), attempt: 1, call: 1 })
}

/// What its worker journals before it suspends the run.
async fn journalled(oncekey: &Oncekey, parent: &Run, child: &RunId) {
    let answer = json!({ "Ok": { "children": [{ "id": child, "isCached": false }] } });
    let calls = json!({ "1": { "what": "trigger and wait child with key k", "answer": answer } });
    let segment = json!({ "calls": calls }).to_string();
    oncekey
        .app()
        .store
        .put_segments(&parent.id, parent.spec.created_at, parent.turn, vec![segment], far(oncekey))
        .await
        .unwrap();
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

/// Registers a wait for a child that has not ended.
async fn register(oncekey: &Oncekey, waiter: &Waiter, child: &RunId) {
    let app = oncekey.app();
    let born = app.store.run(&waiter.run).await.unwrap().unwrap().spec.created_at;
    let registered = await_children(app, waiter, born, std::slice::from_ref(child), far(oncekey)).await.unwrap();
    assert_eq!(registered.ends.len(), 0);
}

/// Asserts that the wait has the end of its only child, and that nobody has to tell it any more.
async fn ended(oncekey: &Oncekey, waiter: &Waiter, child: &RunId) {
    let wait = oncekey.app().store.wait(waiter).await.unwrap();
    assert_eq!((wait.pending.len(), wait.ends[child].status), (0, RunStatus::Canceled));
    assert_eq!(oncekey.app().store.registrations(child.as_str(), 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_child_that_ends_before_its_parent_suspends_is_not_missed() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter) = child_of(&oncekey, &parent).await;
    register(&oncekey, &waiter, &child).await;
    // Between registering and suspending.
    cancel(app, &dev(), &child).await.unwrap();
    oncekey.drained("oncekey-completions").await;
    let suspended = suspend(app, &parent, std::slice::from_ref(&waiter), None, 0, Progress::default()).await.unwrap();
    assert!(matches!(suspended, Suspension::LookAgain { wakes: 1.. }), "{suspended:?}");
    ended(&oncekey, &waiter, &child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_child_that_ended_before_its_parent_registers_is_not_waited_for() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter) = child_of(&oncekey, &parent).await;
    cancel(app, &dev(), &child).await.unwrap();
    let born = parent.spec.created_at;
    let registered = await_children(app, &waiter, born, std::slice::from_ref(&child), far(&oncekey)).await.unwrap();
    assert_eq!(registered.ends[&child].status, RunStatus::Canceled);
    ended(&oncekey, &waiter, &child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_worker_that_dies_after_registering_and_before_suspending_crashes_the_attempt_and_nothing_else() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter) = child_of(&oncekey, &parent).await;
    register(&oncekey, &waiter, &child).await;
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
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits_for_its_child()).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let (child, waiter) = child_of(&oncekey, &parent).await;
    register(&oncekey, &waiter, &child).await;
    journalled(&oncekey, &parent, &child).await;
    let suspended =
        suspend(app, &parent, std::slice::from_ref(&waiter), None, 0, Progress { segments: 1, ..Progress::default() })
            .await
            .unwrap();
    assert_eq!(suspended, Suspension::Suspended);
    // What a process that died after this move and before sending leaves behind.
    let told = Registration { waiter: waiter.clone(), chunk: 0, children: 1, born: Some(parent.spec.created_at) };
    let end = End { error: None, status: RunStatus::Canceled, ..End::unknown() };
    assert_eq!(app.store.settle(&told, &child, &end, far(&oncekey)).await.unwrap(), Settled::Over);
    let woken = app.store.move_run(&parent.id, Move::Wake { waiter: &waiter }, app.clock.now()).await.unwrap();
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
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, Task::new("parent", |_: Context, _: Value| async move { Ok(1) }).retry(quick())).await;
    let app = oncekey.app();
    let parent = begun(&oncekey).await;
    let waiter = Waiter { run: parent.id.clone(), attempt: 1, call: 1 };
    let due_at = Some(app.clock.now().plus(MINUTE / 2));
    app.queues.send_run(&RunMessage::wake(&waiter, &QueueName::default(), due_at)).await.unwrap();
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
async fn i8_a_parent_that_outlives_its_invocation_after_a_wait_is_tried_again() {
    let Some(place) = Place::own_stack() else { return };
    let died = Arc::new(AtomicU32::new(0));
    let oncekey = Oncekey::running(
        place,
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

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_run_that_was_taken_up_too_late_expires_though_its_worker_died_before_saying_so() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let handle = oncekey.trigger("echo", json!({ "options": { "delay": "1h", "ttl": "1m" } })).await;
    let stored = app.store.run(&run_id(&handle.id)).await.unwrap().unwrap();
    oncekey.purge("oncekey-runs").await;
    oncekey.clock.advance(MINUTE * 90);
    let message = RunMessage::first(&stored);
    let late = start(app, &message, app.clock.now().plus(MINUTE), |_| 3).await.unwrap();
    assert!(matches!(late, Start::Expired(_)), "{late:?}");
    // Its worker is dead now; once the lease is over the message comes again.
    oncekey.clock.advance(MINUTE * 2);
    oncekey.send("oncekey-runs", serde_json::to_string(&message).unwrap()).await;
    assert_eq!(oncekey.finished(&handle.id).await["status"], "EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_run_whose_wake_cannot_be_read_is_roused_and_wakes_at_its_time() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let worker = Worker::new().task(Task::new("nap", |ctx: Context, (): ()| async move {
        ctx.wait_for(Duration::from_secs(3_600)).await?;
        Ok("slept")
    }));
    let clock = Clock::frozen(Timestamp::from_millis(1_790_000_000_000));
    let oncekey = Oncekey::running(place, worker, |options| Options { clock, ..options }).await;
    let id = oncekey.trigger("nap", json!({})).await.id;
    oncekey.in_status(&id, "WAITING").await;
    oncekey.purge("oncekey-runs").await;
    // Of a version to come, as a rollback leaves it, and delivered too often.
    let unreadable = json!({ "v": 99, "run_id": id, "attempt": 1, "wakes": { "call": 1 } });
    oncekey.send("oncekey-runs-dead", unreadable.to_string()).await;
    let (app, run) = (oncekey.app(), run_id(&id));
    until(|| async {
        let run = app.store.run(&run).await.unwrap().unwrap();
        run.turn.resume > 0 && run.status == RunStatus::Waiting
    })
    .await;
    oncekey.clock.advance(Duration::from_secs(3_600));
    assert_eq!(oncekey.finished(&id).await["output"], "slept");
}
