//! Cron schedules, as the API shows them.

use serde::{Deserialize, Serialize};

use crate::ids::{EnvironmentId, TaskId};
use crate::time::Timestamp;

/// A schedule.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Its id: `sched_` and 32 characters.
    pub id: String,
    /// `IMPERATIVE`: made by a call.
    #[serde(rename = "type")]
    pub kind: String,
    /// The task that it triggers.
    pub task: TaskId,
    /// Whether it ticks.
    pub active: bool,
    /// The caller's key, of which there is one schedule.
    pub deduplication_key: String,
    /// Told to the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// When it ticks.
    pub generator: Generator,
    /// The time zone of that.
    pub timezone: String,
    /// `run` or `skip`: what a tick does while the run of an earlier one is under way.
    pub on_overlap: String,
    /// `run-once` or `skip`: what becomes of ticks that nobody carried out before the next was due.
    pub on_missed: String,
    /// Its next tick, while it is active.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_run: Option<Moment>,
    /// The latest tick that was carried out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_run: Option<Moment>,
    /// Where it triggers: one environment.
    pub environments: Vec<ScheduleEnvironment>,
}

/// A moment, written as a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What makes a schedule's times.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generator {
    /// `CRON`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The expression.
    pub expression: String,
    /// What that means, in English.
    pub description: String,
}

impl Generator {
    /// That of a cron expression.
    #[must_use]
    pub fn cron(expression: String, description: String) -> Self {
        Self { kind: "CRON".to_owned(), expression, description }
    }
}

/// Where a schedule triggers.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleEnvironment {
    /// Project and name, like `acme/prod`.
    pub id: EnvironmentId,
    /// `DEVELOPMENT`, `STAGING`, `PREVIEW` or `PRODUCTION`, by the environment's name.
    #[serde(rename = "type")]
    pub kind: String,
}

impl ScheduleEnvironment {
    /// That of this id.
    #[must_use]
    pub fn new(id: EnvironmentId) -> Self {
        let kind = match id.name() {
            "dev" | "development" => "DEVELOPMENT",
            "staging" => "STAGING",
            "prod" | "production" => "PRODUCTION",
            _ => "PREVIEW",
        };
        Self { kind: kind.to_owned(), id }
    }
}

/// A page of schedules, by their ids.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulesPage {
    /// The schedules.
    pub data: Vec<Schedule>,
    /// Where this page is among all.
    pub pagination: Pages,
}

/// Where a page is among all.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pages {
    /// This page, from 1 on.
    pub current_page: usize,
    /// How many there are, one at least.
    pub total_pages: usize,
    /// How many schedules there are in all.
    pub count: usize,
}

/// A schedule that was deleted.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedSchedule {
    /// Its id.
    pub id: String,
}

/// The names of time zones.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timezones {
    /// In their order.
    pub timezones: Vec<String>,
}

/// The schedule whose tick triggered a run, as it was then.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSchedule {
    /// Its id.
    pub id: String,
    /// Its external id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// Its deduplication key.
    pub deduplication_key: String,
    /// Its expression.
    pub generator: Generator,
}
