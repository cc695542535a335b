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
        let mut parts = text.split('#');
        let waiter = Self {
            run: RunId::parse(parts.next()?).ok()?,
            attempt: parts.next()?.parse().ok()?,
            call: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(waiter)
    }

    /// The wait within its run: `attempt#call`.
    #[must_use]
    pub fn wait(&self) -> String {
        format!("{}#{}", self.attempt, self.call)
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
        write!(f, "{}#{}#{}", self.run, self.attempt, self.call)
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
}
