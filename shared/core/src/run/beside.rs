//! Where a text of a run's is kept: in the run's own item, or in an item beside it that is named by what it holds.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// What stands beside a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What it was given.
    Payload,
    /// What it returned.
    Output,
    /// Its caller's own data about it.
    Metadata,
}

impl Part {
    const ALL: [Self; 3] = [Self::Payload, Self::Output, Self::Metadata];

    fn prefix(self) -> &'static str {
        match self {
            Self::Payload => "payload#",
            Self::Output => "output#",
            Self::Metadata => "metadata#",
        }
    }
}

/// Bytes of sha256 that name a content among those of one run.
const HASHED: usize = 18;

/// The name of an item beside a run, by its content: two who make the same run write the same under it, or write elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Beside(String);

impl Beside {
    /// The name that this text gets.
    pub(crate) fn of_content(part: Part, text: &str) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        Self(format!("{}{}", part.prefix(), BASE64URL_NOPAD.encode(hash.get(..HASHED).unwrap_or_default())))
    }

    /// The name as text, which is the item's sort key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Beside {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        let hash = Part::ALL.into_iter().find_map(|part| name.strip_prefix(part.prefix()));
        let is_hash = |hash: &[u8]| BASE64URL_NOPAD.decode(hash).is_ok_and(|bytes| bytes.len() == HASHED);
        if hash.is_some_and(|hash| is_hash(hash.as_bytes())) {
            return Ok(Self(name));
        }
        Err(Error::unreadable("the name of what stands beside a run", format!("{name:?} is none of ours")))
    }
}

impl From<Beside> for String {
    fn from(name: Beside) -> Self {
        name.0
    }
}

/// A text that a run keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kept {
    /// It stands in the run's own item.
    Inline(String),
    /// It stands beside that, under this name. Older versions refuse this, so none takes a run to be without.
    Beside {
        /// The name.
        beside: Beside,
    },
}

impl Kept {
    /// The text, if it stands in the run's own item.
    #[must_use]
    pub fn inline(&self) -> Option<&str> {
        match self {
            Self::Inline(text) => Some(text),
            Self::Beside { .. } => None,
        }
    }

    /// The name, if it stands beside that.
    #[must_use]
    pub fn beside(&self) -> Option<&Beside> {
        match self {
            Self::Inline(_) => None,
            Self::Beside { beside } => Some(beside),
        }
    }
}

impl From<Beside> for Kept {
    fn from(beside: Beside) -> Self {
        Self::Beside { beside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_contents_and_parts_apart_and_is_read_again() {
        let name = Beside::of_content(Part::Payload, "a");
        assert_eq!(name, Beside::of_content(Part::Payload, "a"));
        assert_ne!(name, Beside::of_content(Part::Payload, "b"));
        assert_ne!(name, Beside::of_content(Part::Output, "a"));
        for kept in [Kept::Inline("{\"beside\":1}".to_owned()), Kept::from(name)] {
            let text = serde_json::to_string(&kept).expect("text");
            assert_eq!(serde_json::from_str::<Kept>(&text).expect("what was written"), kept);
        }
        for other in ["run", "payload#", "payload#a", "step#abcdefghijklmnopqrstuvwx", "wait#1#1"] {
            assert!(Beside::try_from(other.to_owned()).is_err(), "{other}");
        }
    }
}
