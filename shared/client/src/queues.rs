//! Calls about queues: how they stand, how many of their runs execute at a time, and whether any start.

use oncekey_wire::{EnvironmentPaused, Queue, QueueLabel, QueuesPage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, Content};
use crate::error::Error;

/// Queues that are asked for at a time.
const PAGE: &str = "100";

impl Client {
    /// Queues.
    #[must_use]
    pub fn queues(&self) -> Queues<'_> {
        Queues { client: self }
    }
}

/// Calls about queues: [`Client::queues`].
#[derive(Clone, Copy, Debug)]
pub struct Queues<'a> {
    client: &'a Client,
}

impl Queues<'_> {
    /// The queues of the environment, by their names.
    ///
    /// ```
    /// # use oncekey_client::Client;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// let queues = client.queues().list().await?;
    /// assert!(queues.iter().any(|queue| queue.name == "echo" && queue.concurrency_limit.is_none()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self) -> Result<Vec<Queue>, Error> {
        let mut all = Vec::new();
        for page in 1.. {
            let query = [("page".to_owned(), page.to_string()), ("perPage".to_owned(), PAGE.to_owned())];
            let told: QueuesPage =
                self.client.call(Method::GET, &["api", "v1", "queues"], &query, Content::None).await?;
            all.extend(told.data);
            if page >= told.pagination.total_pages {
                break;
            }
        }
        Ok(all)
    }

    /// A queue by its name; `task/` and its id is a task's own.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use oncekey_client::QueueLabel;
    ///
    /// let mail = client.queues().get(&QueueLabel::parse("mail")?).await?;
    /// println!("{} execute, {} wait", mail.running, mail.queued);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there is no such queue, and others.
    pub async fn get(&self, queue: &QueueLabel) -> Result<Queue, Error> {
        let (kind, name) = spelt(queue);
        let query = [("type".to_owned(), kind.to_owned())];
        self.client.call(Method::GET, &["api", "v1", "queues", &name], &query, Content::None).await
    }

    /// Pauses a queue: from five seconds after this nothing of it starts, and what executes goes on.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use oncekey_client::QueueLabel;
    ///
    /// let mail = QueueLabel::parse("mail")?;
    /// assert!(client.queues().pause(&mail).await?.paused);
    /// assert!(!client.queues().resume(&mail).await?.paused);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Queues::get`].
    pub async fn pause(&self, queue: &QueueLabel) -> Result<Queue, Error> {
        self.post(queue, &["pause"], json!({ "action": "pause" })).await
    }

    /// Has a queue go on: those that wait start in their order, as limits allow.
    ///
    /// # Errors
    /// As [`Queues::get`].
    pub async fn resume(&self, queue: &QueueLabel) -> Result<Queue, Error> {
        self.post(queue, &["pause"], json!({ "action": "resume" })).await
    }

    /// Gives a queue another limit than its code declares, up to 100,000, until it is reset.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use oncekey_client::QueueLabel;
    ///
    /// let mail = QueueLabel::parse("mail")?;
    /// assert_eq!(client.queues().override_limit(&mail, 10).await?.concurrency_limit, Some(10));
    /// client.queues().reset_limit(&mail).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Queues::get`].
    pub async fn override_limit(&self, queue: &QueueLabel, limit: u32) -> Result<Queue, Error> {
        self.post(queue, &["concurrency", "override"], json!({ "concurrencyLimit": limit })).await
    }

    /// Gives a queue the limit that its code declares.
    ///
    /// # Errors
    /// As [`Queues::get`].
    pub async fn reset_limit(&self, queue: &QueueLabel) -> Result<Queue, Error> {
        self.post(queue, &["concurrency", "reset"], json!({})).await
    }

    /// Pauses all queues of the environment, or has them go on: whether they are paused.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pause_all(&self, paused: bool) -> Result<bool, Error> {
        let body = json!({ "action": if paused { "pause" } else { "resume" } });
        let path = ["api", "v1", "environment", "pause"];
        let told: EnvironmentPaused = self.client.call(Method::POST, &path, &[], Content::json(&body)?).await?;
        Ok(told.paused)
    }

    async fn post(&self, queue: &QueueLabel, what: &[&str], mut body: Value) -> Result<Queue, Error> {
        let (kind, name) = spelt(queue);
        body["type"] = json!(kind);
        let path = [&["api", "v1", "queues", &name], what].concat();
        self.client.call(Method::POST, &path, &[], Content::json(&body)?).await
    }
}

/// A queue's type, and its name as a path has it: each `/` is spelt before the whole is.
fn spelt(queue: &QueueLabel) -> (&'static str, String) {
    let kind = if queue.is_of_task() { "task" } else { "custom" };
    (kind, queue.own_name().replace('/', "%2F"))
}
