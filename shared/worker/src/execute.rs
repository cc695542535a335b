//! One attempt: the task's code under its limits, and what came of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use oncekey_core::payload::Payload;
use oncekey_core::queue::message::Outcome;
use oncekey_core::run::RunError;
use oncekey_core::run::beside::Kept;
use oncekey_core::run::retry::RetryPolicy;
use oncekey_core::{App, Error, Run, RunId, Timestamp};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::error::{Kind, Retry, TaskError};
use crate::invocation::Invocation;
use crate::output::succeeded;
use crate::patience::patiently;
use crate::task::Task;

/// Runs the task on what is stored, until it ends, its limit is over, or `stop_at` has come: what came of it, and the run's
/// children. `None` if there is nothing to report: the run suspended itself, or is not this invocation's any more.
pub(crate) async fn execute(
    app: &App,
    task: &Task,
    run: &Run,
    stop_at: Timestamp,
) -> Result<Option<(Outcome, Vec<RunId>)>, Error> {
    let (input, expiries) = match input(app, run, stop_at).await? {
        Input::Read(payload, expiries) => (payload, expiries),
        Input::Unreadable(error) => return Ok(Some((failed(task, run, error), Vec::new()))),
    };
    let (halt, mut halted) = mpsc::unbounded_channel();
    let Some(invocation) = Invocation::of(app, run, expiries, stop_at, halt).await? else {
        let why = "what the run had journalled has expired: it waited longer than that is kept";
        return Ok(Some((Outcome::SystemFailure { error: RunError::new("SystemFailure", why) }, Vec::new())));
    };
    let invocation = Arc::new(invocation);
    let context = Context { inner: Arc::clone(&invocation) };
    // A panic may also happen before the task's first await.
    let body = AssertUnwindSafe(async { task.run(context, input).await }).catch_unwind();
    let limit = task.limit_of(&run.spec);
    let outcome = tokio::select! {
        // What ended in the last moment has ended.
        biased;
        ended = body => match ended {
            Ok(Ok(output)) => succeeded(app, run, output, stop_at).await,
            Ok(Err(error)) => failed(task, run, error),
            Err(panic) => failed(task, run, panicked(panic.as_ref())),
        },
        () = after(limit.map(|limit| limit.saturating_sub(run.spent()) + task.grace)) => failed(task, run, timed_out(limit)),
        () = app.clock.sleep_until(stop_at) => crashed(task, run, "the worker's own time ran out before the task ended"),
        Some(()) = halted.recv() => return Ok(None),
    };
    Ok(Some((outcome, invocation.children())))
}

/// An attempt that took longer than it may.
pub(crate) fn timed_out(limit: Option<Duration>) -> TaskError {
    let seconds = limit.unwrap_or_default().as_secs_f64();
    let message = format!("the attempt took longer than its limit of {seconds} s");
    TaskError { name: "TimedOut".into(), kind: Kind::TimedOut, ..TaskError::new(message) }
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// When each of what stands beside the run expires, by its item.
type Expiries = Vec<(String, Timestamp)>;

/// What a task is given.
enum Input {
    Read(Payload, Expiries),
    /// No attempt can mend what cannot be read.
    Unreadable(TaskError),
}

async fn input(app: &App, run: &Run, stop_at: Timestamp) -> Result<Input, Error> {
    let unreadable =
        |why: String| Ok(Input::Unreadable(TaskError::abort(format!("the payload cannot be read: {why}"))));
    let mut expiries = Expiries::new();
    let text = match &run.payload {
        None => None,
        Some(Kept::Inline(text)) => Some(text.clone()),
        Some(Kept::Beside { beside }) => match patiently(app, stop_at, || app.store.beside(&run.id, beside)).await? {
            Some(found) => {
                expiries.push((beside.as_str().to_owned(), found.expires_at));
                Some(found.text)
            }
            None => return unreadable("it has expired".to_owned()),
        },
    };
    if let Some(name) = &run.spec.metadata_beside
        && let Some(found) = patiently(app, stop_at, || app.store.beside(&run.id, name)).await?
    {
        expiries.push((name.as_str().to_owned(), found.expires_at));
    }
    let payload = Payload { text, kind: run.spec.payload_type };
    let fetch = || app.blobs.fetch(&run.spec.environment, payload.clone());
    let payload = match patiently(app, stop_at, fetch).await {
        Ok(Some(payload)) => payload,
        Ok(None) => return unreadable("it is not in the store".to_owned()),
        Err(error @ (Error::Invalid { .. } | Error::TooLarge(_))) => return unreadable(error.to_string()),
        Err(error) => return Err(error),
    };
    Ok(Input::Read(payload, expiries))
}

fn failed(task: &Task, run: &Run, failure: TaskError) -> Outcome {
    let mut error = RunError::new(&failure.name, &failure.message);
    error.stack_trace = failure.stack;
    let own = |policy: &RetryPolicy| policy.pause_after(run.turn.attempt, task.attempts_of(&run.spec));
    let pause = match failure.retry {
        Retry::ByPolicy => own(&task.retry),
        Retry::Never => None,
        Retry::By(policy) if run.turn.attempt >= policy.max_attempts => None,
        Retry::By(policy) => own(&policy),
        // Whoever says after which pause has not always counted: the SDK's `catchError` has not.
        Retry::After(pause) => own(&task.retry).map(|_| pause),
    };
    let retry_after_ms = pause.map(millis);
    match failure.kind {
        Kind::Failed => Outcome::Failed { error, retry_after_ms },
        Kind::Crashed => Outcome::Crashed { error, retry_after_ms },
        Kind::TimedOut => Outcome::TimedOut { error },
    }
}

/// The outcome of an attempt whose worker died, or was about to.
pub(crate) fn crashed(task: &Task, run: &Run, why: &str) -> Outcome {
    Outcome::Crashed { error: RunError::new("Crashed", why), retry_after_ms: pause(task, run) }
}

fn pause(task: &Task, run: &Run) -> Option<u64> {
    task.retry.pause_after(run.turn.attempt, task.attempts_of(&run.spec)).map(millis)
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let mut error = TaskError::new(text.unwrap_or("the task panicked"));
    error.name = "Panic".into();
    error
}
