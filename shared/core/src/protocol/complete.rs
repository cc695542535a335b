//! Complete: what the end of an attempt makes of its run. Every step tolerates being done twice, so a redelivered event
//! finishes what a crash left half done.

use crate::app::App;
use crate::error::Error;
use crate::flow::{Holder, Lane, Line, Source};
use crate::protocol::hand_on::hand_on;
use crate::protocol::keep::{expiry, keep_for_record};
use crate::protocol::pace::follow_on;
use crate::protocol::wait::{Spread, wake_waiters};
use crate::queue::batch::Disposition;
use crate::queue::message::{CompletionEvent, Outcome, Output, RunMessage};
use crate::run::beside::Part;
use crate::run::status::{Event, RunStatus};
use crate::run::{Run, RunError};
use crate::store::{Move, Moved, parked_name};
use crate::telemetry::metrics::{Metric, record};

/// Carries a completion event out: what is to be done with its message. One of who did not hold the attempt waits for the end
/// of a lease that it meets, and looks again.
///
/// An end that DynamoDB will never take ends the run all the same, without what there is no room for.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; the event is to be delivered again.
pub async fn complete(app: &App, event: &CompletionEvent) -> Result<Disposition, Error> {
    let beside = with_output_beside(app, event).await?;
    let event = beside.as_ref().unwrap_or(event);
    match carry_out(app, event, false).await {
        Err(Error::Refused { call, why }) => {
            tracing::error!(run_id = %event.run_id, call, why, "the run ends without what there is no room for");
            carry_out(app, &bare(event, &why), true).await
        }
        done => done,
    }
}

async fn carry_out(app: &App, event: &CompletionEvent, makes_room: bool) -> Result<Disposition, Error> {
    let now = app.clock.now();
    match app.store.move_run(&event.run_id, Move::of_end(event, makes_room, now), now).await? {
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
        moved => {
            if let Moved::Refused(run) = &moved {
                // The message of the turn may be gone: this event was sent in its place.
                follow_on(app, event.turn, run).await?;
                free(app, event, run).await?;
            }
            tracing::debug!(run_id = %event.run_id, attempt = event.turn.attempt, "stale completion event dropped");
        }
    }
    Ok(Disposition::Done)
}

/// An event that carries more of an output than a run's item shall have, as it comes from a worker that could not put it
/// beside the run, with that put there now.
async fn with_output_beside(app: &App, event: &CompletionEvent) -> Result<Option<CompletionEvent>, Error> {
    let Outcome::Succeeded { output: Some(Output::Inline(text)), output_type, .. } = &event.outcome else {
        return Ok(None);
    };
    if text.len() <= Output::MAX_INLINE_BYTES {
        return Ok(None);
    }
    let until = expiry(app.clock.now()).max(event.kept_until.unwrap_or_default());
    let outcome = match app.store.put_beside(&event.run_id, Part::Output, text, until).await {
        Ok(name) => Outcome::Succeeded { output: Some(Output::Beside(name)), output_type: *output_type, lost: None },
        Err(Error::Refused { why, .. }) => Outcome::without_output(&why),
        Err(error) => return Err(error),
    };
    Ok(Some(CompletionEvent { outcome, ..event.clone() }))
}

/// An event that DynamoDB will never take, without what may have no room. The task has done what it did, and is not run
/// again.
fn bare(event: &CompletionEvent, why: &str) -> CompletionEvent {
    let outcome = match &event.outcome {
        Outcome::Succeeded { .. } => Outcome::without_output(why),
        other if other.event().leads_to().is_final() => other.clone(),
        _ => Outcome::SystemFailure { error: RunError::new("SystemFailure", why) },
    };
    CompletionEvent { outcome, ..event.clone() }
}

/// Whether the run stands where `event` leads, because it was delivered before.
fn reached(run: &Run, event: &CompletionEvent) -> bool {
    let what = event.outcome.event();
    let turn = if what == Event::Retry { event.turn.next_attempt() } else { event.turn };
    // Or where it was led as there was no room for a retry.
    let ended = what == Event::Retry && run.status == RunStatus::SystemFailure && run.turn == event.turn;
    ended || run.status == what.leads_to() && (what == Event::Cancel || run.turn == turn)
}

/// What must happen after a move: a place is given on; a retry is sent; a key is cleared that this end frees, and whoever waits for a final run woken.
async fn follow_up(app: &App, event: &CompletionEvent, run: &Run) -> Result<(), Error> {
    // Before the next attempt is sent: it would be parked behind its own place.
    free(app, event, run).await?;
    if run.status == RunStatus::Queued {
        return app.queues.send_run(&RunMessage::of(run)).await;
    }
    if run.frees_key() && app.store.clear_key(run).await? {
        record(Metric::KeyCleared, app.clock.now());
    }
    keep_for_record(app, run).await?;
    match wake_waiters(app, run).await? {
        Spread::Whole => Ok(()),
        // There are more than one invocation should tell. Whoever was told is not there any more.
        Spread::Part => app.queues.send_completion(event).await,
    }
}

/// Gives on the place of the turn that is over, and takes a run that does not start out of those that are parked.
async fn free(app: &App, event: &CompletionEvent, run: &Run) -> Result<(), Error> {
    let Some(lane) = lane_of(app, run).await? else { return Ok(()) };
    let is_cancel = matches!(event.outcome, Outcome::Canceled { .. });
    let turn = if is_cancel { run.turn } else { event.turn };
    if run.parks > 0 && (is_cancel || event.unless_leased || event.outcome == Outcome::Expired) {
        app.store.delete_parked(&lane, &parked_name(&lane, run), turn).await?;
    }
    hand_on(app, &lane, &Source::Turn(Holder { run: run.id.clone(), turn })).await.map(drop)
}

/// The lane in which a run may have a place. One that never started may have taken it, and not said so.
async fn lane_of(app: &App, run: &Run) -> Result<Option<Lane>, Error> {
    if run.lane.is_some() || run.started_at.is_some() {
        return Ok(Lane::of(run));
    }
    let limits = app.limits.of(&run.spec.environment).await?;
    let lane = limits.lane(&Line::of(run));
    Ok((!limits.bound(&lane.queue).is_free()).then_some(lane))
}
