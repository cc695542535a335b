//! Pace: an attempt takes a slot of its queue's rate before it starts.
//!
//! Slots are counted by one conditional write. An attempt whose slot is due starts; another moves on to its next turn, in one write
//! with the slot, and its message comes when that is due. So what is sent again finds the slot with the turn and takes none, a slot
//! that somebody took who died is lost and used by nobody, and no copy of an earlier message can start the attempt. A slot is good for
//! one attempt, and for some seconds: what was held up takes another, so that it does not start all at once.

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::flow::{Lane, Line, Slot};
use crate::queue::message::RunMessage;
use crate::run::Run;
use crate::run::status::RunStatus;
use crate::run::turn::Turn;

/// Whether an attempt may start, as to its queue's rate.
#[derive(Debug)]
pub(super) enum Paced {
    /// Nothing says how often.
    Free,
    /// Nothing of its queue starts: it takes a slot once that goes on.
    Paused,
    /// It has this slot.
    In(Slot),
    /// Its slot is yet to come.
    Later(Lane, Slot, Timestamp),
}

/// Takes a slot for the attempt of a message, if it needs one and has none.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`], [`Error::Contended`].
pub(super) async fn pace(app: &App, message: &RunMessage, line: Option<&Line>) -> Result<Paced, Error> {
    let Some(line) = line else { return Ok(Paced::Free) };
    let limits = app.limits.of(line.environment()).await?;
    let lane = limits.lane(line);
    let Some(rate) = limits.rate(&lane.queue) else { return Ok(Paced::Free) };
    if limits.bound(&lane.queue).paused {
        return Ok(Paced::Paused);
    }
    let now = app.clock.now();
    let attempt = message.turn.attempt;
    if let Some(slot) = message.slot.filter(|slot| slot.is_good(attempt, rate, now)) {
        return Ok(Paced::In(slot));
    }
    if let Some(run) = app.store.run(&message.run_id).await? {
        // A copy that comes late starts nothing, and takes no slot from others.
        if run.turn > message.turn || run.status.is_final() {
            return Ok(Paced::Free);
        }
        // Whoever gave it its place does not know.
        if let Some(slot) = run.slot.filter(|slot| slot.is_good(attempt, rate, now)) {
            return Ok(Paced::In(slot));
        }
    }
    let due = app.store.take_slot(&lane, rate, now).await?;
    let slot = Slot { attempt, due: Some(due) };
    Ok(if due <= now { Paced::In(slot) } else { Paced::Later(lane, slot, due) })
}

/// Does what whoever moved a run on from `turn` may have died before, to its next turn, on which it waits for a place or for its
/// slot. Whether somebody has.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn follow_on(app: &App, turn: Turn, run: &Run) -> Result<bool, Error> {
    if run.turn != turn.next_resume() {
        return Ok(false);
    }
    if run.parked {
        if let Some(lane) = Lane::of(run) {
            app.store.put_parked(&lane, run).await?;
        }
        return Ok(true);
    }
    let is_paced = run.status == RunStatus::Queued
        && run.slot.is_some_and(|slot| slot.attempt == run.turn.attempt && slot.due.is_some());
    if is_paced {
        app.queues.send_run(&RunMessage::of(run)).await?;
    }
    Ok(is_paced)
}
