//! What a queue for runs is called.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a queue that carries runs, as triggers give it: 1 to 40 characters of `A-Z a-z 0-9 _ -`, since it is the
/// end of an SQS queue's name, which may have 80. `dead` is none: dead letters have a queue of that name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(String);

impl QueueName {
    /// What a name must be, in words.
    pub const SHAPE: &'static str = "1 to 40 characters of A-Z a-z 0-9 _ -, and not \"dead\"";

    /// Reads a name; `None` for what is not [`QueueName::SHAPE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_name = (1..=40).contains(&text.len()) && text.chars().all(fits) && text != "dead";
        is_name.then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `default`: the queue that is always there, and that a run takes when its trigger and its task name none.
impl Default for QueueName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for QueueName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> Self {
        name.0
    }
}

impl TryFrom<String> for QueueName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} names no queue: give {}", Self::SHAPE))
    }
}

impl FromStr for QueueName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

/// A queue for runs, as whoever sets a stack up asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// What it is called.
    pub name: QueueName,
    /// Invocations of the worker at a time that it feeds; the stack's own number if absent.
    pub concurrency: Option<usize>,
}

impl Queue {
    /// A queue with the stack's own concurrency.
    #[must_use]
    pub fn new(name: QueueName) -> Self {
        Self { name, concurrency: None }
    }
}

/// `mail`, or `mail:3` with a concurrency of its own.
impl FromStr for Queue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, concurrency) = match text.split_once(':') {
            None => (text, None),
            Some((name, number)) => match number.parse() {
                Ok(number @ 1..=1_000) => (name, Some(number)),
                _ => return Err(format!("{number:?} is not a concurrency: give a whole number from 1 to 1000")),
            },
        };
        Ok(Self { name: name.parse()?, concurrency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_a_name_with_or_without_a_concurrency() {
        let queue = |text: &str| text.parse::<Queue>();
        assert_eq!(queue("mail"), Ok(Queue::new(QueueName("mail".to_owned()))));
        assert_eq!(queue("mail:3").map(|queue| queue.concurrency), Ok(Some(3)));
        for wrong in ["", "dead", "a b", "a:0", "a:1001", "a:x", ":3", &"a".repeat(41)] {
            assert!(queue(wrong).is_err(), "{wrong}");
        }
    }
}
