//! Reset: a person or program frees a key. The run that held it goes on untouched (R40).

use crate::app::App;
use crate::error::Error;
use crate::ids::{EnvironmentId, TaskId};
use crate::key::KeyHash;

/// Frees the key of one task in one environment.
///
/// # Errors
/// [`Error::NotFound`] when nobody holds it or its window is over (R42), [`Error::Aws`].
pub async fn reset(app: &App, environment: &EnvironmentId, task: &TaskId, hash: &KeyHash) -> Result<(), Error> {
    if app.store.reset_key(environment, task, hash, app.clock.now()).await? {
        tracing::info!(key_hash = %hash, %task, %environment, "key reset");
        return Ok(());
    }
    Err(Error::NotFound(format!(
        "no live idempotency key {hash} for task {task}: it was never used, has been reset, its run failed, or its window is over"
    )))
}
