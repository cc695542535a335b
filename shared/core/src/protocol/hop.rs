//! Hops: a start or a wake that is further away than SQS carries is sent on, a quarter of an hour at a time, for as long as its
//! run has a use for it.

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::message::RunMessage;
use crate::run::Run;
use crate::run::status::RunStatus;

/// Sends a message that is not due on towards `due_at`, unless its run has gone on without it.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn send_on(app: &App, message: &RunMessage, due_at: Timestamp) -> Result<(), Error> {
    let run = app.store.run(&message.run_id).await?;
    // One that carries its run may be ahead of the trigger that puts it.
    if run.map_or(message.first.is_some(), |run| has_use_for(&run, message)) {
        return app.queues.send_run(&message.clone().due_at(due_at)).await;
    }
    tracing::debug!(run_id = %message.run_id, "a hop without use ends here");
    Ok(())
}

/// Whether `message`, when it is due, may have something to do.
fn has_use_for(run: &Run, message: &RunMessage) -> bool {
    if run.status.is_final() {
        return false;
    }
    match message.waiter() {
        Some(waiter) => run.turn.attempt == waiter.attempt,
        // Another copy was taken up where the clock is ahead: should its worker die, somebody must find the lease over, and this
        // message may be all that is left to bring them there.
        None if run.turn == message.turn && run.status == RunStatus::Executing => true,
        // A move that it was sent ahead of may still be to come.
        None if run.turn == message.turn => message.is_for(run) && !is_replaced(run, message),
        None => run.turn < message.turn,
    }
}

/// Whether `run` was rescheduled, and another message than this carries it to its new start.
pub(super) fn is_replaced(run: &Run, message: &RunMessage) -> bool {
    run.status == RunStatus::Delayed
        && run.retry_at.is_some()
        && run.retry_at == run.carried_to
        && run.retry_at != message.due_at
}
