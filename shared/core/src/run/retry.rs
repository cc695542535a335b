//! When a failed attempt is tried again.

use std::time::Duration;

/// How often and how soon a task is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1. Default 3. A trigger's `maxAttempts` wins over it.
    pub max_attempts: u32,
    /// What each pause is multiplied by to give the next. Default 2.
    pub factor: f64,
    /// The first pause. Default 1 s.
    pub first_pause: Duration,
    /// The longest pause. Default 60 s.
    pub max_pause: Duration,
    /// Whether each pause is stretched by a random factor between 1 and 2, so that what failed together is not tried
    /// again together. The longest pause still holds. Default true.
    pub randomised: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            factor: 2.0,
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(60),
            randomised: true,
        }
    }
}

impl RetryPolicy {
    /// The pause after `attempt` (from 1) failed, or `None` when it was the last of `max_attempts`.
    #[must_use]
    pub fn pause_after(&self, attempt: u32, max_attempts: u32) -> Option<Duration> {
        if attempt >= max_attempts {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let stretch = if self.randomised { 1.0 + fastrand::f64() } else { 1.0 };
        let longest = self.max_pause.as_secs_f64();
        let pause = (self.first_pause.as_secs_f64() * self.factor.powi(exponent) * stretch).min(longest);
        Some(Duration::try_from_secs_f64(pause).unwrap_or(self.max_pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_the_factor_up_to_the_longest_and_end_with_the_last_attempt() {
        let policy = RetryPolicy { randomised: false, ..RetryPolicy::default() };
        let pauses: Vec<_> =
            (1..=8).filter_map(|attempt| policy.pause_after(attempt, 9)).map(|p| p.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(policy.pause_after(3, 3), None);
        assert_eq!(policy.pause_after(u32::MAX - 1, u32::MAX), Some(policy.max_pause));
    }

    #[test]
    fn a_randomised_pause_is_between_one_and_two_times_the_plain_one() {
        for _ in 0..100 {
            let pause = RetryPolicy::default().pause_after(2, 3).expect("a pause");
            assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&pause), "{pause:?}");
        }
    }
}
