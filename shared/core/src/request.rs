//! A trigger's body, parsed at the door: what comes out needs no second check.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{BatchId, EnvironmentId, RequestId, RunId, TaskId};
use crate::key::{IdempotencyKey, KeyHash, Scope};
use crate::object::Object;
use crate::payload::{Payload, PayloadType};
use crate::run::{Lineage, RunOptions, TriggerFunction};
use crate::span;
use crate::window::Window;

/// Most tags a run has.
const MAX_TAGS: usize = 10;
/// The longest tag, in characters.
const MAX_TAG: usize = 128;
/// The largest metadata, as JSON: what DynamoDB's 400 KB an item leave beside payload and output.
const MAX_METADATA_BYTES: usize = 32 * 1024;
/// The longest delay or ttl.
const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Most attempts a trigger may ask for.
const MAX_ATTEMPTS: u32 = 100;
/// The longest `maxDuration`: a day, in seconds.
const MAX_DURATION: u32 = 86_400;

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
    /// What the task is given.
    pub payload: Payload,
    /// The queue to use; the default one if absent.
    pub queue: Option<String>,
    /// What else was said.
    pub options: RunOptions,
    /// The run that triggers, by name.
    pub parent: Option<RunId>,
    /// Where the run will stand in its family, if that is known already.
    pub lineage: Option<Lineage>,
    /// The call that triggers.
    pub function: TriggerFunction,
    /// The batch it is an item of.
    pub batch: Option<BatchId>,
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
    /// The item's trigger, as a body over HTTP would say it.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the option that is of a wrong type.
    pub fn body(&self) -> Result<TriggerBody<'a>, Error> {
        let options = self.options.map(|raw| parse_json(raw.get().as_bytes()).map(Object)).transpose();
        let options = options.map_err(|error| match error {
            Error::Invalid { field, message } => Error::invalid(format!("options.{field}"), message),
            other => other,
        })?;
        Ok(TriggerBody { payload: self.payload, options })
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
    // Not a flattened `TriggerBody`: flattening loses the raw text of the payload.
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<Object<Options>>,
}

impl<'a> TriggerMessage<'a> {
    /// What the message says beyond its address, as a body over HTTP would.
    pub fn into_body(self) -> TriggerBody<'a> {
        TriggerBody { payload: self.payload, options: self.options }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    payload_type: Option<PayloadType>,
    idempotency_key: Option<String>,
    #[serde(rename = "idempotencyKeyTTL")]
    idempotency_key_ttl: Option<String>,
    idempotency_key_options: Option<Object<KeyOptions>>,
    delay: Option<Value>,
    ttl: Option<Value>,
    tags: Option<Value>,
    metadata: Option<Value>,
    max_attempts: Option<u32>,
    max_duration: Option<f64>,
    queue: Option<Object<QueueOption>>,
    test: Option<bool>,
    parent_run_id: Option<RunId>,
    resume_parent_on_completion: Option<bool>,
    debounce: Option<Value>,
    concurrency: Option<Value>,
    concurrency_key: Option<Value>,
    priority: Option<Value>,
    machine: Option<Value>,
    region: Option<Value>,
    lock_to_version: Option<Value>,
    external_deployment_id: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct KeyOptions {
    key: String,
    scope: Scope,
}

#[derive(Debug, Deserialize)]
struct QueueOption {
    name: String,
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
    /// The header `idempotency-key`, which wins over the body's field.
    pub key: Option<String>,
    /// The header `idempotency-key-ttl`, which wins over the body's field.
    pub key_ttl: Option<String>,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// When it came.
    pub now: Timestamp,
}

/// Parses a JSON object, naming the field that is wrong.
///
/// # Errors
/// [`Error::Invalid`] with the path of the field and the parser's words.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let Object(parsed) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." || path == "?" { "body".to_owned() } else { path };
        Error::invalid(field, error.into_inner().to_string())
    })?;
    deserializer.end().map_err(|error| Error::invalid("body", error.to_string()))?;
    Ok(parsed)
}

impl TriggerBody<'_> {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, [`Error::TooLarge`] naming the limit, [`Error::Unprocessable`] for an option
    /// whose meaning we would lose.
    pub fn check(self, envelope: Envelope) -> Result<TriggerRequest, Error> {
        let payload = self.payload;
        let options = self.options.map(|Object(options)| options).unwrap_or_default();
        options.refuse_unsupported()?;
        let Envelope { environment, task, request_id, key, key_ttl, traceparent, now } = envelope;
        let window = match key_ttl.as_deref().or(options.idempotency_key_ttl.as_deref()) {
            Some(ttl) => Window::parse(ttl)?,
            None => Window::default(),
        };
        Ok(TriggerRequest {
            environment,
            task,
            request_id,
            key: options.key(key)?,
            window,
            payload: Payload::from_wire(payload, options.payload_type.unwrap_or_default())?,
            queue: options.queue.as_ref().map(|Object(queue)| queue.name.clone()),
            parent: options.parent_run_id.clone(),
            lineage: None,
            function: TriggerFunction::Trigger,
            batch: None,
            options: options.checked(traceparent, now)?,
        })
    }
}

