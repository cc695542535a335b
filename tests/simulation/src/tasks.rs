//! The work of the simulation.

use std::time::Duration;

use oncekey_worker::{CallError, Child, Context, RetryPolicy, Task, TaskError, TokenOptions, Worker};
use serde_json::{Value, json};

use crate::history::Recorder;

/// Tasks that triggers choose among.
pub const TASKS: [&str; 7] = ["ok", "fail", "flaky", "parent", "parent", "parent", "timer"];

/// The task that waits for a token, in schedules in which there are any.
pub const APPROVAL: &str = "approval";
/// How long tokens wait.
const TIMEOUTS: [&str; 4] = ["12s", "60s", "20m", "20m"];

/// Whether a parent that is given this waits for long after its child.
fn waits_long(given: &Value) -> bool {
    given["number"].as_u64().is_some_and(|number| number % 2 == 0)
}

/// Longer than a run is kept that has ended, as its child is.
const LONG: Duration = Duration::from_secs(40 * 24 * 60 * 60);

/// A worker whose tasks record what they see.
#[must_use]
pub fn worker(recorder: &Recorder) -> Worker {
    let retry = RetryPolicy { first_pause: Duration::from_secs(2), ..RetryPolicy::default() };
    let seen = recorder.clone();
    let parent = move |ctx: Context, given: Value| {
        let seen = seen.clone();
        async move {
            seen.given(&ctx, &given);
            let key = ctx.idempotency_key("child").global();
            let started = seen.begin();
            let child = Child::new("ok", ctx.run_id().as_str()).idempotency_key(key.clone());
            let handle = ctx.trigger(child).await?;
            seen.child_triggered(started, &ctx, &handle);
            // Waits for that very run, or for the one that took its key's place.
            let child = Child::new("ok", ctx.run_id().as_str()).idempotency_key(key);
            let ended = ctx.trigger_and_wait::<Value>(child).await;
            seen.child_ended(&ctx, &ended);
            if waits_long(&given) {
                let rolled: u32 = ctx.step("roll", || async { Ok(fastrand::u32(..)) }).await?;
                seen.rolled(&ctx, rolled);
                ctx.wait_for(LONG).await?;
            }
            Ok(ended?)
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
    let approval = move |ctx: Context, given: Value| {
        let seen = seen.clone();
        async move {
            seen.given(&ctx, &given);
            let kind = ctx.run_id().as_str().bytes().map(usize::from).sum::<usize>();
            let options = TokenOptions::new().timeout(TIMEOUTS[kind % TIMEOUTS.len()]);
            // Most wait for one of two, some for one of their own.
            let options = match kind % 5 {
                0 => options,
                _ => options.key(["one", "two"][kind / 4 % 2]).key_ttl(["30d", "60s"][kind / 8 % 2]),
            };
            let token = ctx.create_token(&options).await?.id;
            seen.awaits(&ctx, &token);
            let ended = ctx.wait_for_token::<Value>(&token).await;
            seen.token_ended(&ctx, &token, &ended);
            match ended {
                Err(CallError::TokenTimedOut { .. }) => Ok(json!("nobody answered")),
                ended => Ok(ended?),
            }
        }
    };
    let seen = recorder.clone();
    let ok = move |ctx: Context, given: Value| {
        seen.given(&ctx, &given);
        async move { Ok(given) }
    };
    let seen = recorder.clone();
    let fail = move |ctx: Context, given: Value| {
        seen.given(&ctx, &given);
        async move { Err::<Value, _>(TaskError::new("always")) }
    };
    let seen = recorder.clone();
    let flaky = move |ctx: Context, given: Value| {
        seen.given(&ctx, &given);
        async move { if ctx.attempt() == 1 { Err(TaskError::new("once")) } else { Ok(json!(ctx.attempt())) } }
    };
    Worker::new()
        .task(Task::new("ok", ok).retry(retry))
        .task(Task::new("fail", fail).max_attempts(1))
        .task(Task::new("flaky", flaky).retry(retry))
        .task(Task::new("parent", parent).retry(retry))
        .task(Task::new("timer", timer).retry(retry))
        .task(Task::new(APPROVAL, approval).retry(retry))
}
