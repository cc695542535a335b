//! Overdue: a run whose message no queue can hold any more. SQS deletes what nobody received for days, without a dead letter;
//! whoever reads such a run ends it, or it and its key would be held for ever (I8).

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::complete::move_of;
use crate::queue::message::{CompletionEvent, Outcome};
use crate::run::Run;
use crate::run::status::RunStatus;
use crate::store::Moved;
use crate::telemetry::metrics::{Metric, record};

/// How long a message lives at most, in its queue and as a dead letter (14 days, an SQS limit), and a day for the clocks.
const OUTLIVES_MESSAGES: Duration = Duration::from_secs(15 * 24 * 60 * 60);

/// `run`, ended if it is overdue, as it then stands.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn end_if_overdue(app: &App, run: Run) -> Result<Run, Error> {
    let now = app.clock.now();
    if !is_overdue(&run, now) {
        return Ok(run);
    }
    let event = CompletionEvent::unless_leased(&run, Outcome::Expired);
    // The event goes first, as with a cancel: it does what follows the move, which may need more permissions than we have.
    app.queues.send_completion(&event).await?;
    Ok(match app.store.move_run(&run.id, move_of(&event, false, now), now).await? {
        Moved::To(ended) => {
            tracing::warn!(run_id = %ended.id, task = %ended.spec.task, "expired: no worker took it up while its message lived");
            record(Metric::RunEnded(ended.status), now);
            ended
        }
        Moved::Refused(other) => other,
        Moved::Gone => run,
    })
}

/// Whether no message can be left that would move `run` on. A run that waits is moved on by others.
fn is_overdue(run: &Run, now: Timestamp) -> bool {
    let moved_by_its_message = matches!(run.status, RunStatus::Delayed | RunStatus::Queued | RunStatus::Executing);
    let due_at = [run.spec.options.delay_until, run.retry_at, run.lease_until].into_iter().flatten();
    let last = due_at.fold(run.updated_at, Ord::max);
    moved_by_its_message && now.since(last) > OUTLIVES_MESSAGES
}
