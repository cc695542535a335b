//! Values out of lists that may grow.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value out of a list that a newer server may have lengthened: a client that does not know it reads the rest of the
/// answer all the same. So the lists themselves can be matched without a rest by those who make the values.
///
/// ```
/// # use oncekey_wire::{Reported, RunStatus};
/// let known: Reported<RunStatus> = serde_json::from_str("\"COMPLETED\"")?;
/// assert_eq!(known, RunStatus::Completed);
/// let newer: Reported<RunStatus> = serde_json::from_str("\"PAUSED\"")?;
/// assert_eq!((newer.known(), newer.to_string().as_str()), (None, "PAUSED"));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reported<T> {
    /// One that this version knows.
    Known(T),
    /// Another, by its name on the wire.
    Unknown(String),
}

impl<T: Copy> Reported<T> {
    /// The value, if this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Reported<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Reported<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(value) if value == other)
    }
}

/// The name on the wire.
impl<T: fmt::Display> fmt::Display for Reported<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Unknown(name) => f.write_str(name),
        }
    }
}
