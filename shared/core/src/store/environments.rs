//! The environments table: which environment an API key opens.

use serde::Deserialize;

use super::Store;
use super::expression::text;
use crate::error::Error;
use crate::ids::EnvironmentId;

/// What an API key's hash stands for.
#[derive(Clone, Debug, Deserialize)]
pub struct EnvironmentRecord {
    /// The environment it opens.
    pub environment: EnvironmentId,
}

impl Store {
    /// Looks an API key up by the sha256 of it, in hex.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn environment_of(&self, key_hash: &str) -> Result<Option<EnvironmentRecord>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.environments)
            .key("pk", text(key_hash))
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        let read =
            |item| serde_dynamo::from_item(item).map_err(|error| Error::unreadable("an environment item", error));
        answer.item.map(read).transpose()
    }

    /// Lets the API key with this sha256 open `environment`.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_environment(&self, key_hash: &str, environment: &EnvironmentId) -> Result<(), Error> {
        self.client
            .put_item()
            .table_name(&self.tables.environments)
            .item("pk", text(key_hash))
            .item("environment", text(environment.as_str()))
            .send()
            .await
            .map_err(Error::aws("dynamodb:PutItem"))?;
        Ok(())
    }
}
