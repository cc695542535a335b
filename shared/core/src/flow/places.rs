//! Places: who executes in a lane, and who is parked there.

use std::collections::BTreeMap;
use std::fmt;

use oncekey_wire::RunId;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::name::QueueName;
use crate::run::Run;
use crate::run::turn::Turn;

/// Who has a place: one turn of a run, so that whoever is late with the end of an earlier one frees none of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Holder {
    /// The run.
    pub run: RunId,
    /// Its turn.
    pub turn: Turn,
}

impl Holder {
    /// The present turn of a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self { run: run.id.clone(), turn: run.turn }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.run, self.turn.attempt, self.turn.resume)
    }
}

impl From<Holder> for String {
    fn from(holder: Holder) -> Self {
        holder.to_string()
    }
}

impl TryFrom<String> for Holder {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let unreadable = || Error::unreadable("a holder of a place", &text);
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or_else(unreadable);
        let run = RunId::parse(next()?).map_err(|_| unreadable())?;
        let mut number = || next()?.parse().map_err(|_| unreadable());
        Ok(Self { run, turn: Turn { attempt: number()?, resume: number()? } })
    }
}

/// Who gives places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Who handles the end of this turn, or any message of it.
    Turn(Holder),
    /// Who handles this message of the change of a setting that has this generation.
    Change(u64, u32),
    /// Who looks of itself.
    Sweep,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn(holder) => write!(f, "{holder}"),
            Self::Change(generation, message) => write!(f, "change/{generation}/{message}"),
            Self::Sweep => f.write_str("sweep"),
        }
    }
}

/// A place that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Until when: the end of its lease, or of its reservation. Others may take it from then on.
    pub until: Timestamp,
    /// Who gave it, until the run takes it up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// The queue that carries the message of that, and the order in which the run was parked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parked: Option<(QueueName, String)>,
}

impl Place {
    /// Whether it is not over.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.until > now
    }
}

/// The places of a lane that are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// By who has them.
    #[serde(default)]
    pub holders: BTreeMap<Holder, Place>,
}

impl Places {
    /// Those that are over, but for that of `own`.
    pub fn over<'a>(
        &'a self,
        own: Option<&'a Holder>,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a Holder, &'a Place)> {
        self.holders.iter().filter(move |(holder, place)| Some(*holder) != own && !place.is_live(now))
    }

    /// Whether this turn has one that is not over.
    #[must_use]
    pub fn has(&self, holder: &Holder, now: Timestamp) -> bool {
        self.holders.get(holder).is_some_and(|place| place.is_live(now))
    }

    /// How many were given, and are not taken up yet.
    #[must_use]
    pub fn reserved(&self, now: Timestamp) -> usize {
        self.holders.values().filter(|place| place.from.is_some() && place.is_live(now)).count()
    }

    /// How many are live without that of `own`.
    #[must_use]
    pub fn live_without(&self, own: Option<&Holder>, now: Timestamp) -> usize {
        self.holders.iter().filter(|(holder, place)| Some(*holder) != own && place.is_live(now)).count()
    }
}

/// A run that is parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Which turn of it is to start.
    pub holder: Holder,
    /// The queue that carries its messages.
    pub queue: QueueName,
    /// Since when.
    pub since: Timestamp,
}

impl Parked {
    /// The present turn of a run, parked.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self { holder: Holder::of(run), queue: run.spec.queue.clone(), since: run.updated_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_reads_back() {
        let run = RunId::parse(&format!("run_{}", "a".repeat(32))).expect("a run");
        let holder = Holder { run, turn: Turn { attempt: 2, resume: 7 } };
        assert_eq!(Holder::try_from(holder.to_string()).ok(), Some(holder));
        assert!(Holder::try_from("run_x/1".to_owned()).is_err());
    }
}
