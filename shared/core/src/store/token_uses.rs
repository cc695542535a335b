//! What public tokens were used for that may be used once: beside the keys, until they expire.

use std::time::Duration;

use oncekey_wire::EnvironmentId;

use super::Store;
use super::conditional::written;
use super::expression::{number, text};
use crate::error::Error;
use crate::public_token::TokenUse;

/// How long a use is known beyond its token's life: clocks differ.
const BEYOND: Duration = Duration::from_secs(24 * 60 * 60);

impl Store {
    /// Uses a token for what has this name: a run, or a batch. For the same once more it may be, since a request is sent again
    /// whose answer was lost. One that may be used often is not remembered.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] when it was used for something else, [`Error::Aws`].
    pub async fn use_token(&self, environment: &EnvironmentId, token: &TokenUse, name: &str) -> Result<(), Error> {
        let Some(until) = token.once_until else { return Ok(()) };
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.keys)
            // No key stands there: between an environment and a hash there is always a task or a group.
            .item("pk", text(format!("{environment}##token:{}", token.digest)))
            .item("used_for", text(name))
            .item("expires_at", number(until.plus(BEYOND).seconds_rounded_up()))
            .condition_expression("attribute_not_exists(pk) OR used_for = :name")
            .expression_attribute_values(":name", text(name))
            .send()
            .await;
        if written("dynamodb:PutItem", put)?.is_done() {
            return Ok(());
        }
        Err(Error::Unprocessable(
            "this public token may be used once, and was: make another for each trigger".to_owned(),
        ))
    }
}
