//! What a task says of a child that it triggers.

use std::time::Duration;

use oncekey_core::key::{KeyOptions, Parent};
use oncekey_core::{Error, IdempotencyKey, TaskId};
use oncekey_wire::{Debounce, Json, KeyRelease, TriggerBody, TriggerOptions};
use serde::Serialize;

use crate::key::Key;

/// A child to trigger: its task, its payload, and the options of a trigger.
#[derive(Clone, Debug)]
pub struct Child {
    pub(crate) task: String,
    payload: Result<Json, String>,
    key: Option<Key>,
    options: TriggerOptions,
}

impl Child {
    /// A child of this task with this payload, which is written as JSON.
    ///
    /// ```
    /// use oncekey_worker::Child;
    ///
    /// let child = Child::new("send-email", "ada@example.com")
    ///     .idempotency_key("welcome") // of scope `run`
    ///     .key_ttl("7d") // how long the key holds
    ///     .expires_in("1h") // how long the run may wait
    ///     .delay("10m")
    ///     .tags(["welcome"])
    ///     .max_attempts(5);
    /// # let _ = child;
    /// ```
    pub fn new(task: &str, payload: impl Serialize) -> Self {
        Self {
            task: task.to_owned(),
            payload: Json::of(&payload).map_err(|error| error.to_string()),
            key: None,
            options: TriggerOptions::new(),
        }
    }

    /// The key that makes this trigger happen once.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How long the key holds: a whole number and `s`, `m`, `h` or `d`; 30 days by default.
    #[must_use]
    pub fn key_ttl(self, ttl: &str) -> Self {
        self.with(|options| options.key_ttl(ttl))
    }

    /// Which ends of its run free the key: a failure, unless something else is said.
    #[must_use]
    pub fn key_release(self, release: KeyRelease) -> Self {
        self.with(|options| options.key_release(release))
    }

    /// Fails if another run holds the key.
    #[must_use]
    pub fn refuse_held_key(self) -> Self {
        self.with(|options| options.refuse_held_key())
    }

    /// Cancels the run that holds the key if it has not ended, and makes another in its place.
    #[must_use]
    pub fn replace_held_key(self) -> Self {
        self.with(|options| options.replace_held_key())
    }

    /// Pushes the start of the child that is delayed under this debounce key, if there is one, instead of making another.
    #[must_use]
    pub fn debounce(self, debounce: &Debounce) -> Self {
        self.with(|options| options.debounce(debounce))
    }

    /// The child starts no earlier: a span like `1h30m`, or an ISO 8601 date.
    #[must_use]
    pub fn delay(self, delay: &str) -> Self {
        self.with(|options| options.delay(delay))
    }

    /// The child expires unless it has started within this span, like `10m`, after it was due.
    #[must_use]
    pub fn expires_in(self, span: &str) -> Self {
        self.with(|options| options.expires_in(span))
    }

    /// Up to 10 tags of up to 128 characters.
    #[must_use]
    pub fn tags<const N: usize>(self, tags: [&str; N]) -> Self {
        self.with(|options| options.tags(&tags))
    }

    /// Attempts in all, 1 to 100; wins over the task's own.
    #[must_use]
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|options| options.max_attempts(attempts))
    }

    /// How long one attempt may compute; wins over the task's own. Whole seconds, up to a day.
    #[must_use]
    pub fn max_duration(self, longest: Duration) -> Self {
        self.with(|options| options.max_duration(longest))
    }

    /// The caller's own data about the run, up to 32 KB of JSON.
    #[must_use]
    pub fn metadata(self, metadata: impl Serialize) -> Self {
        self.with(|options| options.metadata(metadata))
    }

    /// The queue that carries it; wins over the task's own.
    #[must_use]
    pub fn queue(self, name: &str) -> Self {
        self.with(|options| options.queue(name))
    }

    fn with(mut self, change: impl FnOnce(TriggerOptions) -> TriggerOptions) -> Self {
        self.options = change(self.options);
        self
    }

    pub(crate) fn task_id(&self) -> Result<TaskId, Error> {
        Ok(TaskId::parse(&self.task)?)
    }

    /// The key under which the trigger is claimed.
    pub(crate) fn hashed_key(&self, parent: Parent<'_>) -> Option<IdempotencyKey> {
        self.key.as_ref().and_then(|key| key.hashed(parent))
    }

    /// The trigger's body, as it would go over HTTP: it is checked at the same door.
    pub(crate) fn body(&self, key: Option<&IdempotencyKey>) -> Result<TriggerBody, Error> {
        let payload = self.payload.clone().map_err(|why| Error::invalid("payload", why))?;
        if let Some((name, why)) = self.options.misnamed().next() {
            return Err(Error::invalid(format!("options.{name}"), why));
        }
        let mut options = self.options.clone();
        if let Some(key) = key {
            let shown = key.text.clone().zip(key.scope).map(|(text, scope)| KeyOptions::new(text, scope));
            options = options.key(&key.hash, shown.as_ref());
        }
        let mut body = TriggerBody::new(payload);
        body.options = options;
        Ok(body)
    }
}
