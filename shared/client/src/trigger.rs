//! One trigger, as a builder that is a future.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use oncekey_wire::{Debounce, Handle, KeyRelease, TriggerOptions};
use reqwest::Method;
use serde::Serialize;

use crate::batch::BatchItem;
use crate::client::{Client, Content};
use crate::error::Error;
use crate::key::Key;

impl Client {
    /// Triggers a task with a payload, which is written as JSON. Nothing happens until it is awaited.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let order = serde_json::json!({ "id": 42 });
    /// let handle = client.trigger("process-order", &order).idempotency_key("order-42").key_ttl("7d").delay("1m").await?;
    /// println!("{} {}", handle.id, handle.is_cached);
    /// # Ok(())
    /// # }
    /// ```
    pub fn trigger(&self, task: &str, payload: &impl Serialize) -> Trigger {
        Trigger { client: self.clone(), item: BatchItem::new(task, payload) }
    }
}

/// A trigger that is sent when it is awaited.
#[derive(Clone, Debug)]
#[must_use = "a trigger is sent when it is awaited"]
pub struct Trigger {
    client: Client,
    item: BatchItem,
}

impl Trigger {
    fn with(mut self, change: impl FnOnce(TriggerOptions) -> TriggerOptions) -> Self {
        self.item = self.item.with(change);
        self
    }

    /// The key that makes this trigger happen once. An empty text is not a key.
    pub fn idempotency_key(mut self, key: impl Into<Key>) -> Self {
        self.item = self.item.idempotency_key(key);
        self
    }

    /// How long the key holds: a whole number and `s`, `m`, `h` or `d`; 30 days by default.
    pub fn key_ttl(self, ttl: &str) -> Self {
        self.with(|options| options.key_ttl(ttl))
    }

    /// Which ends of its run free the key: a failure, unless something else is said.
    pub fn key_release(self, release: KeyRelease) -> Self {
        self.with(|options| options.key_release(release))
    }

    /// Fails if another run holds the key.
    pub fn refuse_held_key(self) -> Self {
        self.with(|options| options.refuse_held_key())
    }

    /// Cancels the run that holds the key if it has not ended, and makes another in its place.
    pub fn replace_held_key(self) -> Self {
        self.with(|options| options.replace_held_key())
    }

    /// Makes the key of the payload: of what these JSON pointers name in it, or, for `[]`, of the whole of it.
    pub fn idempotency_key_from<const N: usize>(self, pointers: [&str; N]) -> Self {
        self.with(|options| options.key_from(&pointers))
    }

    /// Lets the key hold in a group of tasks: whichever is triggered first makes the run.
    pub fn idempotency_key_group(self, group: &str) -> Self {
        self.with(|options| options.key_group(group))
    }

    /// Fails if the key is held by a run of another payload.
    pub fn refuse_payload_mismatch(self) -> Self {
        self.with(|options| options.refuse_payload_mismatch())
    }

    /// Pushes the start of the run that is delayed under this debounce key, if there is one, instead of making another.
    pub fn debounce(self, debounce: &Debounce) -> Self {
        self.with(|options| options.debounce(debounce))
    }

    /// Starts the run no earlier: a span like `1h30m`, or an ISO 8601 date.
    pub fn delay(self, delay: &str) -> Self {
        self.with(|options| options.delay(delay))
    }

    /// Lets the run expire unless it has started within this span, like `10m`, after it was due.
    pub fn expires_in(self, span: &str) -> Self {
        self.with(|options| options.expires_in(span))
    }

    /// Up to 10 tags of up to 128 characters.
    pub fn tags<const N: usize>(self, tags: [&str; N]) -> Self {
        self.with(|options| options.tags(&tags))
    }

    /// Your own data about the run, up to 32 KB of JSON.
    pub fn metadata(self, metadata: impl Serialize) -> Self {
        self.with(|options| options.metadata(metadata))
    }

    /// Attempts in all, 1 to 100; wins over the task's own.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|options| options.max_attempts(attempts))
    }

    /// How long one attempt may compute, in whole seconds, up to a day; wins over the task's own.
    pub fn max_duration(self, longest: Duration) -> Self {
        self.with(|options| options.max_duration(longest))
    }

    /// The queue that carries the run.
    pub fn queue(self, name: &str) -> Self {
        self.with(|options| options.queue(name))
    }

    /// Any other option of a trigger, by its name on the wire.
    pub fn option(self, name: &str, value: impl Serialize) -> Self {
        self.with(|options| options.option(name, value))
    }

    async fn send(self) -> Result<Handle, Error> {
        let (task, body) = self.item.into_body()?;
        self.client.call(Method::POST, &["api", "v1", "tasks", &task, "trigger"], &[], Content::json(&body)?).await
    }
}

impl IntoFuture for Trigger {
    type Output = Result<Handle, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
