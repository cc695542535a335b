//! R11–R14 and the demo parents: keys inside a task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oncekey_core::key::Scope;
use oncekey_core::{Clock, Timestamp};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer};
use oncekey_worker::{Child, Context, RetryPolicy, Task, TaskError, Worker};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::protocol::until;

/// Runs a parent to its end.
async fn parent(oncekey: &Oncekey, task: &str, payload: Value) -> Value {
    let handle = oncekey.trigger(task, json!({ "payload": payload })).await;
    let run = oncekey.finished(&handle.id).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    run
}

/// Ids of the runs of a task.
async fn runs_of(oncekey: &Oncekey, task: &str) -> BTreeSet<String> {
    let page = oncekey.list(&format!("filter[taskIdentifier]={task}&page[size]=100")).await;
    page["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_run_scope_is_one_child_a_parent_over_all_its_attempts() {
    let oncekey = Oncekey::anywhere().await;
    let order = json!({ "orderId": "42", "email": "a@example.com", "failTimes": 2 });
    let one = parent(&oncekey, "process-order", order.clone()).await;
    assert_eq!(one["output"]["attempts"], 3);
    assert_eq!(
        runs_of(&oncekey, "send-email").await,
        BTreeSet::from([one["output"]["child"].as_str().unwrap().to_owned()])
    );
    let other = parent(&oncekey, "process-order", order).await;
    assert_ne!(other["output"]["child"], one["output"]["child"]);

    let child = oncekey.finished(one["output"]["child"].as_str().unwrap()).await;
    assert_eq!(child["idempotencyKey"], "confirm-order-42");
    assert_eq!(child["relatedRuns"]["parent"]["id"], one["id"]);
    assert_eq!((&child["depth"], &child["triggerFunction"]), (&json!(1), &json!("trigger")));
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_plain_text_is_of_run_scope() {
    let Some(place) = Place::own_stack() else { return };
    let worker = Worker::new().task(Task::new("child", async |_: Context, _: Value| Ok(Value::Null))).task(Task::new(
        "parent",
        |ctx: Context, _: Value| async move {
            let plain = ctx.trigger(Child::new("child", 1).idempotency_key("k")).await?;
            let made = ctx.trigger(Child::new("child", 1).idempotency_key(ctx.idempotency_key("k"))).await?;
            Ok(json!([plain.id, made.id]))
        },
    ));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let (one, other) = (parent(&oncekey, "parent", json!(1)).await, parent(&oncekey, "parent", json!(1)).await);
    assert_eq!(one["output"][0], one["output"][1]);
    assert_ne!(one["output"][0], other["output"][0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r12_attempt_scope_is_a_new_child_on_each_attempt() {
    let oncekey = Oncekey::anywhere().await;
    let run = parent(&oncekey, "sync-data", json!({ "userId": "u1", "failTimes": 2 })).await;
    assert_eq!(run["output"]["attempts"], 3);
    let fetched = runs_of(&oncekey, "fetch-latest-data").await;
    assert_eq!(fetched.len(), 3);
    assert!(fetched.contains(run["output"]["latest"]["fetchedBy"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_global_scope_is_one_child_whichever_parent_triggers_it() {
    let oncekey = Oncekey::anywhere().await;
    let user = json!({ "userId": "u1", "email": "a@example.com", "failTimes": 1 });
    let one = parent(&oncekey, "onboard-user", user.clone()).await;
    let other = parent(&oncekey, "onboard-user", user).await;
    assert_eq!(one["output"]["child"], other["output"]["child"]);
    assert_eq!(runs_of(&oncekey, "send-welcome-email").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_one_key_under_different_scopes_is_different_children() {
    let Some(place) = Place::own_stack() else { return };
    let worker = Worker::new().task(Task::new("child", async |_: Context, _: Value| Ok(Value::Null))).task(Task::new(
        "parent",
        |ctx: Context, _: Value| async move {
            let key = ctx.idempotency_key("k");
            let mut ids = Vec::new();
            for key in [key.clone(), key.clone().attempt(), key.global()] {
                ids.push(ctx.trigger(Child::new("child", 1).idempotency_key(key)).await?.id);
            }
            Ok(ids)
        },
    ));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let run = parent(&oncekey, "parent", json!(1)).await;
    let ids: BTreeSet<&str> = run["output"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids.len(), [Scope::Run, Scope::Attempt, Scope::Global].len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_parents_do_what_they_say() {
    let oncekey = Oncekey::anywhere().await;
    let mine = parent(&oncekey, "my-task", json!({ "failTimes": 2 })).await;
    assert_eq!((&mine["output"]["attempts"], &mine["output"]["isCached"]), (&json!(3), &json!(true)));
    assert_eq!(runs_of(&oncekey, "child-task").await.len(), 1);

    let reset = parent(&oncekey, "reset-inside", json!({})).await;
    assert_ne!(reset["output"]["first"], reset["output"]["second"]);

    let failed = parent(&oncekey, "retry-failed-child", json!({})).await;
    assert_ne!(failed["output"]["failed"][0], failed["output"]["failed"][1]);

    let order = json!({ "order": { "id": 1, "amount": 5 }, "failTimes": 1 });
    let charged = parent(&oncekey, "charge-payload", order.clone()).await;
    assert_eq!(parent(&oncekey, "charge-payload", order).await["output"]["child"], charged["output"]["child"]);
    let other = parent(&oncekey, "charge-payload", json!({ "order": { "id": 2, "amount": 5 } })).await;
    assert_ne!(other["output"]["child"], charged["output"]["child"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_children_shares_runs_by_key() {
    let Some(place) = Place::own_stack() else { return };
    let worker = Worker::new().task(Task::new("child", async |_: Context, n: Value| Ok(n))).task(Task::new(
        "parent",
        |ctx: Context, _: Value| async move {
            let child = |n: u32, key: &str| Child::new("child", n).idempotency_key(key);
            let handles =
                ctx.batch_trigger(vec![child(1, "a"), child(2, "b"), child(3, "a"), Child::new("child", 4)]).await?;
            Ok(handles.into_iter().map(|handle| handle.id).collect::<Vec<_>>())
        },
    ));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let run = parent(&oncekey, "parent", json!(1)).await;
    let ids: Vec<&str> = run["output"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids[0], ids[2]);
    assert_eq!(BTreeSet::from_iter(&ids).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_may_be_asked_for_by_message() {
    let Some(place) = Place::own_stack() else { return };
    let worker = Worker::new().task(Task::new("child", async |_: Context, n: Value| Ok(n))).task(
        Task::new("parent", |ctx: Context, _: Value| async move {
            ctx.enqueue_trigger(Child::new("child", 7).idempotency_key("k").tags(["by-message"])).await?;
            if ctx.attempt() == 1 { Err(TaskError::new("once")) } else { Ok(()) }
        })
        .retry(RetryPolicy { first_pause: std::time::Duration::from_millis(50), ..RetryPolicy::default() }),
    );
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let run = parent(&oncekey, "parent", json!(1)).await;
    oncekey.drained("oncekey-triggers").await;
    let children = runs_of(&oncekey, "child").await;
    assert_eq!(children.len(), 1);
    let child = oncekey.finished(children.first().unwrap()).await;
    assert_eq!((&child["output"], &child["tags"]), (&json!(7), &json!(["by-message"])));
    assert_eq!(child["relatedRuns"]["parent"]["id"], run["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_context_of_a_trigger_reaches_the_task_and_its_children() {
    let Some(place) = Place::own_stack() else { return };
    let trace = |ctx: &Context| ctx.traceparent().map(str::to_owned);
    let worker = Worker::new()
        .task(Task::new("child", move |ctx: Context, _: Value| async move { Ok(trace(&ctx)) }))
        .task(Task::new("parent", move |ctx: Context, _: Value| async move {
            ctx.trigger(Child::new("child", 1)).await?;
            ctx.enqueue_trigger(Child::new("child", 2)).await?;
            let awaited: Option<String> = ctx.trigger_and_wait(Child::new("child", 3)).await?;
            Ok(json!([trace(&ctx), awaited]))
        }));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = json!({ "payload": 1 }).to_string();
    let asked = oncekey.post("/api/v1/tasks/parent/trigger", body).header("traceparent", traceparent);
    let (_, handle) = answer(asked).await;
    let run = oncekey.finished(handle["id"].as_str().unwrap()).await;
    assert_eq!(run["output"], json!([traceparent, traceparent]));
    oncekey.drained("oncekey-triggers").await;
    let children = runs_of(&oncekey, "child").await;
    assert_eq!(children.len(), 3);
    for child in &children {
        assert_eq!(oncekey.finished(child).await["output"], traceparent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_a_failure_may_say_when_the_next_attempt_begins() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    const MINUTE: Duration = Duration::from_secs(60);
    let steady = RetryPolicy { factor: 1.0, max_pause: 8 * MINUTE, randomised: false, ..RetryPolicy::default() };
    let said =
        |id, error: fn() -> TaskError| Task::new(id, move |_: Context, _: Value| async move { Err::<(), _>(error()) });
    let later = said("later", || TaskError::new("busy").retry_after(10 * MINUTE)).max_attempts(2);
    let far = said("far", || TaskError::new("closed").retry_after(Duration::MAX)).max_attempts(2);
    let policy = move || RetryPolicy { first_pause: 8 * MINUTE, max_attempts: 2, ..steady };
    let by =
        Task::new(
            "by",
            move |_: Context, _: Value| async move { Err::<(), _>(TaskError::new("slow").retry(policy())) },
        );
    let clock = Clock::frozen(Timestamp::from_millis(1_790_000_000_000));
    let worker = Worker::new().task(later).task(by.max_attempts(5)).task(far);
    let oncekey = Oncekey::running(place, worker, |options| oncekey::Options { clock, ..options }).await;
    for (task, minutes) in [("later", 10), ("by", 8)] {
        let run = oncekey.trigger(task, json!({})).await;
        until(|| async { oncekey.depth("oncekey-runs").await == [0, 0, 1] }).await;
        oncekey.clock.advance(minutes * MINUTE - Duration::from_secs(1));
        assert_eq!(oncekey.depth("oncekey-runs").await, [0, 0, 1], "{task}");
        oncekey.clock.advance(Duration::from_secs(1));
        // Neither says that there is a third.
        let ended = oncekey.finished(&run.id).await;
        assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("FAILED"), &json!(2)), "{ended}");
    }
    // One attempt is all that its trigger wants.
    let once = oncekey.trigger("later", json!({ "options": { "maxAttempts": 1 } })).await;
    assert_eq!(oncekey.finished(&once.id).await["attemptCount"], 1);
    let far = oncekey.trigger("far", json!({})).await;
    until(|| async { oncekey.schedules().await.len() == 1 }).await;
    oncekey.clock.advance(Duration::from_secs(365 * 24 * 60 * 60));
    assert_eq!(oncekey.finished(&far.id).await["attemptCount"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_retry_aborts_do_not_and_panics_are_caught() {
    let Some(place) = Place::own_stack() else { return };
    let quick = RetryPolicy { first_pause: std::time::Duration::from_millis(20), ..RetryPolicy::default() };
    let parse = Task::new("parse", |_: Context, _: Value| async move { Ok("x".parse::<u32>()?) }).retry(quick);
    let abort = Task::new("abort", |_: Context, _: Value| async move { Err::<(), _>(TaskError::abort("no use")) });
    let panics = Task::new("panic", |_: Context, n: u32| async move { Ok(1 / n.checked_sub(1).expect("not zero")) });
    let worker = Worker::new().task(parse).task(abort).task(panics.retry(quick));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    for (task, attempts, message) in
        [("parse", 3, "invalid digit found in string"), ("abort", 1, "no use"), ("panic", 3, "not zero")]
    {
        let run = oncekey.finished(&oncekey.trigger(task, json!({ "payload": 0 })).await.id).await;
        assert_eq!((&run["status"], &run["attemptCount"]), (&json!("FAILED"), &json!(attempts)), "{task}");
        assert_eq!(run["error"]["message"], message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_child_fails_the_parent_for_good_and_names_the_field() {
    let Some(place) = Place::own_stack() else { return };
    let worker = Worker::new().task(Task::new("parent", |ctx: Context, _: Value| async move {
        ctx.trigger(Child::new("child", 1).idempotency_key("k").key_ttl("1w")).await?;
        Ok(())
    }));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let run = oncekey.finished(&oncekey.trigger("parent", json!({})).await.id).await;
    assert_eq!(run["attemptCount"], 1);
    assert!(
        run["error"]["message"].as_str().unwrap().starts_with("options.idempotencyKeyTTL: \"1w\" is not a duration")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_runs_once_and_is_replayed_on_later_attempts() {
    let Some(place) = Place::own_stack() else { return };
    let charged = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&charged);
    let worker = Worker::new().task(
        Task::new("parent", move |ctx: Context, _: Value| {
            let count = Arc::clone(&count);
            async move {
                let charge = || async { Ok(count.fetch_add(1, Ordering::SeqCst) + 1) };
                let receipt = ctx.step("charge", charge).await?;
                let again = ctx.step("charge", charge).await?;
                if ctx.attempt() < 3 {
                    Err(TaskError::new("after the charge"))
                } else {
                    Ok((receipt, again, ctx.step_key("charge")))
                }
            }
        })
        .retry(RetryPolicy { first_pause: std::time::Duration::from_millis(20), ..RetryPolicy::default() }),
    );
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let one = parent(&oncekey, "parent", json!(1)).await;
    assert_eq!((&one["attemptCount"], &one["output"][0], &one["output"][1]), (&json!(3), &json!(1), &json!(1)));
    assert_eq!(charged.load(Ordering::SeqCst), 1);
    let other = parent(&oncekey, "parent", json!(1)).await;
    assert_eq!(other["output"][0], 2);
    assert_ne!(other["output"][2], one["output"][2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_an_executing_parent_stops_it_at_its_next_call() {
    let Some(place) = Place::own_stack() else { return };
    let (called, canceled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (Arc::clone(&called), Arc::clone(&canceled));
    let worker = Worker::new().task(Task::new("child", async |_: Context, n: Value| Ok(n))).task(Task::new(
        "parent",
        move |ctx: Context, _: Value| {
            let (called, canceled) = gates.clone();
            async move {
                ctx.trigger(Child::new("child", 1)).await?;
                called.notify_one();
                canceled.notified().await;
                ctx.trigger(Child::new("child", 2)).await?;
                Ok(())
            }
        },
    ));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let run = oncekey.trigger("parent", json!({})).await;
    called.notified().await;
    answer(oncekey.post(&format!("/api/v2/runs/{}/cancel", run.id), "")).await;
    canceled.notify_one();
    oncekey.drained("oncekey-runs").await;
    assert_eq!(runs_of(&oncekey, "child").await.len(), 1);
    assert_eq!(oncekey.run(&run.id).await["status"], "CANCELED");
}
