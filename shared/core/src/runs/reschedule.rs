//! Reschedule: another start for a run that is still delayed.

use oncekey_wire::{EnvironmentId, RunId};
use serde_json::Value;

use crate::app::App;
use crate::error::Error;
use crate::protocol::keep::keep_for_start;
use crate::queue::message::RunMessage;
use crate::request::values::delay_until;
use crate::run::{KEPT, Run};
use crate::runs::find::{find, missing};
use crate::store::{Move, Moved};

/// Gives a delayed run another start: a span from now, or a date. One that is over starts it at once. The run as it now is.
///
/// The move comes first: a message that comes before the run is due is sent on, so that the old message carries a later
/// start. For an earlier one a message of its own is sent after the move; were we to die in between, nobody has been
/// told of the new start, and the old message still starts the run. Once it is sent that is noted, and the old message ends
/// where it is met; if it is a schedule's, that is deleted.
///
/// # Errors
/// [`Error::Invalid`] for what is not a delay, [`Error::NotFound`], [`Error::Unprocessable`] when the run is not delayed any
/// more, [`Error::Aws`].
pub async fn reschedule(app: &App, environment: &EnvironmentId, id: &RunId, delay: &Value) -> Result<Run, Error> {
    let now = app.clock.now();
    let due_at = delay_until("delay", delay, now)?.unwrap_or(now);
    let run = find(app, environment, id).await?;
    let before = RunMessage::of(&run);
    keep_for_start(app, &run, due_at).await?;
    // Messages that were sent for an earlier choice may still come.
    let kept_until = run.kept_until().max(due_at.plus(KEPT));
    let run = match app.store.move_run(id, Move::Reschedule { turn: run.turn, due_at, kept_until }, now).await? {
        Moved::To(run) => run,
        Moved::Refused(run) => {
            let text = format!("run {id} is {}: only a DELAYED run can be rescheduled", run.status);
            return Err(Error::Unprocessable(text));
        }
        Moved::Gone => return Err(missing(environment, id)),
    };
    app.queues.send_run(&RunMessage::of(&run)).await?;
    app.store.note_carried(id, due_at, run.reschedules).await?;
    app.queues.unschedule(&before).await;
    Ok(run)
}
