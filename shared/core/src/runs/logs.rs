//! What a run's task has written.

use oncekey_wire::{EnvironmentId, RunId};

pub use oncekey_wire::{LogLine, RunLogs};

use crate::app::App;
use crate::error::Error;
use crate::runs::find::find;

/// The lines of a run, after the first so many.
///
/// # Errors
/// [`Error::NotFound`] if this environment has no such run, or if lines are not kept here; [`Error::Aws`].
pub async fn logs(app: &App, environment: &EnvironmentId, id: &RunId, after: u64) -> Result<RunLogs, Error> {
    let run = find(app, environment, id).await?;
    let lines = app.lines.as_ref().ok_or_else(|| Error::NotFound(elsewhere(&run.id)))?;
    Ok(lines.of(&run.id, after))
}

/// Where the lines are that are not kept here.
fn elsewhere(id: &RunId) -> String {
    format!(
        "the lines of run {id} are in its worker's log group: in CloudWatch Logs Insights ask for \
         `fields @timestamp, @message | filter @message like \"{id}\" | sort @timestamp`"
    )
}