impl Options {
    /// Refuses by name what would change the meaning of the trigger if we ignored it.
    fn refuse_unsupported(&self) -> Result<(), Error> {
        let refused = [
            ("debounce", self.debounce.is_some()),
            ("resumeParentOnCompletion", self.resume_parent_on_completion == Some(true)),
        ];
        match refused.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Unprocessable(format!("options.{name} is not supported: leave it out"))),
            None => Ok(()),
        }
    }

    fn key(&self, header: Option<String>) -> Result<Option<IdempotencyKey>, Error> {
        let (field, text) = match (header, &self.idempotency_key) {
            (Some(header), _) => ("header idempotency-key", header),
            (None, Some(body)) => ("options.idempotencyKey", body.clone()),
            (None, None) => return Ok(None),
        };
        let hash = KeyHash::from_wire(field, &text)?;
        // R06: an empty key is as no key.
        if text.is_empty() {
            return Ok(None);
        }
        let hidden = hash.as_str() == text;
        let mut key = IdempotencyKey { hash, text: (!hidden).then_some(text), scope: None };
        if let Some(Object(told)) = &self.idempotency_key_options {
            KeyHash::from_wire("options.idempotencyKeyOptions.key", &told.key)?;
            key.text = Some(told.key.clone());
            key.scope = Some(told.scope);
        }
        Ok(Some(key))
    }

    fn checked(self, traceparent: Option<String>, now: Timestamp) -> Result<RunOptions, Error> {
        let placement: BTreeMap<&str, Option<Value>> = [
            ("concurrency", self.concurrency),
            ("concurrencyKey", self.concurrency_key),
            ("priority", self.priority),
            ("machine", self.machine),
            ("region", self.region),
            ("lockToVersion", self.lock_to_version),
            ("externalDeploymentId", self.external_deployment_id),
        ]
        .into();
        let placement = placement.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Ok(RunOptions {
            tags: self.tags.map(tags).transpose()?.unwrap_or_default(),
            metadata: metadata(self.metadata)?,
            delay_until: self.delay.map(|delay| delay_until(&delay, now)).transpose()?.flatten(),
            ttl_ms: self.ttl.map(|ttl| ttl_ms(&ttl)).transpose()?.flatten(),
            max_attempts: self.max_attempts.map(|n| between("options.maxAttempts", n, MAX_ATTEMPTS)).transpose()?,
            max_duration: self.max_duration.map(max_duration).transpose()?,
            test: self.test.unwrap_or(false),
            traceparent: traceparent.filter(|text| text.len() <= 128),
            placement,
        })
    }
}

fn between(field: &str, number: u32, most: u32) -> Result<u32, Error> {
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    Err(Error::invalid(field, format!("{number} is out of range: give a whole number from 1 to {most}")))
}

/// The client may send a fraction; a part of a second counts as a whole one.
fn max_duration(seconds: f64) -> Result<u32, Error> {
    if seconds > 0.0 && seconds <= f64::from(MAX_DURATION) {
        return Ok(seconds.ceil() as u32);
    }
    Err(Error::invalid("options.maxDuration", format!("give seconds, more than 0 and up to {MAX_DURATION} (a day)")))
}

fn tags(value: Value) -> Result<Vec<String>, Error> {
    let refuse = || {
        Error::invalid(
            "options.tags",
            format!("give one tag or a list of up to {MAX_TAGS}, each a text of 1 to {MAX_TAG} characters"),
        )
    };
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    if list.len() > MAX_TAGS {
        return Err(refuse());
    }
    let tag = |value| match value {
        Value::String(tag) if (1..=MAX_TAG).contains(&tag.chars().count()) => Ok(tag),
        _ => Err(refuse()),
    };
    list.into_iter().map(tag).collect()
}

fn metadata(value: Option<Value>) -> Result<Option<Value>, Error> {
    let size = value.as_ref().map_or(0, |value| value.to_string().len());
    if size > MAX_METADATA_BYTES {
        return Err(Error::TooLarge(format!(
            "options.metadata: {size} bytes of JSON; the limit is {MAX_METADATA_BYTES} (32 KB)"
        )));
    }
    Ok(value)
}

/// A span (`"1h30m"`) or a date; one that is over already is no delay.
fn delay_until(value: &Value, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let moment = value
        .as_str()
        .and_then(|text| span::parse(text).map(|span| now.plus(span)).or_else(|| Timestamp::parse(text).ok()))
        .ok_or_else(|| {
            Error::invalid(
                "options.delay",
                "give a span like \"1h30m\" (w, d, h, m, s) or a date like \"2026-01-31T09:30:00Z\"",
            )
        })?;
    if moment.since(now) > MAX_SPAN {
        return Err(Error::invalid("options.delay", "is more than 365 days away"));
    }
    Ok((moment > now).then_some(moment))
}

/// A span or a number of seconds; zero is no ttl.
fn ttl_ms(value: &Value) -> Result<Option<u64>, Error> {
    let span = match value {
        Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
        Value::String(text) => span::parse(text),
        _ => None,
    };
    match span.filter(|span| *span <= MAX_SPAN) {
        Some(span) => Ok(u64::try_from(span.as_millis()).ok().filter(|millis| *millis > 0)),
        None => Err(Error::invalid(
            "options.ttl",
            "give a span like \"10m\" (w, d, h, m, s) or whole seconds, up to 365 days",
        )),
    }
}
