//! A moment on the clocks of a time zone, as the reader of cron expressions moves along it.

use std::cmp::Ordering;

use croner::errors::CronError;
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A moment, and where the clocks are that show it.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub at: Timestamp,
    pub zone: TimeZone,
}

impl Local {
    fn shown(&self) -> DateTime {
        self.zone.to_datetime(self.at)
    }

    fn at(&self, at: Result<Timestamp, jiff::Error>) -> Result<Self, CronError> {
        at.map(|at| Self { at, zone: self.zone.clone() }).map_err(|_| CronError::InvalidTime)
    }
}

fn civil(shown: DateTime) -> CivilDateTime {
    let part = |value: i8| u32::from(value.unsigned_abs());
    CivilDateTime::new(
        CivilDate::from_parts_unchecked(shown.year().into(), part(shown.month()), part(shown.day())),
        CivilTime::from_parts_unchecked(part(shown.hour()), part(shown.minute()), part(shown.second())),
    )
}

fn datetime(civil: CivilDateTime) -> Result<DateTime, CronError> {
    let part = |value: u32| i8::try_from(value).map_err(|_| CronError::InvalidDate);
    let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
    let (month, day) = (part(civil.month())?, part(civil.day())?);
    let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
    DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)
}

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        civil(self.shown())
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.shown().weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::from(days.unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let shown = self.zone.to_ambiguous_timestamp(datetime(civil)?);
        Ok(match shown.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(self.at(shown.unambiguous())?),
            AmbiguousOffset::Fold { .. } => Resolution::Ambiguous(self.at(shown.earlier())?, self.at(shown.later())?),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let at = self.at.checked_add(SignedDuration::from_secs(seconds)).ok()?;
        Some(Self { at, zone: self.zone.clone() })
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}
