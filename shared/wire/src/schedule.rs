//! Cron schedules, as the API shows them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::deployment::WorkerName;
use crate::ids::{EnvironmentId, ScheduleId, TaskId};
use crate::pages::Pages;
use crate::reported::Reported;
use crate::time::{Timestamp, iso};

/// What a tick does while the run of an earlier one is under way.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOverlap {
    /// It makes its run all the same. The default.
    #[default]
    Run,
    /// It makes none.
    Skip,
}

impl OnOverlap {
    /// The wire's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Skip => "skip",
        }
    }
}

/// The name on the wire.
impl fmt::Display for OnOverlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of the ticks that nobody carried out within a quarter of an hour, nor before the next was due, as while a stack was
/// off.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissed {
    /// The first of them makes its run, late; the others make none. The default.
    #[default]
    RunOnce,
    /// None of them makes a run.
    Skip,
}

impl OnMissed {
    /// The wire's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunOnce => "run-once",
            Self::Skip => "skip",
        }
    }
}

/// The name on the wire.
impl fmt::Display for OnMissed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A schedule.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// `IMPERATIVE`: made by a call; `DECLARATIVE`: declared by a worker's code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The task that it triggers.
    pub task: TaskId,
    /// Whether it ticks.
    pub active: bool,
    /// The caller's key, of which there is one schedule. One that is declared has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deduplication_key: Option<String>,
    /// The worker whose code declares it, if one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub declared_by: Option<WorkerName>,
    /// Told to the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// When it ticks.
    pub generator: Generator,
    /// The time zone of that.
    pub timezone: String,
    /// What a tick does while the run of an earlier one is under way.
    #[cfg_attr(feature = "openapi", schema(value_type = OnOverlap))]
    pub on_overlap: Reported<OnOverlap>,
    /// What becomes of missed ticks: those that nobody carried out within a quarter of an hour, nor before the next was due.
    #[cfg_attr(feature = "openapi", schema(value_type = OnMissed))]
    pub on_missed: Reported<OnMissed>,
    /// Its next tick, while it is active.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_run: Option<Timestamp>,
    /// The latest tick that was carried out.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_run: Option<Timestamp>,
    /// Where it triggers: one environment.
    pub environments: Vec<ScheduleEnvironment>,
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
    /// The types that there are.
    pub const KINDS: [&str; 4] = ["DEVELOPMENT", "STAGING", "PREVIEW", "PRODUCTION"];

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

/// A schedule that was deleted.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedSchedule {
    /// Its id.
    pub id: ScheduleId,
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
    pub id: ScheduleId,
    /// Its external id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// Its deduplication key, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deduplication_key: Option<String>,
    /// Its expression.
    pub generator: Generator,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_wire_name_is_the_name() {
        for on_overlap in [OnOverlap::Run, OnOverlap::Skip] {
            assert_eq!(json!(on_overlap), on_overlap.as_str());
        }
        for on_missed in [OnMissed::RunOnce, OnMissed::Skip] {
            assert_eq!(json!(on_missed), on_missed.as_str());
        }
    }

    #[test]
    fn a_schedule_of_a_newer_server_is_read_and_written_again() {
        let newer = json!({
            "id": format!("sched_{}", "a".repeat(32)), "type": "IMPERATIVE", "task": "t", "active": true,
            "deduplicationKey": "k", "timezone": "UTC",
            "generator": { "type": "CRON", "expression": "@daily", "description": "every day" },
            "onOverlap": "cancel", "onMissed": "run-all", "nextRun": "2026-01-31T09:30:00.000Z",
            "environments": [{ "id": "acme/prod", "type": "PRODUCTION" }],
        });
        let schedule: Schedule = serde_json::from_value(newer.clone()).expect("a schedule");
        assert_eq!((schedule.on_overlap.known(), schedule.on_missed.to_string().as_str()), (None, "run-all"));
        assert_eq!(json!(schedule), newer);
    }
}
