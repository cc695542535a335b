//! Cancel: ends a run that is not final; its key stays (R33).

use oncekey_wire::{EnvironmentId, RunId};

use crate::app::App;
use crate::error::Error;
use crate::protocol::complete::complete;
use crate::queue::message::{CompletionEvent, Outcome, RunMessage};
use crate::run::Run;
use crate::run::status::RunStatus;
use crate::runs::find::find;

/// The messages that may be on their way to a time of this run's: its start, or the end of what it waits for.
fn under_way(run: &Run) -> Vec<RunMessage> {
    match run.status {
        RunStatus::Delayed => vec![RunMessage::of(run)],
        RunStatus::Waiting => {
            run.waits().map(|wait| RunMessage::wake(&wait, &run.spec.queue, run.waits_until)).collect()
        }
        _ => Vec::new(),
    }
}

/// Cancels a run. A run that is final already stays as it is, and that is not an error.
///
/// # Errors
/// [`Error::NotFound`] when this environment has no such run, [`Error::Aws`].
pub async fn cancel(app: &App, environment: &EnvironmentId, id: &RunId) -> Result<(), Error> {
    let run = find(app, environment, id).await?;
    if run.status.is_final() {
        return Ok(());
    }
    let event = CompletionEvent::new(&run, Outcome::Canceled { replaced_by: None });
    // The event goes first: were we to die after the move, nobody would do what follows it.
    app.queues.send_completion(&event).await?;
    complete(app, &event).await?;
    for message in under_way(&run) {
        app.queues.unschedule(&message).await;
    }
    Ok(())
}
