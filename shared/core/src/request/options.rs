//! The options of a trigger: what a caller may say besides the payload, checked field by field.

use std::collections::BTreeMap;

use oncekey_wire::{Json, QueueLabel};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::source::KeySource;
use crate::key::{IdempotencyKey, KeyGroup, KeyOptions, KeyRelease};
use crate::payload::{Payload, PayloadType};
use crate::request::debounce::DebounceOption;
#[cfg(feature = "openapi")]
use crate::request::described::{KeySourceSchema, QueueSchema, TagsSchema, TtlSchema};
use crate::request::held::{OnKeyHeld, OnPayloadMismatch};
use crate::request::object::Object;
use crate::request::values::{
    concurrency_key, delay_until, max_attempts, max_duration, metadata, parent_text, priority, tags, ttl_ms,
};
use crate::request::{Envelope, KEY_HEADER, KeyHeaders, Parentage, TriggerRequest};
use crate::run::{RunOptions, TriggerFunction};

/// The longest JSON of an option that is recorded and not acted on.
const MAX_RECORDED_BYTES: usize = 1024;

/// The options of a trigger, as they come.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// How to read the payload.
    pub(crate) payload_type: Option<PayloadType>,
    /// The key: its hash, or any text. An empty one is not a key.
    #[cfg_attr(feature = "openapi", schema(max_length = 2048))]
    idempotency_key: Option<String>,
    /// How long the key holds: a whole number and `s`, `m`, `h` or `d`, 1 second to 365 days. 30 days by default.
    #[serde(rename = "idempotencyKeyTTL", default, deserialize_with = "text_of_window")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9]{1,8}[smhd]$"))]
    pub(crate) idempotency_key_ttl: Option<String>,
    /// What to show of the key.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<KeyOptions>))]
    idempotency_key_options: Option<Object<KeyOptions>>,
    /// Makes the key of the payload: `"payload"`, or JSON pointers into it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<KeySourceSchema>))]
    idempotency_key_from: Option<KeySource>,
    /// Lets the key hold in a group of tasks instead of the task.
    idempotency_key_group: Option<KeyGroup>,
    /// Which ends of its run free the key. A failure by default.
    idempotency_key_release: Option<KeyRelease>,
    /// What to do if another run holds the key.
    on_key_held: Option<OnKeyHeld>,
    /// What to do if the key is held by a run of another payload.
    on_payload_mismatch: Option<OnPayloadMismatch>,
    /// A span like `1h30m`, or an ISO 8601 date: the run starts no earlier.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    delay: Option<Value>,
    /// A span like `10m`, or seconds: the run expires unless it has started within it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TtlSchema>))]
    ttl: Option<Value>,
    /// A tag, or up to 10 of them.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TagsSchema>))]
    tags: Option<Value>,
    /// The caller's own data about the run, up to 32 KB of JSON. Whole numbers have at most 64 bits.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Value>))]
    metadata: Option<Json>,
    /// Attempts in all.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    max_attempts: Option<u32>,
    /// Seconds that one attempt may compute.
    #[cfg_attr(feature = "openapi", schema(exclusive_minimum = 0, maximum = 86400))]
    max_duration: Option<f64>,
    /// The queue of the run, whose limits hold for it. If the stack has one of that name, it carries the run.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<QueueSchema>))]
    queue: Option<QueueOption>,
    /// Marks the run as a test.
    test: Option<bool>,
    /// The run that triggers. One of another service is recorded, and not acted on.
    #[cfg_attr(feature = "openapi", schema(max_length = 128))]
    parent_run_id: Option<String>,
    /// Not supported: leave it out, or false.
    resume_parent_on_completion: Option<bool>,
    /// Has the run start a while after the latest trigger of this debounce key, however many come before. Not beside `delay`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<DebounceOption>))]
    debounce: Option<Object<DebounceOption>>,
    /// Not supported: limits that several queues share.
    concurrency: Option<Value>,
    /// The limit of the queue holds for the runs of each such key by themselves: 1 to 128 characters.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, min_length = 1, max_length = 128))]
    concurrency_key: Option<Value>,
    /// Seconds that the run is taken for older by than it is, among those that wait for a place of its queue.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    priority: Option<Value>,
    /// Recorded, and not acted on.
    machine: Option<Value>,
    /// Recorded, and not acted on.
    region: Option<Value>,
    /// Recorded, and not acted on.
    lock_to_version: Option<Value>,
    /// Recorded, and not acted on.
    external_deployment_id: Option<Value>,
}

/// A window's text; its number alone says no unit.
///
/// # Errors
/// Those of the deserializer, or words that name the units.
pub fn text_of_window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(D::Error::custom(format!(
            "{other} is not a duration: give a text of a whole number and s, m, h or d, like \"30d\", from 1s to 365d"
        ))),
    }
}

/// `{"name": "…"}`, or the name alone as a replay says it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
struct QueueOption {
    name: String,
}

impl QueueOption {
    fn name(&self) -> Result<QueueLabel, Error> {
        QueueLabel::parse(&self.name).map_err(|invalid| Error::invalid("options.queue.name", invalid.message))
    }
}

impl TryFrom<Value> for QueueOption {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match (value.get("name"), &value) {
            (Some(Value::String(name)), _) | (None, Value::String(name)) => Ok(Self { name: name.clone() }),
            _ => Err("give {\"name\": \"…\"}"),
        }
    }
}

