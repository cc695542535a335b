//! Complete: what the end of an attempt makes of its run. Every step tolerates being done twice, so a redelivered event
//! finishes what a crash left half done.

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::wait::{Told, wake_waiters};
use crate::queue::batch::Disposition;
use crate::queue::message::{CompletionEvent, RunMessage};
use crate::run::status::{Event, RunStatus};
use crate::run::{KEPT_AT_MOST, Run};
use crate::store::{Move, Moved};
use crate::telemetry::metrics::{Metric, record};

/// Carries a completion event out: what is to be done with its message. One of who did not hold the attempt waits for the end
/// of a lease that it meets, and looks again.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; the event is to be delivered again.
pub async fn complete(app: &App, event: &CompletionEvent) -> Result<Disposition, Error> {
    let now = app.clock.now();
    match app.store.move_run(&event.run_id, move_of(event, now), now).await? {
        Moved::To(run) => {
            tracing::info!(run_id = %run.id, task = %run.spec.task, environment = %run.spec.environment,
                attempt = event.turn.attempt, status = %run.status, "attempt ended");
            if run.status.is_final() {
                record(Metric::RunEnded(run.status), now);
            }
            follow_up(app, event, &run).await?;
        }
        // A redelivered event whose move was made: what follows the move may not have been.
        Moved::Refused(run) if reached(&run, event) => follow_up(app, event, &run).await?,
        Moved::Refused(Run { status: RunStatus::Executing, turn, lease_until: Some(until), .. })
            if event.unless_leased && turn == event.turn =>
        {
            return Ok(Disposition::LeaveUntil(until));
        }
        Moved::Refused(_) | Moved::Gone => {
            tracing::debug!(run_id = %event.run_id, attempt = event.turn.attempt, "stale completion event dropped");
        }
    }
    Ok(Disposition::Done)
}

/// The move that `event` asks for at `now`.
pub(super) fn move_of(event: &CompletionEvent, now: Timestamp) -> Move<'_> {
    let kept_until = event.kept_until.unwrap_or_else(|| now.plus(KEPT_AT_MOST));
    Move::End { turn: event.turn, outcome: &event.outcome, kept_until, unless_leased: event.unless_leased }
}

/// Whether the run stands where `event` leads, because it was delivered before.
fn reached(run: &Run, event: &CompletionEvent) -> bool {
    let what = event.outcome.event();
    let turn = if what == Event::Retry { event.turn.next_attempt() } else { event.turn };
    run.status == what.leads_to() && (what == Event::Cancel || run.turn == turn)
}

/// What must happen after a move: a retry is sent; a failed run's key is cleared, and whoever waits for a final run woken.
async fn follow_up(app: &App, event: &CompletionEvent, run: &Run) -> Result<(), Error> {
    if run.status == RunStatus::Queued {
        return app.queues.send_run(&RunMessage::of(run)).await;
    }
    if run.status.frees_key() && app.store.clear_key(run).await? {
        record(Metric::KeyCleared, app.clock.now());
    }
    match wake_waiters(app, run).await? {
        Told::All => Ok(()),
        // There are more than one invocation should tell. Whoever was told is not there any more.
        Told::Some => app.queues.send_completion(event).await,
    }
}
