//! Tags that a run is given after its trigger.

use oncekey_wire::{EnvironmentId, RunId};
use serde_json::Value;

use crate::app::App;
use crate::error::Error;
use crate::request::values::{MAX_TAGS, tags};
use crate::run::Run;
use crate::runs::find::find;

/// How often it is tried while others add theirs.
const ROUNDS: u32 = 20;

/// Gives a run tags: one or a list. Those that it has already change nothing. The run as it was.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for what is not a tag, [`Error::Unprocessable`] for more than a run has,
/// [`Error::Aws`], [`Error::Contended`].
pub async fn add_tags(app: &App, environment: &EnvironmentId, id: &RunId, given: Value) -> Result<Run, Error> {
    let given = tags("tags", given)?;
    for _ in 0..ROUNDS {
        let run = find(app, environment, id).await?;
        let new: Vec<String> = given.iter().filter(|tag| !run.tags().any(|has| has == *tag)).cloned().collect();
        let count = run.tags().count() + new.len();
        if count > MAX_TAGS {
            return Err(Error::Unprocessable(format!("a run has at most {MAX_TAGS} tags, and this would be {count}")));
        }
        if new.is_empty() || app.store.add_tags(&run, new).await? {
            return Ok(run);
        }
    }
    Err(Error::Contended(id.to_string()))
}
