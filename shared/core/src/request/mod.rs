//! A trigger's body, parsed at the door: what comes out needs no second check.

mod body;
pub mod bulk;
mod by_token;
pub mod debounce;
#[cfg(feature = "openapi")]
pub mod described;
pub mod held;
pub mod ignored;
pub mod manifest;
pub mod object;
pub mod options;
mod parse;
pub mod queue;
pub mod schedule;
pub mod token;
pub(crate) mod values;

use oncekey_wire::{BatchId, EnvironmentId, QueueLabel, RequestId, RunId, TaskId};

pub use self::body::{BatchLine, TriggerBody, TriggerMessage};
pub use self::by_token::not_by_token;
pub use self::parse::parse_json;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::window::Window;
use crate::key::{IdempotencyKey, KeyOptions, KeyRelease};
use crate::payload::Payload;
use crate::public_token::TokenUse;
use crate::request::debounce::Debounce;
use crate::request::held::{OnKeyHeld, OnPayloadMismatch};
use crate::run::{Lineage, RunOptions, TriggerFunction};

/// A trigger, checked.
#[derive(Clone, Debug)]
pub struct TriggerRequest {
    /// Where.
    pub environment: EnvironmentId,
    /// What to run.
    pub task: TaskId,
    /// What makes this request this request.
    pub request_id: RequestId,
    /// The key, if there is one.
    pub key: Option<IdempotencyKey>,
    /// How long the key stays claimed.
    pub window: Window,
    /// Which ends of its run free the key.
    pub release: KeyRelease,
    /// What to do if another run holds the key.
    pub on_key_held: OnKeyHeld,
    /// What to do if the key is held by a run of another payload.
    pub on_payload_mismatch: OnPayloadMismatch,
    /// Whose start it pushes, if it is debounced.
    pub debounce: Option<Debounce>,
    /// What the task is given.
    pub payload: Payload,
    /// The queue to use; the task's own or the default one if absent.
    pub queue: Option<QueueLabel>,
    /// What else was said.
    pub options: RunOptions,
    /// Whose child the run will be.
    pub parentage: Parentage,
    /// The call that triggers.
    pub function: TriggerFunction,
    /// The batch it is an item of.
    pub batch: Option<BatchId>,
    /// The public token that asks, if it is one.
    pub token: Option<TokenUse>,
}

impl TriggerRequest {
    /// One that says nothing more: no key, no options.
    #[must_use]
    pub fn new(environment: EnvironmentId, task: TaskId, request_id: RequestId, payload: Payload) -> Self {
        Self {
            environment,
            task,
            request_id,
            key: None,
            window: Window::default(),
            release: KeyRelease::default(),
            on_key_held: OnKeyHeld::default(),
            on_payload_mismatch: OnPayloadMismatch::default(),
            debounce: None,
            payload,
            queue: None,
            options: RunOptions::default(),
            parentage: Parentage::None,
            function: TriggerFunction::Trigger,
            batch: None,
            token: None,
        }
    }
}

/// Whose child a run will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Parentage {
    /// Nobody's.
    #[default]
    None,
    /// That of the run of this name, if there is one in its environment.
    Named(RunId),
    /// It will stand here in its family.
    Known(Lineage),
}

impl Parentage {
    /// That of a run's id as it came, which may be of another service: nobody's, then.
    pub(crate) fn of_text(id: &str) -> Self {
        RunId::parse(id).map_or(Self::None, Self::Named)
    }
}

/// What a trigger says outside its body.
#[derive(Debug)]
pub struct Envelope {
    /// Where.
    pub environment: EnvironmentId,
    /// What to run.
    pub task: TaskId,
    /// What makes this request this request.
    pub request_id: RequestId,
    /// What its headers say of its key.
    pub key: KeyHeaders,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// When it came.
    pub now: Timestamp,
}

impl Envelope {
    /// One whose transport says nothing more: no headers.
    #[must_use]
    pub fn new(environment: EnvironmentId, task: TaskId, request_id: RequestId, now: Timestamp) -> Self {
        Self { environment, task, request_id, key: KeyHeaders::default(), traceparent: None, now }
    }
}

/// How an error calls the header that says the key.
pub(crate) const KEY_HEADER: &str = "header idempotency-key";

/// What headers say of a key. Each wins over the body's field.
#[derive(Clone, Debug, Default)]
pub struct KeyHeaders {
    /// `idempotency-key`.
    pub key: Option<String>,
    /// `idempotency-key-ttl`.
    pub ttl: Option<String>,
    /// `idempotency-key-release`.
    pub release: Option<KeyRelease>,
    /// `idempotency-key-held`.
    pub on_held: Option<OnKeyHeld>,
}

impl KeyHeaders {
    /// The key of a request whose body's `field` says `text`, to be shown as `options` say. What the header wins over is
    /// checked all the same, and what the body wants shown is of the body's key.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field or the header. An empty text is no key in a body, since the client sends it so; a
    /// header that names none is a mistake.
    pub fn key_over(
        &self,
        field: &str,
        text: Option<&str>,
        options: Option<&KeyOptions>,
    ) -> Result<Option<IdempotencyKey>, Error> {
        let text = text.filter(|text| !text.is_empty());
        let of_body = text.map(|text| IdempotencyKey::from_wire(field, text, options)).transpose()?;
        match self.key.as_deref() {
            Some("") => Err(Error::invalid(KEY_HEADER, "is empty: give a key, or leave it out")),
            Some(text) => IdempotencyKey::from_wire(KEY_HEADER, text, None).map(Some),
            None => Ok(of_body),
        }
    }

    /// The window of a request whose body's `field` says `text`, which is checked likewise.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field or the header.
    pub fn window_over(&self, field: &str, text: Option<&str>) -> Result<Option<Window>, Error> {
        let of_body = text.map(|text| Window::from_wire(field, text)).transpose()?;
        let header =
            self.ttl.as_deref().map(|text| Window::from_wire("header idempotency-key-ttl", text)).transpose()?;
        Ok(header.or(of_body))
    }
}
