//! What SQS refuses of a message and of a batch, in its words.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// The largest message, with its attributes, and the largest batch: 1 MiB.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The largest request that is read: each character of a batch may be escaped.
pub(crate) const MAX_REQUEST_BYTES: usize = 12 * MAX_MESSAGE_BYTES;
const MAX_ATTRIBUTES: usize = 10;
/// The longest name of an attribute, and of its type.
const MAX_NAME: usize = 256;
const MAX_ENTRIES: usize = 10;
const MAX_ENTRY_ID: usize = 80;

/// A message to be sent, alone or as an entry of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Outgoing {
    /// Of an entry.
    #[serde(default)]
    pub id: String,
    pub message_body: String,
    #[serde(default)]
    pub message_attributes: BTreeMap<String, Attribute>,
    #[serde(default)]
    pub delay_seconds: Option<i64>,
}

/// An attribute that the sender gives a message.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attribute {
    data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

impl Attribute {
    fn bytes(&self) -> usize {
        let binary = self.binary_value.as_ref().map_or(0, |value| value.trim_end_matches('=').len() * 3 / 4);
        self.data_type.len() + self.string_value.as_ref().map_or(binary, String::len)
    }
}

impl Outgoing {
    /// How large SQS counts it.
    fn bytes(&self) -> usize {
        let attributes = self.message_attributes.iter();
        self.message_body.len() + attributes.map(|(name, attribute)| name.len() + attribute.bytes()).sum::<usize>()
    }
}

/// An entry of a batch.
pub(super) trait Entry {
    /// What the sender calls it.
    fn id(&self) -> &str;
}

impl Entry for Outgoing {
    fn id(&self) -> &str {
        &self.id
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::sender("InvalidParameterValue", message)
}

/// A number that may be given, within these bounds.
pub(super) fn within(value: Option<i64>, bounds: RangeInclusive<i64>, field: &str) -> Result<Option<i64>, Fault> {
    match value {
        Some(given) if !bounds.contains(&given) => {
            let (least, most) = bounds.into_inner();
            let reason = format!("Must be between {least} and {most}, if provided.");
            Err(invalid(format!("Value {given} for parameter {field} is invalid. Reason: {reason}")))
        }
        value => Ok(value),
    }
}

pub(super) fn check_message(message: &Outgoing) -> Result<(), Fault> {
    if message.message_body.is_empty() {
        return Err(Fault::missing("MessageBody"));
    }
    check_characters(&message.message_body)?;
    let count = message.message_attributes.len();
    if count > MAX_ATTRIBUTES {
        let most = MAX_ATTRIBUTES;
        return Err(invalid(format!("Number of message attributes [{count}] exceeds the allowed maximum [{most}].")));
    }
    message.message_attributes.iter().try_for_each(|(name, attribute)| check_attribute(name, attribute))?;
    if message.bytes() > MAX_MESSAGE_BYTES {
        let reason = format!("Message must be shorter than {MAX_MESSAGE_BYTES} bytes.");
        return Err(invalid(format!("One or more parameters are invalid. Reason: {reason}")));
    }
    Ok(())
}

/// XML's characters.
fn check_characters(text: &str) -> Result<(), Fault> {
    let allowed = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    if text.chars().all(allowed) {
        return Ok(());
    }
    let valid = "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Err(Fault::sender(
        "InvalidMessageContents",
        format!("Invalid characters found. Valid unicode characters are {valid}"),
    ))
}

fn check_attribute(name: &str, attribute: &Attribute) -> Result<(), Fault> {
    let of = |what: &str| Err(invalid(format!("Message (user) attribute '{name}' {what}")));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(fits) {
        return of("must have a name of 1 to 256 characters of A-Z a-z 0-9 _ - .");
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return of("has a name that is reserved.");
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return of("has a name that begins or ends with a period, or has two in succession.");
    }
    let kind = attribute.data_type.split('.').next().unwrap_or_default();
    if attribute.data_type.len() > MAX_NAME || !matches!(kind, "String" | "Number" | "Binary") {
        return of("must have a type of String, Number or Binary.");
    }
    let value = if kind == "Binary" { &attribute.binary_value } else { &attribute.string_value };
    match value {
        Some(value) if !value.is_empty() => check_characters(value),
        _ => of(&format!("must contain a non-empty value of type '{}'.", attribute.data_type)),
    }
}

/// Checks how many entries there are, and what they are called. `kind` is what SQS calls them.
pub(super) fn check_batch<T: Entry>(entries: &[T], kind: &str) -> Result<(), Fault> {
    let count = entries.len();
    if count == 0 {
        return Err(Fault::sender("EmptyBatchRequest", format!("There should be at least one {kind} in the request.")));
    }
    if count > MAX_ENTRIES {
        let message = format!("Maximum number of entries per request are {MAX_ENTRIES}. You have sent {count}.");
        return Err(Fault::sender("TooManyEntriesInBatchRequest", message));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let named = |id: &str| (1..=MAX_ENTRY_ID).contains(&id.len()) && id.chars().all(fits);
    if !entries.iter().all(|entry| named(entry.id())) {
        let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most \
                       80 letters long.";
        return Err(Fault::sender("InvalidBatchEntryId", message));
    }
    let mut seen = HashSet::new();
    match entries.iter().find(|entry| !seen.insert(entry.id())) {
        Some(repeated) => Err(Fault::sender("BatchEntryIdsNotDistinct", format!("Id {} repeated.", repeated.id()))),
        None => Ok(()),
    }
}

/// Checks how large the messages of a batch are together.
pub(super) fn check_total(messages: &[Outgoing]) -> Result<(), Fault> {
    let total: usize = messages.iter().map(Outgoing::bytes).sum();
    if total <= MAX_MESSAGE_BYTES {
        return Ok(());
    }
    let message =
        format!("Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent {total} bytes.");
    Err(Fault::sender("BatchRequestTooLong", message))
}
