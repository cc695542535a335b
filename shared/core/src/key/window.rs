//! The window: how long a key stays claimed (R20–R23).

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::span;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a key stays claimed after its first trigger: 1 second to 365 days, 30 days by default (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(Duration);

impl Default for Window {
    fn default() -> Self {
        Self(30 * DAY)
    }
}

impl Window {
    /// The longest window: 365 days.
    pub const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Reads `idempotencyKeyTTL`: one whole number and one of `s`, `m`, `h`, `d`.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the four units, for anything else, for zero, and beyond [`Window::MAX`].
    pub fn from_wire(field: &str, text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            let shown: String = text.chars().take(40).collect();
            Error::invalid(
                field,
                format!("{shown:?} {why}: give a whole number and s, m, h or d, like \"30d\", from 1s to 365d"),
            )
        };
        let duration = span::parse_single(text).ok_or_else(|| refuse("is not a duration"))?;
        if duration.is_zero() {
            return Err(refuse("is zero"));
        }
        if duration > Self::MAX {
            return Err(refuse("is more than a year"));
        }
        Ok(Self(duration))
    }

    /// When a window that opens at `start` ends. The key is held before that moment and free from it on (I5).
    #[must_use]
    pub fn end(self, start: Timestamp) -> Timestamp {
        start.plus(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_the_default_is_30_days() {
        assert_eq!(Window::default(), Window(Duration::from_secs(30 * 86_400)));
    }

    #[test]
    fn r20_four_units_are_read_and_all_else_is_refused_by_naming_them() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("2h", 7_200), ("3d", 259_200), ("365d", 31_536_000)] {
            assert_eq!(
                Window::from_wire("idempotencyKeyTTL", text).ok(),
                Some(Window(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        for text in ["", "0s", "366d", "10x", "1w", "1h30m", "-5s", "5", "5 minutes", "99999999999999999999d"] {
            let error = Window::from_wire("idempotencyKeyTTL", text).expect_err(text).to_string();
            assert!(error.contains("s, m, h or d"), "{error}");
        }
    }
}
