//! The work of the simulation.

use std::time::Duration;

use oncekey_worker::{Child, Context, RetryPolicy, Task, TaskError, Worker};
use serde_json::{Value, json};

use crate::history::Recorder;

/// Tasks that triggers choose among.
pub const TASKS: [&str; 7] = ["ok", "fail", "flaky", "parent", "parent", "parent", "timer"];

/// What a caller of this number sends: the second more than stands in a run's own item.
#[must_use]
pub fn payload(number: usize) -> Value {
    if number != 1 {
        return json!({ "number": number });
    }
    let mut random = fastrand::Rng::with_seed(1);
    json!({ "number": number, "text": (0..1_200).map(|_| random.alphanumeric()).collect::<String>() })
}

/// A worker whose tasks record what they see.
pub fn worker(recorder: &Recorder) -> Worker {
    let retry = RetryPolicy { first_pause: Duration::from_secs(2), ..RetryPolicy::default() };
    let seen = recorder.clone();
    let parent = move |ctx: Context, _: Value| {
        let seen = seen.clone();
        async move {
            let key = ctx.idempotency_key("child").global();
            let started = seen.begin();
            let child = Child::new("ok", ctx.run_id().as_str()).idempotency_key(key.clone());
            let handle = ctx.trigger(child).await?;
            seen.child_triggered(started, &ctx, &handle);
            // Waits for that very run, or for the one that took its key's place.
            let child = Child::new("ok", ctx.run_id().as_str()).idempotency_key(key);
            Ok(ctx.trigger_and_wait::<Value>(child).await?)
        }
    };
    let seen = recorder.clone();
    let timer = move |ctx: Context, given: Value| {
        let seen = seen.clone();
        async move {
            seen.given(&ctx, &given);
            for _ in 0..2 {
                let rolled: u32 = ctx.step("roll", || async { Ok(fastrand::u32(..)) }).await?;
                seen.rolled(&ctx, rolled);
                ctx.wait_for(Duration::from_secs(20)).await?;
            }
            Ok(json!("rang"))
        }
    };
    let seen = recorder.clone();
    let ok = move |ctx: Context, given: Value| {
        seen.given(&ctx, &given);
        async move { Ok(given) }
    };
    Worker::new()
        .task(Task::new("ok", ok).retry(retry))
        .task(
            Task::new("fail", |_: Context, _: Value| async move { Err::<Value, _>(TaskError::new("always")) })
                .max_attempts(1),
        )
        .task(Task::new("flaky", flaky).retry(retry))
        .task(Task::new("parent", parent).retry(retry))
        .task(Task::new("timer", timer).retry(retry))
}

async fn flaky(ctx: Context, _: Value) -> Result<Value, TaskError> {
    if ctx.attempt() == 1 {
        return Err(TaskError::new("once"));
    }
    Ok(json!(ctx.attempt()))
}
