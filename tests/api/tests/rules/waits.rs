//! R31, R52, R60–R62, I9: waiting for children and for time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oncekey::Options;
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, run_id};
use oncekey_worker::{Child, Context, RetryPolicy, Task, TaskError, Worker};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn quick() -> RetryPolicy {
    RetryPolicy { first_pause: Duration::from_millis(20), ..RetryPolicy::default() }
}

/// `child` sleeps as long as its payload says and returns it; `fail` fails.
pub(super) fn children() -> Worker {
    Worker::new()
        .task(Task::new("child", |_: Context, ms: u64| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(ms)
        }))
        .task(Task::new("fail", async |_: Context, _: Value| Err::<(), _>(TaskError::new("it broke"))).max_attempts(1))
}

pub(super) async fn with(place: Place, parent: Task) -> Oncekey {
    Oncekey::running(place, children().task(parent), |options| options).await
}

async fn completed(oncekey: &Oncekey, payload: Value) -> Value {
    let handle = oncekey.trigger("parent", json!({ "payload": payload })).await;
    let run = oncekey.finished(&handle.id).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    run["output"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_waits_without_a_worker_and_resumes_in_the_same_attempt() {
    let Some(place) = Place::own_stack() else { return };
    let invocations = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&invocations);
    let oncekey = with(
        place,
        Task::new("parent", move |ctx: Context, _: Value| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                let output: u64 = ctx.trigger_and_wait(Child::new("child", 300)).await?;
                Ok(json!({ "output": output, "attempt": ctx.attempt() }))
            }
        }),
    )
    .await;
    let run = oncekey.trigger("parent", json!({})).await;
    let waiting = oncekey.in_status(&run.id, "WAITING").await;
    assert_eq!(waiting["isWaiting"], true);
    assert_eq!(oncekey.finished(&run.id).await["output"], json!({ "output": 300, "attempt": 1 }));
    assert_eq!(invocations.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r60_a_key_whose_run_is_complete_gives_its_output_at_once_as_often_as_asked() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(
        place,
        Task::new("parent", |ctx: Context, _: Value| async move {
            let mut outputs = Vec::new();
            for _ in 0..3 {
                let child = Child::new("child", 5).idempotency_key(ctx.idempotency_key("k").global());
                outputs.push(ctx.trigger_and_wait::<u64>(child).await?);
            }
            Ok(outputs)
        }),
    )
    .await;
    assert_eq!(completed(&oncekey, json!(1)).await, json!([5, 5, 5]));
    assert_eq!(completed(&oncekey, json!(2)).await, json!([5, 5, 5]));
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r61_several_parents_wait_for_one_run_that_is_still_going() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(
        place,
        Task::new("parent", |ctx: Context, _: Value| async move {
            let child = Child::new("child", 300).idempotency_key(ctx.idempotency_key("k").global());
            Ok(ctx.trigger_and_wait::<u64>(child).await?)
        }),
    )
    .await;
    let (one, other) = (oncekey.trigger("parent", json!({})).await, oncekey.trigger("parent", json!({})).await);
    for run in [one, other] {
        assert_eq!(oncekey.finished(&run.id).await["output"], 300);
    }
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r61_the_parent_of_a_child_that_fails_gets_the_childs_error() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        Ok(ctx.trigger_and_wait::<Value>(Child::new("fail", 1)).await?)
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.finished(&oncekey.trigger("parent", json!({})).await.id).await;
    assert_eq!(run["status"], "FAILED");
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("fail run run_") && message.ends_with("ended FAILED: it broke"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_failed_child_that_was_waited_for_gives_up_its_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(
        place,
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
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(
        place,
        Task::new("parent", |ctx: Context, _: Value| async move {
            let child = |ms: u64, key: &str| Child::new("child", ms).idempotency_key(key);
            let batch = vec![child(100, "a"), child(50, "b"), child(200, "a"), Child::new("fail", 0), child(10, "c")];
            let ends = ctx.batch_trigger_and_wait::<u64>(batch).await?;
            Ok(ends.into_iter().map(|end| end.map_err(|error| error.to_string())).collect::<Vec<_>>())
        }),
    )
    .await;
    let output = completed(&oncekey, json!(1)).await;
    let values: Vec<Option<u64>> = output.as_array().unwrap().iter().map(|end| end["Ok"].as_u64()).collect();
    assert_eq!(values, [Some(100), Some(50), Some(100), None, Some(10)]);
    assert!(output[3]["Err"].as_str().unwrap().ends_with("ended FAILED: it broke"));
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_a_batch_that_is_refused_is_an_error_in_its_place_and_the_others_run() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(
        place,
        Task::new("parent", |ctx: Context, _: Value| async move {
            let refused = || Child::new("child", 7).idempotency_key("k").key_ttl("10x");
            let unnamed = ctx.batch_trigger(vec![refused(), Child::new("child", 1)]).await.unwrap_err();
            let batch = vec![refused(), Child::new("child", 2), Child::new("", 0), Child::new("child", 3)];
            let ends = ctx.batch_trigger_and_wait::<u64>(batch).await?;
            // What was refused is refused again when the run comes back from here.
            ctx.trigger_and_wait::<u64>(Child::new("child", 4)).await?;
            let ends: Vec<_> = ends.into_iter().map(|end| end.map_err(|error| error.to_string())).collect();
            Ok((unnamed.to_string(), ends))
        }),
    )
    .await;
    let output = completed(&oncekey, json!(1)).await;
    let ends = &output[1];
    let values: Vec<Option<u64>> = ends.as_array().unwrap().iter().map(|end| end["Ok"].as_u64()).collect();
    assert_eq!(values, [None, Some(2), None, Some(3)]);
    for why in [&output[0], &ends[0]["Err"]] {
        assert!(why.as_str().unwrap().contains("\"10x\" is not a duration"), "{output}");
    }
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_a_wait_past_the_window_triggers_a_new_child() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("wait-past-window", json!({})).await;
    oncekey.in_status(&run.id, "WAITING").await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(Duration::from_secs(61));
    let ended = oncekey.finished(&run.id).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    assert_ne!(ended["output"]["first"], ended["output"]["second"]);
    assert_eq!(ended["attemptCount"], 1);
}

pub(super) trait DrainedButDelayed {
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
async fn without_schedules_a_wait_longer_than_sqs_carries_is_made_of_hops() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        ctx.wait_for(Duration::from_secs(3 * 3_600)).await?;
        Ok(1)
    });
    let hops = |options| Options { schedules: false, ..options };
    let oncekey = Oncekey::running(place, Worker::new().task(parent), hops).await;
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
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(
        place,
        Task::new("parent", |ctx: Context, _: Value| async move {
            let first = ctx.trigger(Child::new("child", 1)).await?;
            ctx.wait_for(Duration::from_secs(10)).await?;
            let second = ctx.trigger(Child::new("child", 1)).await?;
            ctx.wait_for(Duration::from_secs(10)).await?;
            Ok((first.id, second.id))
        }),
    )
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
    let Some(place) = Place::own_stack() else { return };
    let invocations = Arc::new(AtomicU32::new(0));
    let oncekey = with(
        place,
        Task::new("parent", move |ctx: Context, _: Value| {
            let invocation = invocations.fetch_add(1, Ordering::SeqCst);
            async move {
                let task = if invocation == 0 { "child" } else { "fail" };
                ctx.trigger(Child::new(task, 1)).await?;
                // Long enough that the run is suspended before its end.
                ctx.trigger_and_wait::<Value>(Child::new("child", 2_000)).await?;
                Ok(())
            }
        }),
    )
    .await;
    let run = oncekey.finished(&oncekey.trigger("parent", json!({})).await.id).await;
    assert_eq!((&run["status"], &run["attemptCount"]), (&json!("FAILED"), &json!(1)));
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("call 1 is now \"trigger fail\" and was \"trigger child\""), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_waiting_parent_ends_it_and_wakes_whoever_waits_for_it() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(
        place,
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
async fn max_duration_counts_what_an_attempt_computes_and_not_what_it_waits() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = with(
        place,
        Task::new("parent", |ctx: Context, _: Value| async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                ctx.wait_for(Duration::from_secs(3_600)).await?;
            }
            Ok(())
        }),
    )
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
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let own = Task::new("own", |_: Context, _: Value| async move { Ok(()) }).queue("slow");
    let oncekey = Oncekey::running(place, children().task(own), |options| Options {
        queues: vec!["other".parse().unwrap()],
        ..options
    })
    .await;
    let delayed = |queue: Option<&str>| {
        let mut options = json!({ "delay": "15m" });
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
    // A name that is not deployed is often one that the code of a task says.
    let unknown = oncekey.trigger("own", delayed(Some("none"))).await;
    assert_eq!(oncekey.depth("oncekey-runs-slow").await, [0, 0, 2]);
    let stored = oncekey.app().store.run(&run_id(&unknown.id)).await.unwrap().unwrap();
    assert_eq!(stored.spec.options.placement["queue"], json!({ "name": "none" }));
    oncekey.clock.advance(MINUTE * 60);
    for run in runs {
        assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
    }
}
