//! A cron expression in a time zone. What it means at the two changes of a year's clock: one time of the day, a single minute of a
//! single hour, that the clock leaps over comes right after the leap, and one that comes twice counts once; all others (lists,
//! ranges, steps, `*`) follow the clock, so that what is leapt over does not come, and what comes twice counts twice.

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::local::Local;
use crate::clock::Timestamp;
use crate::error::Error;

/// The longest expression.
const MAX_LENGTH: usize = 256;

/// A cron expression of five fields, and the time zone that it is meant in.
#[derive(Clone, Debug)]
pub struct Cron {
    written: Written,
    pattern: croner::Cron,
    zone: TimeZone,
}

/// As it was given, and as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    expression: String,
    timezone: String,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Cron {}

impl Serialize for Cron {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { expression, timezone } = Written::deserialize(deserializer)?;
        Self::parse(&expression, &timezone).map_err(serde::de::Error::custom)
    }
}

impl Cron {
    /// Reads an expression of five fields, such as `0 9 * * 1-5`, with `L`, `#` and `W`; or `@daily` and its like.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming `cron` or `timezone`.
    pub fn parse(expression: &str, timezone: &str) -> Result<Self, Error> {
        if expression.len() > MAX_LENGTH {
            let text = format!("is {} characters long; the limit is {MAX_LENGTH}", expression.len());
            return Err(Error::invalid("cron", text));
        }
        // Nothing between two commas is no value, and none at all would be looked for to the end of time.
        if expression.split_whitespace().any(|field| field.split(',').any(str::is_empty)) {
            let text = format!("{expression:?} has a list with nothing in one of its places");
            return Err(Error::invalid("cron", text));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(expression).map_err(|error| {
            let text = format!("{expression:?} is no cron expression of five fields, such as \"0 9 * * 1-5\": {error}");
            Error::invalid("cron", text)
        })?;
        let zone = TimeZone::get(timezone).map_err(|_| {
            let text =
                format!("{timezone:?} is no time zone; take one of GET /api/v1/timezones, such as \"Europe/Berlin\"");
            Error::invalid("timezone", text)
        })?;
        let written = Written {
            expression: expression.trim().to_owned(),
            timezone: zone.iana_name().unwrap_or(timezone).to_owned(),
        };
        Ok(Self { written, pattern, zone })
    }

    /// The expression.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.written.expression
    }

    /// The time zone.
    #[must_use]
    pub fn timezone(&self) -> &str {
        &self.written.timezone
    }

    /// What it means, in English.
    #[must_use]
    pub fn description(&self) -> String {
        self.pattern.describe()
    }

    /// The first time after `at`, if there is ever one.
    #[must_use]
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.pattern.find_next_occurrence(&self.local(at)?, false).ok()?;
        Some(Timestamp::from_millis(next.at.as_millisecond()))
    }

    /// Whether `at` is one of its times.
    #[must_use]
    pub fn is_at(&self, at: Timestamp) -> bool {
        self.next_after(Timestamp::from_millis(at.millis() - 1)) == Some(at)
    }

    /// Up to `count` times after `at`.
    #[must_use]
    pub fn upcoming(&self, at: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(at), |at| self.next_after(*at)).take(count).collect()
    }

    fn local(&self, at: Timestamp) -> Option<Local> {
        let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
        Some(Local { at, zone: self.zone.clone() })
    }
}

/// The names of all time zones: UTC, and then the others in their order.
#[must_use]
pub fn timezones() -> Vec<String> {
    let mut names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    names.sort_by(|a, b| (a != "UTC", a).cmp(&(b != "UTC", b)));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(expression: &str, timezone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(expression, timezone).expect("a cron expression");
        let after = Timestamp::parse(after).expect("a time");
        cron.upcoming(after, count).into_iter().map(|at| at.to_string()).collect()
    }

    #[test]
    fn a_time_that_the_clock_leaps_over_comes_right_after_the_leap() {
        // In Berlin 02:00 is 03:00 on this day.
        let times = times("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", 2);
        assert_eq!(times, ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]);
    }

    #[test]
    fn a_time_that_comes_twice_counts_once_and_a_step_each_time() {
        // In Berlin 03:00 is 02:00 on this day.
        let daily = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]);
        let halves = times("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59:00Z", 5);
        let listed = times("30 2,14 * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", 3);
        assert_eq!(listed, ["2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z", "2026-10-25T13:30:00.000Z"]);
        assert_eq!(times("30 2,14 * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", 1), ["2026-03-29T12:30:00.000Z"]);
        let all = ["00:00", "00:30", "01:00", "01:30", "02:00"].map(|time| format!("2026-10-25T{time}:00.000Z"));
        assert_eq!(halves, all);
    }

    #[test]
    fn leap_days_and_months_without_a_31st() {
        let leap = times("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2);
        assert_eq!(leap, ["2028-02-29T00:00:00.000Z", "2032-02-29T00:00:00.000Z"]);
        let thirty_first = times("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", 2);
        assert_eq!(thirty_first, ["2026-03-31T00:00:00.000Z", "2026-05-31T00:00:00.000Z"]);
        let last = times("0 0 L * *", "UTC", "2026-01-31T00:00:00Z", 2);
        assert_eq!(last, ["2026-02-28T00:00:00.000Z", "2026-03-31T00:00:00.000Z"]);
        let last_monday = times("0 0 * * 1L", "UTC", "2026-01-01T00:00:00Z", 1);
        assert_eq!(last_monday, ["2026-01-26T00:00:00.000Z"]);
    }

    #[test]
    fn one_that_never_comes_has_no_time() {
        assert!(times("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z", 1).is_empty());
    }

    #[test]
    fn what_is_none_is_refused_and_named() {
        for (expression, timezone, words) in [
            ("", "UTC", "cron"),
            ("every day", "UTC", "cron: \"every day\" is no cron expression of five fields"),
            ("0 0 0 * * *", "UTC", "cron"),
            ("60 * * * *", "UTC", "cron"),
            (", * * * *", "UTC", "cron: \", * * * *\" has a list with nothing in one of its places"),
            ("1,,2 * * * *", "UTC", "cron"),
            ("* * * * *", "Europe/Atlantis", "timezone: \"Europe/Atlantis\" is no time zone"),
        ] {
            let error = Cron::parse(expression, timezone).expect_err(expression).to_string();
            assert!(error.starts_with(words), "{error}");
        }
        assert_eq!(Cron::parse("@daily", "utc").expect("daily").timezone(), "UTC");
    }

    #[test]
    fn it_says_what_it_means_and_reads_what_it_has_written() {
        let cron = Cron::parse("0 9 * * 1-5", "Europe/Berlin").expect("a cron expression");
        assert_eq!(cron.description(), "At 09:00, on Monday, Tuesday, Wednesday, Thursday, and Friday.");
        let text = serde_json::to_string(&cron).expect("JSON");
        assert_eq!(serde_json::from_str::<Cron>(&text).expect("the same"), cron);
        assert!(timezones()[0] == "UTC" && timezones().len() > 400);
    }
}
