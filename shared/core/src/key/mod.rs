//! Idempotency keys: what the caller gives, and where it holds. The hash that stands for one is in `oncekey-wire`.

pub mod source;
pub mod window;

use std::fmt;

use oncekey_wire::TaskId;
use serde::{Deserialize, Serialize};

pub use oncekey_wire::{KeyGroup, KeyHash, KeyOptions, KeyRelease, Parent, Scope};

use crate::error::Error;

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
        Ok(Self { text: (!is_hash).then(|| text.to_owned()), ..Self::of_hash(hash) }.displayed_as(options))
    }

    /// The same key, shown as `options` say, if there are any. The text decides nothing, so a long one is cut instead of refused.
    #[must_use]
    pub fn displayed_as(self, options: Option<&KeyOptions>) -> Self {
        match options {
            Some(options) => Self { text: Some(cut(&options.key)), scope: Some(options.scope), ..self },
            None => self,
        }
    }

    /// A key of which the hash is all that is known.
    #[must_use]
    pub fn of_hash(hash: KeyHash) -> Self {
        Self { hash, text: None, scope: None, group: None }
    }

    /// Where it holds, given to a trigger of `task`.
    pub fn place<'a>(&'a self, task: &'a TaskId) -> KeyPlace<'a> {
        self.group.as_ref().map_or(KeyPlace::Task(task), KeyPlace::Group)
    }

    /// What to show of this key: the caller's text, or the hash when only that was sent.
    #[must_use]
    pub fn display_text(&self) -> &str {
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

    #[test]
    fn a_shown_text_decides_nothing_and_is_cut_instead_of_refused() {
        let hash = "a".repeat(64);
        let shown = |text: &str| {
            let options = KeyOptions::new(text.to_owned(), Scope::Global);
            IdempotencyKey::from_wire("key", &hash, Some(&options)).expect("a key")
        };
        assert_eq!(shown("mine").display_text(), "mine");
        assert_eq!(shown("mine").hash.as_str(), hash);
        assert_eq!(shown(&"é".repeat(2048)).display_text(), "é".repeat(2048));
        assert_eq!(shown(&"é".repeat(500_000)).display_text(), format!("{}…", "é".repeat(2047)));
    }
}
