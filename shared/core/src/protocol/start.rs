//! Start: what a worker does with a run message before the task runs.

use std::time::Duration;

use crate::app::App;
use crate::clock::{CLOCKS_APART, Timestamp};
use crate::error::Error;
use crate::flow::{Lane, Slot};
use crate::protocol::admit::{Admitted, admit, let_go, line, park};
use crate::protocol::hop::{is_replaced, send_on};
use crate::protocol::pace::{Paced, follow_on, pace};
use crate::protocol::wait::wake;
use crate::queue::batch::Disposition;
use crate::queue::message::RunMessage;
use crate::run::status::RunStatus;
use crate::run::{Run, RunSpec};
use crate::store::{Move, Moved};

/// A wait shorter than this is spent in place, because SQS delays by whole seconds.
const IN_PLACE: Duration = Duration::from_secs(1);

/// What a run message is good for.
#[derive(Debug)]
pub enum Start {
    /// The attempt is ours until the lease ends: run the task, on what is stored.
    Execute(Box<Run>),
    /// The run was to start earlier than this: report that it expired.
    Expired(Box<Run>),
    /// A worker died over this attempt: report that it crashed.
    Crashed(Box<Run>),
    /// Nothing is to be done, but with the message: it is over, or another worker holds the attempt until its lease ends.
    Nothing(Disposition),
}

/// Takes up the attempt that `message` is for, in an invocation that ends at `deadline`: one conditional write, which makes the
/// run from the message if it is absent. `max_attempts` tells how many attempts the task grants. The lease is so much longer
/// than the invocation that it is not over by any clock before the invocation is by its own.
///
/// The lease has a name that is made here: when the answer to the write is lost, the SDK sends it again, and who is then
/// refused by the lease of that name holds it.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn start(
    app: &App,
    message: &RunMessage,
    deadline: Timestamp,
    max_attempts: impl Fn(&RunSpec) -> u32,
) -> Result<Start, Error> {
    if let Some(due_at) = message.due_at {
        if due_at.since(app.clock.now()) >= IN_PLACE {
            send_on(app, message, due_at).await?;
            return Ok(Start::Nothing(Disposition::Done));
        }
        app.clock.sleep_until(due_at).await;
    }
    if let Some(waiter) = message.waiter() {
        wake(app, &waiter).await?;
        return Ok(Start::Nothing(Disposition::Done));
    }
    let now = app.clock.now();
    let absent = message.absent(now);
    let lease_until = deadline.plus(CLOCKS_APART);
    let line = line(app, message).await?;
    // On the heap: what these hold is in nobody's way who has no limit.
    let paced = Box::pin(pace(app, message, line.as_ref())).await?;
    let is_paused = matches!(paced, Paced::Paused);
    let slot = match paced {
        Paced::Free | Paced::Paused => None,
        Paced::In(slot) => Some(slot),
        Paced::Later(_, slot, due_at) if due_at.since(now) < IN_PLACE => {
            app.clock.sleep_until(due_at).await;
            Some(slot)
        }
        Paced::Later(lane, slot, due_at) => {
            let wait = Move::Pace { turn: message.turn, slot, due_at, absent: absent.as_ref() };
            return Box::pin(pace_run(app, message, &lane, wait, now)).await;
        }
    };
    let now = app.clock.now();
    let lane = match Box::pin(admit(app, message, line.as_ref(), lease_until)).await? {
        // Its queue goes on by now: it has a slot to take first.
        Admitted::Free | Admitted::In(_) if is_paused => return Ok(Start::Nothing(Disposition::Leave)),
        Admitted::Free => None,
        Admitted::In(lane) => Some(lane),
        Admitted::Full(lane) => return park_run(app, message, &lane, slot, absent.as_ref(), now).await,
    };
    if let (Some(lane), Some(name)) = (&lane, &message.given) {
        app.store.delete_parked(lane, name, message.turn).await?;
    }
    // Not of the invocation: of two copies of a message in one batch, one is to be refused.
    let lease_name = format!("{:016x}", fastrand::u64(..));
    let take_up = Move::Start {
        turn: message.turn,
        lease_until,
        lease_name: &lease_name,
        max_attempts: absent.as_ref().map(|run| max_attempts(&run.spec)),
        absent: absent.as_ref(),
        lane: lane.as_ref().map(|lane| &lane.queue),
        slot,
    };
    let moved = match app.store.move_run(&message.run_id, take_up, now).await? {
        Moved::Refused(run) if run.lease_name.as_ref() == Some(&lease_name) => Moved::To(run),
        moved => moved,
    };
    match moved {
        Moved::To(run) if started_too_late(&run, now) => Ok(Start::Expired(Box::new(run))),
        Moved::To(run) => Ok(Start::Execute(Box::new(run))),
        moved => not_moved(app, message, lane, moved, now).await,
    }
}

