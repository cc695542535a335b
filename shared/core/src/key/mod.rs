//! Idempotency keys: what the caller gives, and the hash that stands for it.

pub mod source;
pub mod window;

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::ids::{RunId, TaskId};

/// How far a key reaches. Outside a task all three are one and the same (R10).
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Once per run of the parent, over all its attempts. The default.
    #[default]
    Run,
    /// Once per attempt of the parent.
    Attempt,
    /// Once, whoever triggers.
    Global,
}

/// The run and attempt inside which a key is made.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// The run that triggers.
    pub run: &'a RunId,
    /// Its present attempt, from 1.
    pub attempt: u32,
}

/// 64 lower-case hex characters: the sha256 that stands for a key everywhere below the door.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(String);

impl KeyHash {
    /// The longest key text accepted over HTTP, in characters (R06).
    pub const MAX_CHARACTERS: usize = 2048;

    /// The hash of a key made by this rule of the official client: its parts, then the parent's run id (scopes `run` and
    /// `attempt`), then its attempt (scope `attempt`), joined with `-`. Without a parent the scope changes nothing.
    pub fn of(parts: &[&str], scope: Scope, parent: Option<Parent<'_>>) -> Self {
        let mut text = parts.join("-");
        if let (Scope::Run | Scope::Attempt, Some(parent)) = (scope, parent) {
            text = format!("{text}-{}", parent.run);
            if scope == Scope::Attempt {
                text = format!("{text}-{}", parent.attempt);
            }
        }
        Self::of_text(&text)
    }

    /// Takes a key as it came over the wire: 64 lower-case hex characters are a hash already, any other text is hashed.
    ///
    /// # Errors
    /// [`Error::Invalid`] beyond [`KeyHash::MAX_CHARACTERS`].
    pub fn from_wire(field: &str, text: &str) -> Result<Self, Error> {
        if text.chars().count() > Self::MAX_CHARACTERS {
            return Err(Error::invalid(field, format!("a key has at most {} characters", Self::MAX_CHARACTERS)));
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(hex) {
            return Ok(Self(text.to_owned()));
        }
        Ok(Self::of_text(text))
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of_text(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(bytes)))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A group of tasks that share keys: whichever is triggered first with a key makes its run. 1 to 128 characters of
/// `A-Z a-z 0-9 _ . : / -`.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_.:/-]{1,128}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyGroup(String);

impl KeyGroup {
    /// Reads a group's name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match TaskId::parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => {
                Err(Error::invalid("idempotencyKeyGroup", "a group is 1 to 128 characters of A-Z a-z 0-9 _ . : / -"))
            }
        }
    }
}

impl TryFrom<String> for KeyGroup {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<KeyGroup> for String {
    fn from(group: KeyGroup) -> Self {
        group.0
    }
}

impl fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a key holds, within its environment (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace<'a> {
    /// In one task.
    Task(&'a TaskId),
    /// In a group of tasks.
    Group(&'a KeyGroup),
}

impl<'a> KeyPlace<'a> {
    /// The place that a caller names: a task or a group, and not both.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is neither or both.
    pub fn of(task: Option<&'a TaskId>, group: Option<&'a KeyGroup>) -> Result<Self, Error> {
        match (task, group) {
            (Some(task), None) => Ok(Self::Task(task)),
            (None, Some(group)) => Ok(Self::Group(group)),
            (None, None) => Err(Error::invalid("taskIdentifier", "say in which task the key holds")),
            (Some(_), Some(_)) => Err(Error::invalid(
                "idempotencyKeyGroup",
                "leave it out, or taskIdentifier: a key holds in one of them",
            )),
        }
    }
}

/// No task's name has an `@`, so a group is never taken for a task.
impl fmt::Display for KeyPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(f, "{task}"),
            Self::Group(group) => write!(f, "@{group}"),
        }
    }
}

/// What to show of a key of which the hash alone is sent.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Deserialize)]
pub struct KeyOptions {
    /// The caller's own text, of any length. What is beyond 2,048 characters is not kept.
    pub key: String,
    /// How far it reaches.
    pub scope: Scope,
}

/// A key as a trigger carries it: the hash that decides, and what a person should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// What the key is claimed under.
    pub hash: KeyHash,
    /// The caller's own text, if it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// The scope the caller chose, if it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<Scope>,
    /// The group of tasks in which it holds, instead of the task alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<KeyGroup>,
}

impl IdempotencyKey {
    /// Takes a key as it came over the wire: `text` is a hash or any text, and `options` say what to show of it. Every key
    /// that a caller gives comes in here.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `text` is longer than [`KeyHash::MAX_CHARACTERS`].
    pub fn from_wire(field: &str, text: &str, options: Option<&KeyOptions>) -> Result<Self, Error> {
        let hash = KeyHash::from_wire(field, text)?;
        let is_hash = hash.as_str() == text;
        Ok(Self { text: (!is_hash).then(|| text.to_owned()), ..Self::of_hash(hash) }.shown_as(options))
    }

