//! Cron schedules: what a task is triggered by when nobody calls. A schedule has one tick under way at a time, which notes
//! and sends the next one before it triggers ([`crate::protocol::tick`]).

pub mod expression;
mod local;

use std::fmt;

use data_encoding::BASE32_NOPAD;
use oncekey_wire::{EnvironmentId, TaskId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::Error;

pub use self::expression::Cron;
pub use oncekey_wire::{OnMissed, OnOverlap};

/// A schedule's id: `sched_` and 32 characters of lower-case base32, made from its environment and its deduplication key, so that
/// there is one schedule of a key however often it is created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleId(String);

impl ScheduleId {
    const PREFIX: &str = "sched_";

    /// That of a deduplication key.
    #[must_use]
    pub fn named(environment: &EnvironmentId, deduplication_key: &str) -> Self {
        let digest = Sha256::digest(format!("{environment}\n{deduplication_key}"));
        let text = BASE32_NOPAD.encode(digest.get(..20).unwrap_or_default()).to_ascii_lowercase();
        Self(format!("{}{text}", Self::PREFIX))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let allowed = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        match text.strip_prefix(Self::PREFIX) {
            Some(rest) if rest.len() == 32 && allowed(rest) => Ok(Self(text.to_owned())),
            _ => Err(Error::invalid("schedule id", "is `sched_` and 32 characters of a-z and 2-7")),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ScheduleId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<ScheduleId> for String {
    fn from(id: ScheduleId) -> Self {
        id.0
    }
}

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
    /// The caller's key, of which there is one schedule.
    pub deduplication_key: String,
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
    /// The tick that is under way.
    #[must_use]
    pub fn tick(&self) -> Tick {
        let (environment, schedule, generation) = (self.environment.clone(), self.id.clone(), self.generation.clone());
        Tick { environment, schedule, generation, at: self.next_at }
    }
}

/// What tells a change from all others.
#[must_use]
pub(crate) fn fresh() -> String {
    uuid::Uuid::new_v4().simple().to_string()
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
        serde_json::from_str(body).ok().map(|Self { tick }| tick)
    }
}

/// What a run says of the schedule that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfSchedule {
    /// The schedule.
    pub id: ScheduleId,
    /// Its deduplication key.
    pub deduplication_key: String,
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
