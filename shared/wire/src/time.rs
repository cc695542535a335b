//! Moments.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::Invalid;

/// A moment, in whole milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded up: what DynamoDB's native TTL takes, never early.
    #[must_use]
    pub const fn seconds_rounded_up(self) -> i64 {
        self.0.div_euclid(1000) + (self.0.rem_euclid(1000) != 0) as i64
    }

    /// The moment `duration` later; the largest representable one if that overflows.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an ISO 8601 date with time and offset, as JavaScript's `toISOString` writes it.
    ///
    /// # Errors
    /// [`Invalid`] with the parser's words when `text` is not such a date.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Ok(Self(moment.as_millisecond())),
            Err(error) => Err(Invalid::new("date", error.to_string())),
        }
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

impl From<Timestamp> for SystemTime {
    fn from(moment: Timestamp) -> Self {
        let size = Duration::from_millis(moment.0.unsigned_abs());
        if moment.0 < 0 { UNIX_EPOCH - size } else { UNIX_EPOCH + size }
    }
}

/// A moment as the API writes it: an ISO 8601 date.
pub(crate) mod iso {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Timestamp;

    pub(crate) fn serialize<S: Serializer>(moment: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(moment)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        Timestamp::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// One that may be left out.
    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Serializer, Timestamp};

        pub(crate) fn serialize<S: Serializer>(moment: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
            match moment {
                Some(moment) => super::serialize(moment, to),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
            #[derive(Deserialize)]
            struct Date(#[serde(with = "super")] Timestamp);
            Ok(Option::<Date>::deserialize(from)?.map(|Date(moment)| moment))
        }
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
        assert_eq!(SystemTime::from(moment), UNIX_EPOCH + Duration::from_millis(1_790_000_000_120));
    }
}