impl Options {
    /// The trigger that these options ask for.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, [`Error::TooLarge`], [`Error::Unprocessable`].
    pub(crate) fn check(mut self, envelope: Envelope, payload: Payload) -> Result<TriggerRequest, Error> {
        self.refuse_unsupported()?;
        let Envelope { environment, task, request_id, key: headers, traceparent, now } = envelope;
        let window = headers.window_over("options.idempotencyKeyTTL", self.idempotency_key_ttl.as_deref())?;
        let on_payload_mismatch = self.on_payload_mismatch.unwrap_or_default();
        if on_payload_mismatch == OnPayloadMismatch::Error && payload.kind == PayloadType::Store {
            let text = "a payload in the store is not compared: send it in the body";
            return Err(Error::invalid("options.onPayloadMismatch", text));
        }
        let debounce = self.debounce.take().map(|Object(debounce)| debounce.check()).transpose()?;
        if debounce.is_some() && self.delay.is_some() {
            let text = "leave it out: a debounced run starts when options.debounce.delay says";
            return Err(Error::invalid("options.delay", text));
        }
        let start = debounce.as_ref().map(|debounce| now.plus(debounce.delay));
        Ok(TriggerRequest {
            environment,
            task,
            request_id,
            key: self.key(&headers, &payload)?,
            window: window.unwrap_or_default(),
            release: headers.release.or(self.idempotency_key_release).unwrap_or_default(),
            on_key_held: headers.on_held.or(self.on_key_held).unwrap_or_default(),
            on_payload_mismatch,
            debounce,
            payload,
            queue: self.queue.as_ref().map(QueueOption::name).transpose()?,
            parentage: self.parent_run_id.as_deref().map_or(Parentage::None, Parentage::of_text),
            function: TriggerFunction::Trigger,
            batch: None,
            token: None,
            options: self.checked(traceparent, start, now)?,
        })
    }

    /// Refuses by name what would change the meaning of the trigger if we ignored it.
    fn refuse_unsupported(&self) -> Result<(), Error> {
        if self.resume_parent_on_completion == Some(true) {
            let text = "options.resumeParentOnCompletion is not supported: leave it out";
            return Err(Error::Unprocessable(text.to_owned()));
        }
        if self.concurrency.as_ref().is_some_and(|asked| !asked.is_null()) {
            let text =
                "options.concurrency is not supported: give the queue a concurrencyLimit, and the run a concurrencyKey";
            return Err(Error::Unprocessable(text.to_owned()));
        }
        Ok(())
    }

    /// The key, which the header says, or the body, or the payload itself.
    fn key(&self, headers: &KeyHeaders, payload: &Payload) -> Result<Option<IdempotencyKey>, Error> {
        let from = self.idempotency_key_from.as_ref();
        let options = self.idempotency_key_options.as_ref().map(|Object(options)| options);
        let told = headers.key_over("options.idempotencyKey", self.idempotency_key.as_deref(), options)?;
        let mut key = match (told, from) {
            (Some(_), Some(_)) => {
                let beside = if headers.key.is_some() { KEY_HEADER } else { "options.idempotencyKey" };
                return Err(Error::invalid(
                    "options.idempotencyKeyFrom",
                    format!("leave it out, or {beside}: a trigger has one key"),
                ));
            }
            (None, Some(source)) => source.key_of(payload)?.displayed_as(options),
            (Some(key), None) => key,
            (None, None) => return Ok(None),
        };
        key.group.clone_from(&self.idempotency_key_group);
        Ok(Some(key))
    }

    /// Everything that travels with the run, which starts at `start` if that is said elsewhere.
    fn checked(
        self,
        traceparent: Option<String>,
        start: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<RunOptions, Error> {
        let placement: BTreeMap<&str, Option<Value>> = [
            ("concurrencyKey", self.concurrency_key.map(concurrency_key).transpose()?.flatten()),
            ("priority", self.priority.map(priority).transpose()?.flatten()),
            ("machine", self.machine),
            ("region", self.region),
            ("lockToVersion", self.lock_to_version),
            ("externalDeploymentId", self.external_deployment_id),
            (
                "parentRunId",
                self.parent_run_id.map(|id| parent_text("options.parentRunId", &id)).transpose()?.flatten(),
            ),
        ]
        .into();
        let placement: Map<String, Value> =
            placement.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        if let Some((name, _)) = placement.iter().find(|(_, value)| value.to_string().len() > MAX_RECORDED_BYTES) {
            let most = MAX_RECORDED_BYTES;
            return Err(Error::invalid(format!("options.{name}"), format!("it has more than {most} bytes of JSON")));
        }
        Ok(RunOptions {
            schedule: None,
            tags: self.tags.map(|given| tags("options.tags", given)).transpose()?.unwrap_or_default(),
            metadata: metadata(self.metadata)?,
            delay_until: match self.delay {
                Some(delay) => delay_until("options.delay", &delay, now)?,
                None => start,
            },
            ttl_ms: self.ttl.map(|ttl| ttl_ms(&ttl)).transpose()?.flatten(),
            max_attempts: self.max_attempts.map(max_attempts).transpose()?,
            max_duration: self.max_duration.map(max_duration).transpose()?,
            test: self.test.unwrap_or(false),
            traceparent: traceparent.filter(|text| text.len() <= 128),
            placement,
        })
    }
}
