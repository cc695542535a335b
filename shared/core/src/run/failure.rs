//! Why an attempt failed that another followed.

use std::time::Duration;

use oncekey_wire::{AttemptError, RunError};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;

/// Attempts whose errors are kept, so that one that is repeated for ever does not outgrow its item.
pub(crate) const KEPT_FAILURES: u32 = 20;

/// Why an attempt failed that another was to follow. Noted by the write that makes the move; stored as one JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Failure {
    /// The attempt that failed.
    pub attempt: u32,
    /// Why.
    pub error: AttemptError,
    /// When the next attempt was to start.
    pub retry_at: Timestamp,
}

/// A [`Failure`] as it is stored: some 100 bytes and the message.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "a")]
    attempt: u32,
    #[serde(rename = "n", skip_serializing_if = "Option::is_none", default)]
    name: Option<String>,
    #[serde(rename = "m")]
    message: String,
    #[serde(rename = "t")]
    retry_at: Timestamp,
}

impl Failure {
    /// Of an attempt that ended at `now`, `pause` before the next.
    pub(crate) fn of(attempt: u32, error: &RunError, now: Timestamp, pause: Duration) -> Self {
        Self { attempt, error: AttemptError::of(error), retry_at: now.plus(pause) }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        let Failure { attempt, error, retry_at } = failure;
        let stored = Stored { attempt, name: error.name, message: error.message, retry_at };
        serde_json::to_string(&stored).unwrap_or_default()
    }
}

impl TryFrom<String> for Failure {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let stored: Stored =
            serde_json::from_str(&text).map_err(|error| Error::unreadable("an attempt's failure", error))?;
        let error = AttemptError::new(stored.name, &stored.message);
        Ok(Self { attempt: stored.attempt, error, retry_at: stored.retry_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_failure_reads_back() {
        let error = RunError::new("Timeout", &"é".repeat(500));
        let failure = Failure::of(3, &error, at(5), Duration::from_secs(1));
        assert_eq!(failure.error.message.chars().count(), AttemptError::MAX_MESSAGE);
        assert_eq!(Failure::try_from(String::from(failure.clone())).ok(), Some(failure));
        assert!(Failure::try_from("x".to_owned()).is_err());
    }
}
