//! Cron schedules: what a task is triggered by when nobody calls. A schedule has one tick under way at a time, which notes
//! and sends the next one before it triggers ([`crate::protocol::tick`]).

pub mod expression;
mod local;

use oncekey_wire::{EnvironmentId, TaskId, WorkerName};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

pub use self::expression::Cron;
pub use oncekey_wire::{OnMissed, OnOverlap, ScheduleId};

/// What a schedule is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The task that it triggers.
    pub task: TaskId,
    /// When.
    pub cron: Cron,
    /// The caller's own id of what it is for, told to the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// What a tick does while the run of an earlier one is under way.
    #[serde(default)]
    pub on_overlap: OnOverlap,
    /// What becomes of missed ticks.
    #[serde(default)]
    pub on_missed: OnMissed,
}

/// A schedule, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronSchedule {
    /// Its id.
    pub id: ScheduleId,
    /// Where it triggers.
    pub environment: EnvironmentId,
    /// The caller's key, of which there is one schedule, if a caller made it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deduplication_key: Option<String>,
    /// The worker whose code declares it, if one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub declared_by: Option<WorkerName>,
    /// What it is to do.
    pub plan: Plan,
    /// Whether it ticks.
    pub is_active: bool,
    /// Another one each time it is changed: ticks of earlier ones are dropped.
    pub generation: String,
    /// The tick that is under way, while it is active.
    pub next_at: Timestamp,
    /// The message by which the tick before that was carried out: whoever has it again sends that once more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub noted_by: Option<String>,
    /// The latest tick that was carried out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl CronSchedule {
    /// `IMPERATIVE` if a caller made it, `DECLARATIVE` if code declares it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.declared_by.is_some() { "DECLARATIVE" } else { "IMPERATIVE" }
    }

    /// The tick that is under way.
    #[must_use]
    pub fn tick(&self) -> Tick {
        let (environment, schedule, generation) = (self.environment.clone(), self.id.clone(), self.generation.clone());
        Tick { environment, schedule, generation, at: self.next_at }
    }
}

/// What tells a change from all others of its schedule.
#[must_use]
pub(crate) fn fresh() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// One time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Where.
    pub environment: EnvironmentId,
    /// Whose.
    pub schedule: ScheduleId,
    /// Of which state of it.
    pub generation: String,
    /// The time.
    pub at: Timestamp,
}

/// A tick on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickMessage {
    /// The tick.
    pub tick: Tick,
}

impl TickMessage {
    /// The tick that a message is, if it is one.
    #[must_use]
    pub fn parse(body: &str) -> Option<Tick> {
        // As it is written. A trigger that comes as a message, and may be large, is read once.
        let message: Self = body.starts_with(r#"{"tick":"#).then(|| serde_json::from_str(body).ok())??;
        Some(message.tick)
    }
}

/// What a run says of the schedule that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfSchedule {
    /// The schedule.
    pub id: ScheduleId,
    /// Its deduplication key, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deduplication_key: Option<String>,
    /// Its external id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// Its expression.
    pub cron: String,
    /// What that means.
    pub description: String,
}

impl From<&CronSchedule> for OfSchedule {
    fn from(schedule: &CronSchedule) -> Self {
        let Plan { cron, external_id, .. } = &schedule.plan;
        Self {
            id: schedule.id.clone(),
            deduplication_key: schedule.deduplication_key.clone(),
            external_id: external_id.clone(),
            cron: cron.expression().to_owned(),
            description: cron.description(),
        }
    }
}
