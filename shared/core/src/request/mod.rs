//! A trigger's body, parsed at the door: what comes out needs no second check.

#[cfg(feature = "openapi")]
pub mod described;
pub mod ignored;
pub mod object;
pub mod options;
pub(crate) mod values;

use oncekey_wire::{BatchId, EnvironmentId, RequestId, RunId, TaskId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::window::Window;
use crate::key::{IdempotencyKey, KeyRelease};
use crate::payload::Payload;
use crate::queue::name::QueueName;
use crate::request::ignored::Ignored;
use crate::request::object::Object;
use crate::request::options::{OnKeyHeld, OnPayloadMismatch, Options};
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
    /// What the task is given.
    pub payload: Payload,
    /// The queue to use; the task's own or the default one if absent.
    pub queue: Option<QueueName>,
    /// What else was said.
    pub options: RunOptions,
    /// Whose child the run will be.
    pub parentage: Parentage,
    /// The call that triggers.
    pub function: TriggerFunction,
    /// The batch it is an item of.
    pub batch: Option<BatchId>,
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

/// The body of a trigger over HTTP, and the greater part of a message on the `triggers` queue.
#[derive(Debug, Default, Deserialize)]
pub struct TriggerBody<'a> {
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<Object<Options>>,
}

/// A line of a batch's items.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchLine<'a> {
    /// Its place in the batch.
    pub index: u32,
    /// What to run.
    pub task: String,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    /// Read only when it is checked, so that what is wrong with one item is that item's error.
    #[serde(borrow, default)]
    options: Option<&'a RawValue>,
}

impl<'a> BatchLine<'a> {
    /// The item's trigger, as a body over HTTP would say it, and what of its options nobody reads.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the option that is of a wrong type.
    pub fn body_and_ignored(&self) -> Result<(TriggerBody<'a>, Ignored), Error> {
        let options = self.options.map(|raw| Ignored::parse_at("options", "options", raw.get().as_bytes())).transpose();
        let options = options.map_err(|error| match error {
            Error::Invalid { field, message } => Error::invalid(format!("options.{field}"), message),
            other => other,
        })?;
        let (options, ignored) = options.unzip();
        Ok((TriggerBody { payload: self.payload, options: options.map(Object) }, ignored.unwrap_or_default()))
    }
}

/// A message on the `triggers` queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerMessage<'a> {
    /// Where.
    pub environment: EnvironmentId,
    /// What to run.
    pub task: TaskId,
    /// The sender's own id of this request; the message's id if absent.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The W3C trace context it belongs to.
    #[serde(default)]
    pub traceparent: Option<String>,
    // Not a flattened `TriggerBody`: flattening loses the raw text of the payload.
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<Object<Options>>,
}

impl<'a> TriggerMessage<'a> {
    /// What the message says beyond its address, as a body over HTTP would.
    #[must_use]
    pub fn into_body(self) -> TriggerBody<'a> {
        TriggerBody { payload: self.payload, options: self.options }
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
    /// The key's text.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is empty: in a body that is as no key, since the client sends it so; a header that names
    /// none is a mistake.
    pub fn text(&self) -> Result<Option<&str>, Error> {
        match self.key.as_deref() {
            Some("") => Err(Error::invalid(KEY_HEADER, "is empty: give a key, or leave it out")),
            text => Ok(text),
        }
    }
}

/// How an error calls the header that says the key.
pub const KEY_HEADER: &str = "header idempotency-key";

/// Parses a JSON object, naming the field that is wrong.
///
/// # Errors
/// [`Error::Invalid`] with the path of the field and the parser's words.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Error> {
    parse_with(text, |deserializer| Object::deserialize(deserializer).map(|Object(parsed)| parsed))
}

/// What reads a JSON text, and knows where in it it is.
type Tracked<'a, 'b, 'de> =
    serde_path_to_error::Deserializer<'a, 'b, &'a mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>>;

fn parse_with<'de, T>(
    text: &'de [u8],
    read: impl FnOnce(Tracked<'_, '_, 'de>) -> serde_json::Result<T>,
) -> Result<T, Error> {
    if text.trim_ascii().is_empty() {
        return Err(Error::invalid("body", "it is empty: send a JSON object, {} if there is nothing to say"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let parsed = read(tracked).map_err(|error| {
        let path = track.path().to_string();
        let field = if path == "." || path == "?" { "body".to_owned() } else { path };
        Error::json(field, &error)
    })?;
    deserializer.end().map_err(|error| Error::json("body", &error))?;
    Ok(parsed)
}

impl TriggerBody<'_> {
    /// Whether it says how long its key holds.
    pub(crate) fn names_a_window(&self) -> bool {
        self.options.as_ref().is_some_and(|Object(options)| options.idempotency_key_ttl.is_some())
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, [`Error::TooLarge`] naming the limit, [`Error::Unprocessable`] for an option
    /// whose meaning we would lose.
    pub fn check(self, envelope: Envelope) -> Result<TriggerRequest, Error> {
        let options = self.options.map(|Object(options)| options).unwrap_or_default();
        let payload = Payload::from_wire(self.payload, options.payload_type.unwrap_or_default())?;
        options.check(envelope, payload)
    }
}
