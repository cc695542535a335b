//! Which turn of a run is meant: the attempt, and how often it had been resumed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One stretch of a run under one worker. Turns are ordered as a run goes through them: each has an attempt or a resume
/// more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// The attempt, from 1.
    pub attempt: u32,
    /// Resumes so far, over all attempts.
    pub resume: u32,
}

impl Turn {
    /// The first of every run.
    pub const FIRST: Self = Self { attempt: 1, resume: 0 };

    /// The turn that follows a failed attempt which is tried again.
    #[must_use]
    pub fn next_attempt(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }

    /// The turn that follows when it is woken or parked.
    #[must_use]
    pub fn next_resume(self) -> Self {
        Self { resume: self.resume.saturating_add(1), ..self }
    }

    /// How many came before it.
    pub(crate) fn ordinal(self) -> u32 {
        self.attempt.saturating_sub(1).saturating_add(self.resume)
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}, resume {}", self.attempt, self.resume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_ordered_as_a_run_goes_through_them() {
        let resumed = Turn { resume: 1, ..Turn::FIRST };
        assert!(Turn::FIRST < resumed && resumed < resumed.next_attempt());
        assert_eq!(resumed.next_attempt(), Turn { attempt: 2, resume: 1 });
        assert_eq!(resumed.next_attempt().ordinal(), 2);
    }
}