    /// The same key, shown as `options` say, if there are any. The text decides nothing, so a long one is cut instead of refused.
    #[must_use]
    pub fn shown_as(self, options: Option<&KeyOptions>) -> Self {
        match options {
            Some(options) => Self { text: Some(cut(&options.key)), scope: Some(options.scope), ..self },
            None => self,
        }
    }

    /// A key of which the hash is all that is known.
    pub fn of_hash(hash: KeyHash) -> Self {
        Self { hash, text: None, scope: None, group: None }
    }

    /// Where it holds, given to a trigger of `task`.
    pub fn place<'a>(&'a self, task: &'a TaskId) -> KeyPlace<'a> {
        self.group.as_ref().map_or(KeyPlace::Task(task), KeyPlace::Group)
    }

    /// The key as it was sent: the text that is hashed, or the hash when only that was sent.
    pub fn sent(&self) -> &str {
        let hashed = |text: &&str| KeyHash::of_text(text) == self.hash;
        self.text.as_deref().filter(hashed).unwrap_or(self.hash.as_str())
    }

    /// What to show of this key: the caller's text, or the hash when only that was sent.
    pub fn shown(&self) -> &str {
        self.text.as_deref().unwrap_or(self.hash.as_str())
    }
}

/// At most [`KeyHash::MAX_CHARACTERS`] of a text, the last an ellipsis if there were more.
fn cut(text: &str) -> String {
    match text.char_indices().nth(KeyHash::MAX_CHARACTERS) {
        None => text.to_owned(),
        Some(_) => text.chars().take(KeyHash::MAX_CHARACTERS - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors made by the official client: see the `source` field in the file.
    const GOLDEN: &str = include_str!("../../../../tests/golden/idempotency-keys.json");

    #[test]
    fn r05_hashes_equal_the_official_clients() {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).expect("golden file");
        let vectors = golden["vectors"].as_array().expect("vectors");
        assert_eq!(vectors.len(), 256);
        for vector in vectors {
            let parts: Vec<&str> = match &vector["key"] {
                serde_json::Value::Array(parts) => parts.iter().filter_map(|part| part.as_str()).collect(),
                key => vec![key.as_str().expect("key")],
            };
            let scope = serde_json::from_value::<Option<Scope>>(vector["scope"].clone()).expect("scope");
            let hash = match vector["parentRunId"].as_str() {
                None => KeyHash::of(&parts, scope.unwrap_or_default(), None),
                Some(run) => {
                    // The vectors' run ids are shorter than ours.
                    let run = RunId::for_test(run);
                    let attempt = vector["attemptNumber"].as_u64().expect("attempt") as u32;
                    KeyHash::of(&parts, scope.unwrap_or_default(), Some(Parent { run: &run, attempt }))
                }
            };
            assert_eq!(hash.as_str(), vector["hash"].as_str().expect("hash"), "{vector}");
        }
    }

    #[test]
    fn r06_only_64_lower_case_hex_characters_are_taken_for_a_hash() {
        let hash = "a".repeat(64);
        assert_eq!(KeyHash::from_wire("key", &hash).expect("hash").as_str(), hash);
        for text in ["A".repeat(64), "g".repeat(64), "a".repeat(63)] {
            assert_ne!(KeyHash::from_wire("key", &text).expect("text").as_str(), text);
        }
    }

    #[test]
    fn r06_a_key_has_at_most_2048_characters() {
        assert!(KeyHash::from_wire("key", &"é".repeat(2048)).is_ok());
        let error = KeyHash::from_wire("options.idempotencyKey", &"a".repeat(2049)).expect_err("too long");
        assert_eq!(error.to_string(), "options.idempotencyKey: a key has at most 2048 characters");
    }

    #[test]
    fn a_shown_text_decides_nothing_and_is_cut_instead_of_refused() {
        let hash = "a".repeat(64);
        let shown = |text: &str| {
            let options = KeyOptions { key: text.to_owned(), scope: Scope::Global };
            IdempotencyKey::from_wire("key", &hash, Some(&options)).expect("a key")
        };
        assert_eq!(shown("mine").shown(), "mine");
        assert_eq!(shown("mine").hash.as_str(), hash);
        assert_eq!(shown(&"é".repeat(2048)).shown(), "é".repeat(2048));
        assert_eq!(shown(&"é".repeat(500_000)).shown(), format!("{}…", "é".repeat(2047)));
    }
}
