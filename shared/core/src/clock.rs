//! Time as the protocol sees it: read from a [`Clock`] that tests can set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use oncekey_wire::Timestamp;
use tokio::sync::watch;

/// How far the clocks of two functions are apart, at most.
pub const CLOCKS_APART: Duration = Duration::from_secs(10);

/// Where the time comes from. Clones share one time, so a test that moves it moves it everywhere.
#[derive(Clone, Debug)]
pub struct Clock {
    frozen_at: Option<Timestamp>,
    /// How far this clock has been moved, in milliseconds.
    moved: watch::Sender<i64>,
    /// How far it is ahead of the others that share its time, in milliseconds.
    ahead: i64,
}

impl Clock {
    /// The machine's own clock.
    #[must_use]
    pub fn system() -> Self {
        Self { frozen_at: None, moved: watch::Sender::new(0), ahead: 0 }
    }

    /// A clock that stands still at `at` until it is moved with [`Clock::advance`].
    #[must_use]
    pub fn frozen(at: Timestamp) -> Self {
        Self { frozen_at: Some(at), moved: watch::Sender::new(0), ahead: 0 }
    }

    /// This clock as another machine has it, which is so many milliseconds ahead, or behind if that is less than zero. The two
    /// are moved together.
    #[must_use]
    pub fn ahead_by(&self, millis: i64) -> Self {
        Self { ahead: self.ahead.saturating_add(millis), ..self.clone() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let base = self.frozen_at.unwrap_or_else(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::default().plus(since_epoch)
        });
        Timestamp::from_millis(base.millis().saturating_add(*self.moved.borrow()).saturating_add(self.ahead))
    }

    /// Moves this clock and all its clones forward, waking whatever sleeps on them.
    pub fn advance(&self, by: Duration) {
        self.moved.send_modify(|moved| *moved = Timestamp::from_millis(*moved).plus(by).millis());
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
    fn a_frozen_clock_moves_only_when_it_is_advanced() {
        let clock = Clock::frozen(Timestamp::from_millis(5));
        let clone = clock.clone();
        clock.advance(Duration::from_millis(7));
        assert_eq!(clone.now(), Timestamp::from_millis(12));
    }

    #[test]
    fn clocks_that_differ_are_moved_together() {
        let clock = Clock::frozen(Timestamp::from_millis(5));
        let behind = clock.ahead_by(-3);
        clock.advance(Duration::from_millis(7));
        assert_eq!(behind.now(), Timestamp::from_millis(9));
    }
}
