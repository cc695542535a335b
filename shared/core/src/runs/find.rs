//! One run, for those of its environment alone.

use oncekey_wire::{EnvironmentId, RunId};

use crate::app::App;
use crate::error::Error;
use crate::protocol::debounce::stands_for;
use crate::protocol::overdue::end_if_overdue;
use crate::run::Run;

/// The run with this id, or that which stands for it as it was pushed, if it is of this environment; ended, if it was overdue.
///
/// # Errors
/// [`Error::NotFound`] otherwise (I6), [`Error::Aws`].
pub async fn find(app: &App, environment: &EnvironmentId, id: &RunId) -> Result<Run, Error> {
    let run = app.store.run(id).await?.filter(|run| run.spec.environment == *environment);
    let run = stands_for(app, run.ok_or_else(|| missing(environment, id))?).await?;
    end_if_overdue(app, run).await
}

/// This environment has no such run.
pub(crate) fn missing(environment: &EnvironmentId, id: &RunId) -> Error {
    Error::NotFound(format!("there is no run {id} in {environment}"))
}
