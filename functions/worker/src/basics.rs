//! Tasks that do one thing each, to try runs with.

use std::time::Duration;

use oncekey_worker::{Context, RetryPolicy, Task, TaskError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tenth of a second between attempts, so that one can watch.
pub(crate) fn quickly(max_attempts: u32) -> RetryPolicy {
    RetryPolicy { max_attempts, first_pause: Duration::from_millis(100), factor: 1.0, ..RetryPolicy::default() }
}

pub(crate) fn tasks() -> [Task; 4] {
    [
        Task::new("echo", echo),
        Task::new("fail", fail).max_attempts(1),
        Task::new("flaky", flaky).retry(quickly(10)),
        Task::new("sleep", sleep),
    ]
}

/// Returns its payload.
async fn echo(_: Context, payload: Value) -> Result<Value, TaskError> {
    Ok(payload)
}

/// Always fails.
async fn fail(_: Context, _: Value) -> Result<Value, TaskError> {
    Err(TaskError::new("this task always fails"))
}

/// How often `flaky` fails.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flaky {
    fail_times: u32,
}

/// How many attempts `flaky` took.
#[derive(Serialize)]
struct Attempts {
    attempts: u32,
}

/// Fails as often as it is told, then returns how many attempts it took.
async fn flaky(ctx: Context, flaky: Flaky) -> Result<Attempts, TaskError> {
    if ctx.attempt() <= flaky.fail_times {
        return Err(TaskError::new(format!("attempt {} of {} that fail", ctx.attempt(), flaky.fail_times)));
    }
    Ok(Attempts { attempts: ctx.attempt() })
}

/// How long `sleep` sleeps.
#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

/// Returns after a while.
async fn sleep(_: Context, sleep: Sleep) -> Result<Value, TaskError> {
    tokio::time::sleep(Duration::from_millis(sleep.ms)).await;
    Ok(Value::Null)
}
