//! Whom a run wakes when it ends.

use crate::ids::RunId;

/// One wait of one run: what a child knows of whom to wake.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('#');
        let waiter = Self {
            run: RunId::parse(parts.next()?).ok()?,
            attempt: parts.next()?.parse().ok()?,
            call: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(waiter)
    }
}

impl std::fmt::Display for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}#{}", self.run, self.attempt, self.call)
    }
}
