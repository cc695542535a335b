//! The values of a trigger's options, each checked by itself.

use std::time::Duration;

use oncekey_wire::Json;
use oncekey_wire::RunId;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::payload::number::unkept;
use crate::span;

/// Most tags a run has.
pub(crate) const MAX_TAGS: usize = 10;
/// The longest tag, in characters.
const MAX_TAG: usize = 128;
/// The largest metadata, as JSON: what DynamoDB's 400 KB an item leave beside payload and output.
pub(crate) const MAX_METADATA_BYTES: usize = 32 * 1024;
/// The longest delay or ttl.
const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The longest id of a parent, in characters.
const MAX_PARENT: usize = 128;
/// Most attempts a trigger may ask for.
const MAX_ATTEMPTS: u32 = 100;
/// The longest `maxDuration`: a day, in seconds.
const MAX_DURATION: u32 = 86_400;

/// The longest concurrency key, in characters.
const MAX_CONCURRENCY_KEY: usize = 128;
/// The largest priority: a year, in seconds.
const MAX_PRIORITY: f64 = 31_536_000.0;

pub(super) fn max_attempts(number: u32) -> Result<u32, Error> {
    if (1..=MAX_ATTEMPTS).contains(&number) {
        return Ok(number);
    }
    let range = format!("{number} is out of range: give a whole number from 1 to {MAX_ATTEMPTS}");
    Err(Error::invalid("options.maxAttempts", range))
}

/// The client may send a fraction; a part of a second counts as a whole one.
pub(super) fn max_duration(seconds: f64) -> Result<u32, Error> {
    // The official client's `timeout.None`: no worker lives as long as the longest.
    if seconds == f64::from(i32::MAX) {
        return Ok(MAX_DURATION);
    }
    if seconds > 0.0 && seconds <= f64::from(MAX_DURATION) {
        return Ok(seconds.ceil() as u32);
    }
    Err(Error::invalid("options.maxDuration", format!("give seconds, more than 0 and up to {MAX_DURATION} (a day)")))
}

/// A concurrency key; an empty one is none.
pub(super) fn concurrency_key(value: Value) -> Result<Option<Value>, Error> {
    let refuse = |why: String| Err(Error::invalid("options.concurrencyKey", why));
    match &value {
        Value::Null => Ok(None),
        Value::String(key) if key.is_empty() => Ok(None),
        Value::String(key) if key.chars().any(char::is_control) => refuse("it has a control character".to_owned()),
        Value::String(key) => match key.chars().count() {
            1..=MAX_CONCURRENCY_KEY => Ok(Some(value)),
            length => refuse(format!("is {length} characters long; the limit is {MAX_CONCURRENCY_KEY}")),
        },
        _ => refuse(format!("give a text of 1 to {MAX_CONCURRENCY_KEY} characters")),
    }
}

/// A priority: seconds.
pub(super) fn priority(value: Value) -> Result<Option<Value>, Error> {
    match value.as_f64() {
        None if value.is_null() => Ok(None),
        Some(seconds) if seconds.abs() <= MAX_PRIORITY => Ok(Some(value)),
        _ => Err(Error::invalid(
            "options.priority",
            format!("give a number of seconds, from -{MAX_PRIORITY} to {MAX_PRIORITY}"),
        )),
    }
}

/// A tag, or a list of them: said twice, it is one.
pub(crate) fn tags(field: &str, value: Value) -> Result<Vec<String>, Error> {
    let refuse = || {
        Error::invalid(
            field,
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
    let mut tags: Vec<String> = Vec::with_capacity(list.len());
    for tag in list.into_iter().map(tag) {
        let tag = tag?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// What to record of a parent: nothing of one of ours, which stands in the run's family.
///
/// # Errors
/// [`Error::Invalid`] naming `field` when it is longer than [`MAX_PARENT`].
pub(crate) fn parent_text(field: &str, id: &str) -> Result<Option<Value>, Error> {
    if id.chars().count() > MAX_PARENT {
        return Err(Error::invalid(field, format!("a run's id has at most {MAX_PARENT} characters")));
    }
    Ok(RunId::parse(id).is_err().then(|| Value::from(id)))
}

/// Refuses metadata with a whole number that would come back as another.
///
/// # Errors
/// [`Error::Invalid`] naming the number.
pub(crate) fn check_numbers(field: &str, json: &str) -> Result<(), Error> {
    match unkept(json) {
        None => Ok(()),
        Some(number) => {
            let shown: String = number.chars().take(40).collect();
            Err(Error::invalid(
                field,
                format!("{shown} has more than 64 bits, and would be rounded: give it as a text"),
            ))
        }
    }
}

pub(super) fn metadata(json: Option<Json>) -> Result<Option<Value>, Error> {
    json.as_ref().map(|json| check_numbers("options.metadata", json.get())).transpose()?;
    let value = json.map(|json| json.value()).filter(|value| !value.is_null());
    if value.as_ref().is_some_and(|value| !value.is_object()) {
        return Err(Error::invalid("options.metadata", "give an object, like {\"customer\": 7}"));
    }
    let size = value.as_ref().map_or(0, |value| value.to_string().len());
    if size > MAX_METADATA_BYTES {
        return Err(Error::TooLarge(format!(
            "options.metadata: {size} bytes of JSON; the limit is {MAX_METADATA_BYTES} (32 KB)"
        )));
    }
    Ok(value)
}

/// A span (`"1h30m"`) or a date; one that is over already is not a delay.
pub(crate) fn delay_until(field: &str, value: &Value, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let moment = value
        .as_str()
        .and_then(|text| span::parse(text).map(|span| now.plus(span)).or_else(|| Timestamp::parse(text).ok()))
        .ok_or_else(|| {
            Error::invalid(field, "give a span like \"1h30m\" (w, d, h, m, s) or a date like \"2026-01-31T09:30:00Z\"")
        })?;
    if moment.since(now) > MAX_SPAN {
        return Err(Error::invalid(field, "is more than 365 days away"));
    }
    Ok((moment > now).then_some(moment))
}

/// A span or a number of seconds; zero is not a ttl.
pub(super) fn ttl_ms(value: &Value) -> Result<Option<u64>, Error> {
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
