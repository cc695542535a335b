//! Time as the protocol sees it: milliseconds since the Unix epoch, read from a [`Clock`] that tests can set.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A moment, in whole milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded up: what DynamoDB's native TTL takes, never early.
    pub const fn seconds_rounded_up(self) -> i64 {
        self.0.div_euclid(1000) + (self.0.rem_euclid(1000) != 0) as i64
    }

    /// The moment `duration` later; the largest representable one if that overflows.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an ISO 8601 date with time and offset, as JavaScript's `toISOString` writes it.
    ///
    /// # Errors
    /// The parser's own words when `text` is no such date.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_millisecond()))
    }
}

/// ISO 8601 in UTC with milliseconds, such as `2026-01-31T09:30:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// Where the time comes from. Clones share one time, so a test that moves it moves it everywhere.
#[derive(Clone, Debug)]
pub struct Clock {
    frozen_at: Option<Timestamp>,
    /// How far this clock has been moved, in milliseconds.
    moved: watch::Sender<i64>,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self { frozen_at: None, moved: watch::Sender::new(0) }
    }

    /// A clock that stands still at `at` until it is moved with [`Clock::advance`].
    pub fn frozen(at: Timestamp) -> Self {
        Self { frozen_at: Some(at), moved: watch::Sender::new(0) }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        let base = self.frozen_at.unwrap_or_else(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::default().plus(since_epoch)
        });
        Timestamp(base.0.saturating_add(*self.moved.borrow()))
    }

    /// Moves this clock and all its clones forward, waking whatever sleeps on them.
    pub fn advance(&self, by: Duration) {
        self.moved.send_modify(|moved| *moved = Timestamp(*moved).plus(by).millis());
    }

    /// Sleeps until `moment` has come on this clock.
    pub async fn sleep_until(&self, moment: Timestamp) {
        let mut moved = self.moved.subscribe();
        loop {
            let remaining = moment.since(self.now());
            if remaining.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(remaining) => {}
                _ = moved.changed() => {}
            }
        }
    }

    /// Sleeps for `duration` on this clock.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().plus(duration)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up_so_that_native_ttl_is_never_early() {
        assert_eq!(Timestamp::from_millis(1_000).seconds_rounded_up(), 1);
        assert_eq!(Timestamp::from_millis(1_001).seconds_rounded_up(), 2);
    }

    #[test]
    fn a_timestamp_reads_back_what_it_writes() {
        let moment = Timestamp::from_millis(1_790_000_000_120);
        assert_eq!(moment.to_string(), "2026-09-21T14:13:20.120Z");
        assert_eq!(Timestamp::parse(&moment.to_string()).ok(), Some(moment));
    }

    #[test]
    fn a_frozen_clock_moves_only_when_it_is_advanced() {
        let clock = Clock::frozen(Timestamp::from_millis(5));
        let clone = clock.clone();
        clock.advance(Duration::from_millis(7));
        assert_eq!(clone.now(), Timestamp::from_millis(12));
    }
}
