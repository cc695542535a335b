//! The hash that stands for an idempotency key, and what it is made of.

use std::borrow::Borrow;
use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Invalid;
use crate::ids::TaskId;

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

impl Scope {
    /// The wire's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Attempt => "attempt",
            Self::Global => "global",
        }
    }
}

/// The name on the wire.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The run and attempt inside which a key is made.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// The run that triggers.
    pub run: &'a str,
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
    pub fn of(parts: &[impl Borrow<str>], scope: Scope, parent: Option<Parent<'_>>) -> Self {
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
    /// [`Invalid`] beyond [`KeyHash::MAX_CHARACTERS`].
    pub fn from_wire(field: &str, text: &str) -> Result<Self, Invalid> {
        if text.chars().count() > Self::MAX_CHARACTERS {
            return Err(Invalid::new(field, format!("a key has at most {} characters", Self::MAX_CHARACTERS)));
        }
        Ok(Self::parse(text).unwrap_or_else(|| Self::of_text(text)))
    }

    /// The hash that a text of 64 lower-case hex characters is already.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 64 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash of a text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    /// The hash of any bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
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
    /// [`Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match TaskId::parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => {
                Err(Invalid::new("idempotencyKeyGroup", "a group is 1 to 128 characters of A-Z a-z 0-9 _ . : / -"))
            }
        }
    }
}

impl TryFrom<String> for KeyGroup {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
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

/// What to show of a key of which the hash alone is sent.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyOptions {
    /// The caller's own text, of any length. What is beyond 2,048 characters is not kept.
    pub key: String,
    /// How far it reaches.
    pub scope: Scope,
}

impl KeyOptions {
    /// A text that reaches so far.
    #[must_use]
    pub fn new(key: String, scope: Scope) -> Self {
        Self { key, scope }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors made by the official client: see the `source` field in the file.
    const GOLDEN: &str = include_str!("../../../tests/golden/idempotency-keys.json");

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
                    let attempt = vector["attemptNumber"].as_u64().expect("attempt") as u32;
                    KeyHash::of(&parts, scope.unwrap_or_default(), Some(Parent { run, attempt }))
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
}
