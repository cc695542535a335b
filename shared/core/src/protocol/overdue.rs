//! Overdue: a run whose message no queue can hold any more. SQS deletes what nobody received for days, without a dead letter;
//! whoever reads such a run ends it, or it and its key would be held for ever (I8).

use std::time::Duration;

use oncekey_wire::RunId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::end;
use crate::queue::message::{CompletionEvent, Outcome, RunMessage};
use crate::run::Run;
use crate::run::status::RunStatus;

/// How long a message lives at most, in its queue and as a dead letter (14 days, an SQS limit), and a day for the clocks.
const OUTLIVES_MESSAGES: Duration = Duration::from_secs(15 * 24 * 60 * 60);

/// How late a wake-up is of which nobody has heard: its message is lost, or not far behind, and then it is asked for twice.
const NOT_HEARD_OF: Duration = Duration::from_secs(60 * 60);

/// Those of the runs with these ids that are there, as they stand once those that are overdue have been ended.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn runs(app: &App, ids: &[&RunId]) -> Result<Vec<Run>, Error> {
    let runs = app.store.runs(ids).await?;
    let mut seen = Vec::with_capacity(runs.len());
    for run in runs {
        seen.push(end_if_overdue(app, run).await?);
    }
    Ok(seen)
}

/// `run`, ended if it is overdue, as it then stands. One that waits for a time that is over has its wake-up sent again.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn end_if_overdue(app: &App, run: Run) -> Result<Run, Error> {
    let now = app.clock.now();
    wake_if_late(app, &run, now).await?;
    if !is_overdue(&run, now) {
        return Ok(run);
    }
    let event = CompletionEvent::unless_leased(&run, Outcome::Expired);
    tracing::warn!(run_id = %run.id, task = %run.spec.task, "overdue: no worker took it up while its message lived");
    end::in_passing(app, run, &event).await
}

/// Sends the wake-up of a run that waits for a time which is long over: its message may be gone like any other. Whoever looks
/// next does so again in an hour.
async fn wake_if_late(app: &App, run: &Run, now: Timestamp) -> Result<(), Error> {
    let Some(until) = run.waits_until.filter(|_| run.status == RunStatus::Waiting) else { return Ok(()) };
    if now.since(run.wake_sent_at.map_or(until, |sent_at| sent_at.max(until))) <= NOT_HEARD_OF {
        return Ok(());
    }
    // A message, and not the move itself: were we to die after the move, nobody would send the message of it. Any of its
    // waits wakes a run, which then looks which of them are over.
    if let Some(waiter) = run.waits().next() {
        let wake = RunMessage::wake(&waiter, &run.spec.queue, None);
        // A favour, which keeps nobody who only looks from what they look for: they may not know that queue.
        if let Err(error) = app.queues.send_run(&wake).await {
            tracing::warn!(run_id = %run.id, %error, "its wake-up is late, and cannot be sent from here");
            return Ok(());
        }
    }
    app.store.note_wake_sent(&run.id, until, now).await
}

/// Whether no message can be left that would move `run` on. A run that waits, or is parked, is moved on by others.
fn is_overdue(run: &Run, now: Timestamp) -> bool {
    let moved_by_its_message = matches!(run.status, RunStatus::Delayed | RunStatus::Queued | RunStatus::Executing);
    // A start that was moved is not the one that was asked for.
    let due_at = [run.retry_at.or(run.spec.options.delay_until), run.lease_until].into_iter().flatten();
    let last = due_at.fold(run.updated_at, Ord::max);
    moved_by_its_message && !run.parked && now.since(last) > OUTLIVES_MESSAGES
}
