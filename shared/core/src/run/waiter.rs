//! Whom a run wakes when it ends.

use oncekey_wire::RunId;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// One wait of one run: what a child knows of whom to wake. Stored as `run#attempt#call`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Waiter {
    /// The run that waits.
    pub run: RunId,
    /// The attempt that waits.
    pub attempt: u32,
    /// The number of the call that waits, within the attempt.
    pub call: u32,
}

impl Waiter {
    /// Reads what [`Waiter::fmt`](std::fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (run, wait) = text.split_once('#')?;
        let Wait { attempt, call } = Wait::parse(wait)?;
        Some(Self { run: RunId::parse(run).ok()?, attempt, call })
    }

    /// The wait within its run.
    #[must_use]
    pub fn wait(&self) -> Wait {
        Wait { attempt: self.attempt, call: self.call }
    }
}

/// A wait within its run. Stored as `attempt#call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Wait {
    /// The attempt that waits.
    pub attempt: u32,
    /// The number of the call that waits, within the attempt.
    pub call: u32,
}

impl Wait {
    fn parse(text: &str) -> Option<Self> {
        let (attempt, call) = text.split_once('#')?;
        Some(Self { attempt: attempt.parse().ok()?, call: call.parse().ok()? })
    }

    /// Whom an end of this wait of `run` wakes.
    #[must_use]
    pub fn of(self, run: &RunId) -> Waiter {
        Waiter { run: run.clone(), attempt: self.attempt, call: self.call }
    }
}

impl TryFrom<String> for Wait {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        // Older versions wrote the waiter, whole.
        let wait = Self::parse(&text).or_else(|| Waiter::parse(&text).map(|waiter| waiter.wait()));
        wait.ok_or_else(|| Error::unreadable("a wait", &text))
    }
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.attempt, self.call)
    }
}

impl TryFrom<String> for Waiter {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text).ok_or_else(|| Error::unreadable("a waiter", &text))
    }
}

impl From<Waiter> for String {
    fn from(waiter: Waiter) -> Self {
        waiter.to_string()
    }
}

impl std::fmt::Display for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.run, self.wait())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_that_cannot_be_read_is_an_error_and_not_silence() {
        let run = format!("run_{}", "a".repeat(32));
        let waiter = Waiter::try_from(format!("{run}#1#2")).expect("a waiter");
        assert_eq!(String::from(waiter), format!("{run}#1#2"));
        for text in ["", "run_1#1#2", &format!("{run}#1"), &format!("{run}#1#2#3"), &format!("{run}#-1#2")] {
            let error = Waiter::try_from(text.to_owned()).expect_err(text);
            assert!(matches!(error, Error::Unreadable { .. }), "{error}");
        }
    }

    #[test]
    fn a_wait_is_read_as_this_version_writes_it_and_as_older_ones_did() {
        let run = format!("run_{}", "a".repeat(32));
        for text in ["3#14".to_owned(), format!("{run}#3#14")] {
            let wait = Wait::try_from(text).expect("a wait");
            assert_eq!(wait, Wait { attempt: 3, call: 14 });
            assert_eq!(wait.to_string(), "3#14");
        }
        for text in ["", "3", "3#", "3#14#15", "run_1#3#14"] {
            let error = Wait::try_from(text.to_owned()).expect_err(text);
            assert!(matches!(error, Error::Unreadable { .. }), "{error}");
        }
    }
}
