//! Dead letters: what is left of a run message that was delivered too often, or that cannot be read.

use oncekey_wire::RunId;

use crate::app::App;
use crate::error::Error;
use crate::protocol::admit::let_go;
use crate::protocol::hop::{is_replaced, send_on};
use crate::protocol::keep::keep_for_retry;
use crate::protocol::wait::wake;
use crate::queue::batch::Disposition;
use crate::queue::message::{CompletionEvent, Outcome, RunMessage};
use crate::run::RunError;
use crate::run::retry::RetryPolicy;
use crate::run::status::RunStatus;
use crate::store::Moved;

/// Carries out a run message that was delivered too often: its attempt counts as crashed unless a worker is at it, now or when
/// that is carried out (I8). What is to be done with the message.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; the message is to be delivered again.
pub async fn end_dead_run(app: &App, message: &RunMessage) -> Result<Disposition, Error> {
    if let Some(waiter) = message.waiter() {
        match message.due_at.filter(|due_at| *due_at > app.clock.now()) {
            Some(due_at) => send_on(app, message, due_at).await?,
            None => wake(app, &waiter).await?,
        }
        return Ok(Disposition::Done);
    }
    if let Some(absent) = message.absent(app.clock.now()) {
        // The trigger may be about to put it, or may have died: from here on it exists either way.
        app.store.create_run(&absent).await?;
    }
    let Some(run) = app.store.run(&message.run_id).await? else {
        return Ok(Disposition::Done);
    };
    let waits = matches!(run.status, RunStatus::Delayed | RunStatus::Queued | RunStatus::Executing);
    if !waits || run.turn != message.turn {
        let_go(app, None, message, &Moved::Refused(run)).await?;
        return Ok(Disposition::Done);
    }
    if let Some(until) = run.lease_until.filter(|until| *until > app.clock.now()) {
        return Ok(Disposition::LeaveUntil(until));
    }
    if let Some(due_at) = message.due_at.max(run.retry_at).filter(|due_at| *due_at > app.clock.now()) {
        if !is_replaced(&run, message) {
            app.queues.send_run(&message.clone().due_at(due_at)).await?;
        }
        return Ok(Disposition::Done);
    }
    let granted = run.max_attempts.or(run.spec.options.max_attempts);
    let policy = RetryPolicy::default();
    let pause = policy.pause_after(run.turn.attempt, granted.unwrap_or(policy.max_attempts));
    let error =
        RunError::new("Crashed", "the run's message was delivered too often without the attempt coming to an end");
    if let Some(pause) = pause {
        keep_for_retry(app, &run, pause).await?;
    }
    let retry_after_ms = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    // An event, and not the move itself: were we to die after the move, this message would not be of the run's present
    // attempt any more, and nobody would send the next one. Events may be late: another copy of the message may have been
    // taken up by then.
    app.queues
        .send_completion(&CompletionEvent::unless_leased(&run, Outcome::Crashed { error, retry_after_ms }))
        .await?;
    Ok(Disposition::Done)
}

/// Sends a run message again that its schedule could not send: nobody has received it, so its attempt has not crashed. What is
/// to be done with the message.
///
/// # Errors
/// [`Error::Aws`].
pub async fn send_unsent_run(app: &App, message: &RunMessage) -> Result<Disposition, Error> {
    tracing::warn!(run_id = %message.run_id, "its schedule could not send its message: it is sent now");
    app.queues.send_run(message).await?;
    Ok(Disposition::Done)
}

/// Ends a run whose message cannot be read, so that it does not hang for ever (I8). What is to be done with the message.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn end_unreadable_run(app: &App, run: &RunId, why: &str) -> Result<Disposition, Error> {
    let Some(run) = app.store.run(run).await? else {
        return Ok(Disposition::Done);
    };
    if let Some(until) = run.lease_until.filter(|until| *until > app.clock.now()) {
        return Ok(Disposition::LeaveUntil(until));
    }
    let error = RunError::new("SystemFailure", why);
    app.queues.send_completion(&CompletionEvent::unless_leased(&run, Outcome::SystemFailure { error })).await?;
    Ok(Disposition::Done)
}
