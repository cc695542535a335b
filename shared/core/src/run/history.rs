//! What a run went through, moment by moment, for people to look at. Nothing is decided by it.
//!
//! A moment is noted by the very write that makes the move, so it costs none of its own: some 17 bytes of the run's item.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::status::Event;

/// Attempts and resumes up to which moments are noted, so that a run that waits for ever does not outgrow its item.
pub(crate) const NOTED: u32 = 100;

/// A kind of moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A worker took the run up: an attempt began, or went on after a wait.
    Started,
    /// The run gave up its worker to wait.
    Suspended,
    /// The attempt failed or crashed, and another was to follow.
    Retried,
}

impl Happening {
    /// What is noted of an event; the first and the last moment of a run are known anyway.
    pub(crate) fn of(event: Event) -> Option<Self> {
        match event {
            Event::Start => Some(Self::Started),
            Event::Suspend => Some(Self::Suspended),
            Event::Retry => Some(Self::Retried),
            Event::Succeed
            | Event::Fail
            | Event::Crash
            | Event::SystemFailure
            | Event::Expire
            | Event::TimeOut
            | Event::Wake
            | Event::Park
            | Event::Cancel
            | Event::Reschedule => None,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Started => 's',
            Self::Suspended => 'w',
            Self::Retried => 'r',
        }
    }
}

/// Something that happened to a run. Stored as a letter and milliseconds: `s1790000000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment {
    /// What.
    pub what: Happening,
    /// When.
    pub at: Timestamp,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.what.letter(), self.at.millis())
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let unreadable = || Error::unreadable("a moment of a run", &text);
        let mut characters = text.chars();
        let letter = characters.next().ok_or_else(unreadable)?;
        let all = [Happening::Started, Happening::Suspended, Happening::Retried];
        let what = all.into_iter().find(|what| what.letter() == letter).ok_or_else(unreadable)?;
        let at = characters.as_str().parse().map_err(|_| unreadable())?;
        Ok(Self { what, at: Timestamp::from_millis(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back() {
        for what in [Happening::Started, Happening::Suspended, Happening::Retried] {
            let moment = Moment { what, at: Timestamp::from_millis(1_790_000_000_000) };
            assert_eq!(Moment::try_from(String::from(moment)).ok(), Some(moment));
        }
        for text in ["", "s", "x1", "s1.5"] {
            assert!(Moment::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
