//! Replace: the run that holds a key makes way for another (R75 to R79).
//!
//! The holder is cancelled with the name of its successor, and then the key claimed as from any run that has given it up: on
//! condition that it still names that holder. Who dies between the two has cancelled a run and made none; the key is free.

use oncekey_wire::RunId;

use crate::app::App;
use crate::error::Error;
use crate::key::IdempotencyKey;
use crate::protocol::end;
use crate::queue::message::{CompletionEvent, Outcome};
use crate::request::TriggerRequest;
use crate::run::{ClaimedKey, Run, RunSpec};
use crate::store::KeyRecord;

/// Cancels `run`, which holds a key and has not ended, to make way for the run `successor`. What its worker does at this moment is
/// not undone. Whether it has made way, and had not ended meanwhile.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn make_way(app: &App, run: Run, successor: &RunId) -> Result<bool, Error> {
    tracing::info!(run_id = %run.id, %successor, "replaced");
    let event = CompletionEvent::new(&run, Outcome::Canceled { replaced_by: Some(successor.clone()) });
    Ok(end::in_passing(app, run, &event).await?.replaced_by.as_ref() == Some(successor))
}

/// Puts the run of `holder`, a claimer that is slow or dead, as a cancelled one before anybody has made it: it finds that when
/// it makes its run, and so does its message. One that is there by now is left as it is. Whether there was none.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn bar(
    app: &App,
    request: &TriggerRequest,
    key: &IdempotencyKey,
    holder: &KeyRecord,
    successor: &RunId,
) -> Result<bool, Error> {
    let (window_ends_at, release) = (holder.window_ends_at, holder.release);
    // Of the task that it was for nothing is known but the key.
    let spec = RunSpec {
        key: Some(ClaimedKey { key: key.clone(), window_ends_at, release }),
        queue: app.queues.for_run(&request.task, None),
        ..RunSpec::new(request.environment.clone(), request.task.clone(), holder.created_at)
    };
    let barred = Run::barred(holder.run_id.clone(), spec, successor.clone(), app.clock.now());
    let is_barred = app.store.create_run(&barred).await?.is_none();
    if is_barred {
        tracing::info!(run_id = %barred.id, task = %request.task, environment = %request.environment, %successor,
            "replaced before it was made");
    }
    Ok(is_barred)
}
