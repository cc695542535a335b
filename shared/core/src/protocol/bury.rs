//! Bury: what is left of a run message that was delivered too often, or that cannot be read.

use oncekey_wire::RunId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::wait::wake;
use crate::queue::batch::Disposition;
use crate::queue::message::{CompletionEvent, Outcome, RunMessage};
use crate::run::retry::RetryPolicy;
use crate::run::status::RunStatus;
use crate::run::{Run, RunError};

/// Carries out a run message that was delivered too often: its attempt counts as crashed once its lease is over, never
/// before (I8).
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; the message is to be delivered again.
pub async fn end_dead_run(app: &App, message: &RunMessage) -> Result<DeadRun, Error> {
    if let Some(waiter) = message.waiter() {
        wake(app, &waiter).await?;
        return Ok(DeadRun::Settled);
    }
    if let Some(first) = &message.first {
        // The trigger may be about to put it, or may have died: from here on it exists either way.
        let absent = Run::new(message.run_id.clone(), first.spec.clone(), first.payload.clone());
        app.store.create_run(&absent).await?;
    }
    let Some(run) = app.store.run(&message.run_id).await? else {
        return Ok(DeadRun::Settled);
    };
    let waits = matches!(run.status, RunStatus::Delayed | RunStatus::Queued | RunStatus::Executing);
    if !waits || run.turn != message.turn {
        return Ok(DeadRun::Settled);
    }
    if let Some(until) = run.lease_until.filter(|until| *until > app.clock.now()) {
        return Ok(DeadRun::Leased { until });
    }
    if let Some(due_at) = message.due_at.max(run.retry_at).filter(|due_at| *due_at > app.clock.now()) {
        app.queues.send_run(&message.clone().due_at(due_at)).await?;
        return Ok(DeadRun::Settled);
    }
    let granted = run.max_attempts.or(run.spec.options.max_attempts);
    let policy = RetryPolicy::default();
    let pause = policy.pause_after(run.turn.attempt, granted.unwrap_or(policy.max_attempts));
    let error =
        RunError::new("Crashed", "the run's message was delivered too often without the attempt coming to an end");
    let retry_after_ms = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    // An event, and not the move itself: were we to die after the move, this message would not be of the run's present
    // attempt any more, and nobody would send the next one.
    app.queues.send_completion(&CompletionEvent::new(&run, Outcome::Crashed { error, retry_after_ms })).await?;
    Ok(DeadRun::Settled)
}

/// Ends a run whose message cannot be read, so that it does not hang for ever (I8).
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn end_unreadable_run(app: &App, run: &RunId, why: &str) -> Result<DeadRun, Error> {
    let Some(run) = app.store.run(run).await? else {
        return Ok(DeadRun::Settled);
    };
    if let Some(until) = run.lease_until.filter(|until| *until > app.clock.now()) {
        return Ok(DeadRun::Leased { until });
    }
    let error = RunError::new("SystemFailure", why);
    app.queues.send_completion(&CompletionEvent::new(&run, Outcome::SystemFailure { error })).await?;
    Ok(DeadRun::Settled)
}

/// What became of a dead-lettered run message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadRun {
    /// It is done with.
    Settled,
    /// A worker may still be at it.
    Leased {
        /// Until then.
        until: Timestamp,
    },
}

impl DeadRun {
    /// What this makes of the message.
    pub fn disposition(self) -> Disposition {
        match self {
            Self::Settled => Disposition::Done,
            Self::Leased { .. } => Disposition::Leave,
        }
    }
}
