//! Keys that were triggered with: who holds one, and freeing it.

use oncekey_wire::{HeldKey, ResetAnswer};
use reqwest::Method;
use serde_json::json;

use crate::client::{Client, Content};
use crate::error::Error;
use crate::key::Key;

impl Client {
    /// Frees a key of a task; the run that held it goes on. A key that was triggered with outside a task is named with
    /// `.global()`, one from inside a task with its run (and attempt).
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// use oncekey_client::Key;
    ///
    /// client.reset("echo", Key::from("order-42").global()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::KeyNeeds`] when the key cannot be hashed as it was; [`Error::Refused`] with 404 when nobody holds it.
    pub async fn reset(&self, task: &str, key: impl Into<Key>) -> Result<(), Error> {
        let hash = key.into().hash_elsewhere()?;
        let body = Content::json(&json!({ "taskIdentifier": task }))?;
        let _: ResetAnswer =
            self.call(Method::POST, &["api", "v1", "idempotencyKeys", hash.as_str(), "reset"], &[], body).await?;
        Ok(())
    }

    /// Who holds a key of a task; `None` when it is free.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// use oncekey_client::Key;
    ///
    /// if let Some(held) = client.key("echo", Key::from("order-42").global()).await? {
    ///     println!("{} until {}", held.run_id, held.window_ends_at);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::KeyNeeds`] when the key cannot be hashed as it was, and others.
    pub async fn key(&self, task: &str, key: impl Into<Key>) -> Result<Option<HeldKey>, Error> {
        let hash = key.into().hash_elsewhere()?;
        let query = [("taskIdentifier".to_owned(), task.to_owned())];
        match self.call(Method::GET, &["api", "v1", "idempotencyKeys", hash.as_str()], &query, Content::None).await {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
