//! What a trigger says where it is said: a body over HTTP, a line of a batch, a message.

use oncekey_wire::{EnvironmentId, TaskId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::payload::Payload;
use crate::request::ignored::Ignored;
use crate::request::object::Object;
use crate::request::options::Options;
use crate::request::{Envelope, TriggerRequest};

/// The body of a trigger over HTTP, and the greater part of a message on the `triggers` queue.
#[derive(Debug, Default, Deserialize)]
pub struct TriggerBody<'a> {
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<Object<Options>>,
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
        let options =
            self.options.map(|raw| Ignored::parse_at("options", Some("options"), raw.get().as_bytes())).transpose();
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
