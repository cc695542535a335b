//! Rates: how often attempts of a lane start.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use oncekey_wire::{MAX_CONCURRENCY, QueueLabel, RateLimit};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::span;

/// How late a slot is good, if slots are not further apart. Whoever comes later takes another, so that what was held up does not
/// start all at once.
const GRACE: Duration = Duration::from_secs(10);

/// Periods that a rate may have.
const PERIODS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 60 * 60);

/// So many starts in so long, of each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Starts in a period.
    pub limit: u32,
    /// The period, in milliseconds.
    pub period_ms: u64,
    /// How many of them may be at once.
    pub burst: u32,
}

impl Rate {
    /// That which code declares for a queue.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the queue.
    pub fn from_wire(queue: &QueueLabel, declared: &RateLimit) -> Result<Self, Error> {
        let refuse = |why: String| Error::invalid("rateLimit", format!("{queue}: {why}"));
        let RateLimit { limit, ref period, burst } = *declared;
        if !(1..=MAX_CONCURRENCY).contains(&limit) {
            return Err(refuse(format!(
                "limit: {limit} is out of range: give a whole number from 1 to {MAX_CONCURRENCY}"
            )));
        }
        let span = span::parse(period).filter(|span| PERIODS.contains(span));
        let span = span.ok_or_else(|| {
            refuse(format!("period: {period:?}: give a span of whole seconds like \"10s\" or \"1m\" (w, d, h, m, s), from 1s to 30d"))
        })?;
        let burst = burst.unwrap_or(1);
        if !(1..=limit).contains(&burst) {
            return Err(refuse(format!(
                "burst: {burst} is out of range: give a whole number from 1 to the limit, {limit}"
            )));
        }
        Ok(Self { limit, period_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX), burst })
    }

    /// As code would declare it.
    #[must_use]
    pub fn to_wire(self) -> RateLimit {
        let seconds = self.period_ms / 1_000;
        let units = [(24 * 60 * 60, 'd'), (60 * 60, 'h'), (60, 'm'), (1, 's')];
        let (unit, name) = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, 's'));
        let burst = Some(self.burst).filter(|burst| *burst > 1);
        RateLimit { limit: self.limit, period: format!("{}{name}", seconds / unit), burst }
    }

    /// How far slots are apart, in microseconds: rounded up, so that in no period there is one more.
    #[must_use]
    pub fn spacing(self) -> u64 {
        (self.period_ms * 1_000).div_ceil(u64::from(self.limit.max(1)))
    }

    /// How late a slot is good.
    fn grace(self) -> Duration {
        GRACE.max(Duration::from_micros(self.spacing()))
    }

    /// When the slot is due that brought the counter here, both in microseconds.
    #[must_use]
    pub fn due(self, counter: u64) -> u64 {
        counter.saturating_sub(self.spacing().saturating_mul(u64::from(self.burst.max(1))))
    }
}

/// A slot that an attempt has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot {
    /// The attempt.
    pub attempt: u32,
    /// When it may start; none once it has.
    pub due: Option<Timestamp>,
}

impl Slot {
    /// Whether a turn of this attempt may go on at `now` without another.
    #[must_use]
    pub fn is_good(self, attempt: u32, rate: Rate, now: Timestamp) -> bool {
        self.attempt == attempt && self.due.is_none_or(|due| now.since(due) <= rate.grace())
    }

    /// The same, as it was used.
    #[must_use]
    pub fn used(self) -> Self {
        Self { due: None, ..self }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.due {
            Some(due) => write!(f, "{}@{}", self.attempt, due.millis()),
            None => write!(f, "{}", self.attempt),
        }
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> Self {
        slot.to_string()
    }
}

impl TryFrom<String> for Slot {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let unreadable = || Error::unreadable("a slot of a rate", &text);
        let (attempt, due) = match text.split_once('@') {
            Some((attempt, due)) => (attempt, Some(due.parse().map_err(|_| unreadable())?)),
            None => (text.as_str(), None),
        };
        let attempt = attempt.parse().map_err(|_| unreadable())?;
        Ok(Self { attempt, due: due.map(Timestamp::from_millis) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_reads_back() {
        for slot in [Slot { attempt: 3, due: None }, Slot { attempt: 1, due: Some(Timestamp::from_millis(7)) }] {
            assert_eq!(Slot::try_from(slot.to_string()).ok(), Some(slot));
        }
        assert!(Slot::try_from("1@x".to_owned()).is_err() && Slot::try_from(String::new()).is_err());
    }

    #[test]
    fn slots_are_as_far_apart_as_keeps_a_period_to_its_limit() {
        let rate = |limit, period_ms, burst| Rate { limit, period_ms, burst };
        assert_eq!(rate(60, 60_000, 1).spacing(), 1_000_000);
        assert_eq!(rate(7, 1_000, 1).spacing(), 142_858);
        assert_eq!(rate(2, 90_000, 1).to_wire().period, "90s");
        assert_eq!(rate(2, 7_200_000, 1).to_wire().period, "2h");
        assert_eq!(rate(2, 1_000, 3).due(5_000_000), 3_500_000);
        let due = Timestamp::from_millis(0);
        let is_good = |rate, seconds| {
            Slot { attempt: 1, due: Some(due) }.is_good(1, rate, due.plus(Duration::from_secs(seconds)))
        };
        assert!(is_good(rate(60, 60_000, 1), 10) && !is_good(rate(60, 60_000, 1), 11));
        assert!(is_good(rate(1, 60_000, 1), 60) && !is_good(rate(1, 60_000, 1), 61));
    }
}
