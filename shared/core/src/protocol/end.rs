//! End: the end of a run by whoever only passes by: who looks at one that is overdue, or makes another in its place.

use crate::app::App;
use crate::error::Error;
use crate::queue::message::CompletionEvent;
use crate::run::Run;
use crate::store::{Move, Moved};
use crate::telemetry::metrics::{Metric, record};

/// Ends `run` as `event` says, as whoever only looks at it or makes another: the run as it then stands. The event goes first: it does
/// what follows the move, which may need more permissions than we have.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn in_passing(app: &App, run: Run, event: &CompletionEvent) -> Result<Run, Error> {
    app.queues.send_completion(event).await?;
    let now = app.clock.now();
    Ok(match app.store.move_run(&run.id, Move::of_end(event, false, now), now).await? {
        Moved::To(ended) => {
            tracing::info!(run_id = %ended.id, task = %ended.spec.task, environment = %ended.spec.environment,
                status = %ended.status, "ended in passing");
            record(Metric::RunEnded(ended.status), now);
            ended
        }
        Moved::Refused(other) => other,
        Moved::Gone => run,
    })
}