/// Has a run wait for a place.
async fn park_run(
    app: &App,
    message: &RunMessage,
    lane: &Lane,
    slot: Option<Slot>,
    absent: Option<&Run>,
    now: Timestamp,
) -> Result<Start, Error> {
    let wait = Move::Park { turn: message.turn, lane: &lane.queue, slot, absent };
    match app.store.move_run(&message.run_id, wait, now).await? {
        Moved::To(run) => {
            park(app, lane, message, &run).await?;
            Ok(Start::Nothing(Disposition::Done))
        }
        moved => not_moved(app, message, Some(lane.clone()), moved, now).await,
    }
}

/// Has a run wait for its slot.
async fn pace_run(
    app: &App,
    message: &RunMessage,
    lane: &Lane,
    wait: Move<'_>,
    now: Timestamp,
) -> Result<Start, Error> {
    let moved = app.store.move_run(&message.run_id, wait, now).await?;
    let Moved::To(run) = &moved else { return not_moved(app, message, Some(lane.clone()), moved, now).await };
    if message.given.is_some() {
        let_go(app, Some(lane.clone()), message, &moved).await?;
    } else {
        follow_on(app, message.turn, run).await?;
    }
    Ok(Start::Nothing(Disposition::Done))
}

/// What is to be done about a turn that can neither be started nor parked: mostly nothing, but for the place that it may have.
async fn not_moved(
    app: &App,
    message: &RunMessage,
    lane: Option<Lane>,
    moved: Moved,
    now: Timestamp,
) -> Result<Start, Error> {
    let start = match &moved {
        Moved::Gone => {
            tracing::error!(run_id = %message.run_id, "there is no such run: its record was deleted");
            Start::Nothing(Disposition::Done)
        }
        Moved::To(run) | Moved::Refused(run) => {
            match run.retry_at.filter(|due_at| message.is_for(run) && *due_at > now) {
                // Delayed or rescheduled: this message goes on to the start that is stored, if no other does.
                Some(due_at) => {
                    if !is_replaced(run, message) {
                        app.queues.send_run(&message.clone().due_at(due_at)).await?;
                    }
                    Start::Nothing(Disposition::Done)
                }
                None => refused(run, message, now),
            }
        }
    };
    if matches!(start, Start::Nothing(Disposition::Done)) {
        let_go(app, lane, message, &moved).await?;
    }
    Ok(start)
}

/// Whether a run that was taken up for the first time at this moment had expired by then.
fn started_too_late(run: &Run, started_at: Timestamp) -> bool {
    run.is_at_first_turn() && run.expires_unless_started_by().is_some_and(|end| started_at > end)
}

/// Why an attempt could not be taken up, and what that makes of its message.
fn refused(run: &Run, message: &RunMessage, now: Timestamp) -> Start {
    match run.status {
        RunStatus::Executing if run.turn == message.turn => match run.lease_until {
            Some(until) if until > now => Start::Nothing(Disposition::LeaveUntil(until)),
            // Who took it up so late died before it had said so.
            _ if run.started_at.is_some_and(|started_at| started_too_late(run, started_at)) => {
                Start::Expired(Box::new(run.clone()))
            }
            _ => Start::Crashed(Box::new(run.clone())),
        },
        // The message was sent before the move that it is for could be seen; that move is coming.
        _ if run.turn < message.turn && !run.status.is_final() => Start::Nothing(Disposition::Leave),
        _ => {
            tracing::debug!(run_id = %run.id, status = %run.status, attempt = message.turn.attempt, "message not due any more");
            Start::Nothing(Disposition::Done)
        }
    }
}
