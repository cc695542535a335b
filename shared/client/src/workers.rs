//! Calls about workers: which there are, and what each has.

use oncekey_wire::{Deployment, Manifest, Workers as Listed};
use reqwest::Method;

use crate::client::{Client, Content};
use crate::error::Error;

impl Client {
    /// Workers.
    #[must_use]
    pub fn workers(&self) -> Workers<'_> {
        Workers { client: self }
    }
}

/// Calls about workers: [`Client::workers`].
#[derive(Clone, Copy, Debug)]
pub struct Workers<'a> {
    client: &'a Client,
}

impl Workers<'_> {
    /// The workers of the environment that have tasks, as they were deployed last.
    ///
    /// ```
    /// # use oncekey_client::Client;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// let workers = client.workers().list().await?;
    /// assert!(workers[0].tasks.iter().any(|task| task.id.as_str() == "echo"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self) -> Result<Vec<Deployment>, Error> {
        let told: Listed = self.client.call(Method::GET, &["api", "v1", "workers"], &[], Content::None).await?;
        Ok(told.data)
    }

    /// Says what a worker has from now on. The schedules that its tasks declare are there then, and those that they declare no
    /// longer are gone. A worker is called by 1 to 128 characters of `A-Z a-z 0-9 _ -`, and has up to a thousand tasks.
    ///
    /// ```
    /// # use oncekey_client::Client;
    /// use oncekey_client::Manifest;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// let told = r#"{ "tasks": [{ "id": "digest", "cron": { "pattern": "0 9 * * 1-5", "timezone": "Europe/Berlin" } }] }"#;
    /// let manifest: Manifest = serde_json::from_str(told)?;
    /// let deployed = client.workers().declare("mail", &manifest).await?;
    /// assert_eq!(deployed.number, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 400 or 422 naming what cannot be declared, and others.
    pub async fn declare(&self, worker: &str, manifest: &Manifest) -> Result<Deployment, Error> {
        let path = ["api", "v1", "workers", worker];
        self.client.call(Method::PUT, &path, &[], Content::json(manifest)?).await
    }

    /// Removes a worker, and with it the schedules that its tasks declare.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// client.workers().remove("mail").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there has never been one of this name, and others.
    pub async fn remove(&self, worker: &str) -> Result<(), Error> {
        let path = ["api", "v1", "workers", worker];
        let _: Deployment = self.client.call(Method::DELETE, &path, &[], Content::None).await?;
        Ok(())
    }
}
