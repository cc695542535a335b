//! What the stack's own worker has: told when it starts, and when its tasks change.

use oncekey_core::{App, EnvironmentId, Error, RequestId, WorkerName};
use oncekey_worker::Worker;

use super::ENVIRONMENTS;

/// What the worker of a local stack is called.
const NAME: &str = "dev";

/// Tells the first environment of a stack what its worker has.
#[derive(Clone, Debug)]
pub(crate) struct Deployments {
    pub(super) app: App,
    pub(super) worker: Worker,
}

impl Deployments {
    /// Tells it once more. What cannot be declared is named, and the rest goes on as it is.
    pub(crate) async fn next(&self) {
        if let Err(error) = self.declare().await {
            tracing::error!("what the tasks declare is not taken: {error}");
        }
    }

    async fn declare(&self) -> Result<(), Error> {
        let environment = EnvironmentId::parse(ENVIRONMENTS[0].0)?;
        self.worker.declare(&self.app, &environment, &WorkerName::parse(NAME)?, &RequestId::fresh()).await
    }
}
