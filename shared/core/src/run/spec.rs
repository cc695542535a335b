//! What a trigger asked for, which never changes.

use std::time::Duration;

use oncekey_wire::{BatchId, EnvironmentId, KeyHash, QueueLabel, RunId, TaskId, TriggerFunction};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::beside::Beside;
use super::kept::KEPT;
use crate::clock::Timestamp;
use crate::cron::OfSchedule;
use crate::error::Error;
use crate::key::{IdempotencyKey, KeyRelease};
use crate::payload::PayloadType;
use crate::queue::name::QueueName;

/// How long a run outlives its key: were it gone first, a missing run would mean two things to a duplicate.
const OUTLIVES_KEY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a trigger asked for. Written once; stored and sent as one JSON text, beside the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The environment it belongs to.
    pub environment: EnvironmentId,
    /// The task to run.
    pub task: TaskId,
    /// When the key was claimed, or the trigger was made without one. With the run's id it identifies the claim: a key
    /// item that names this run with another moment is not this run's claim.
    pub created_at: Timestamp,
    /// How to read the payload.
    pub payload_type: PayloadType,
    /// The key it was triggered with, and when that key's window ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<ClaimedKey>,
    /// The queue that carries it.
    pub queue: QueueName,
    /// What else the trigger's options said.
    #[serde(flatten)]
    pub options: RunOptions,
    /// Where it stands in its family, if it has a parent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lineage: Option<Lineage>,
    /// The call that triggered it.
    #[serde(skip_serializing_if = "TriggerFunction::is_plain", default)]
    pub function: TriggerFunction,
    /// The batch it is an item of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<BatchId>,
    /// The public token that triggered it, by a hash of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by_token: Option<String>,
    /// A fingerprint of the key and the payload that it was asked for with: the same request asks for the same again.
    #[serde(rename = "asked", skip_serializing_if = "Option::is_none", default)]
    pub fingerprint: Option<String>,
    /// Whether another request than the one that names it made it, because that one's claimer died: what it was asked for with
    /// may be the other's.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub helped: bool,
    /// The debounce key that it was triggered with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub debounce: Option<KeyHash>,
    /// The trigger that made it, if that is another run's and has pushed this one: its claimer had died.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub made_by: Option<Pusher>,
    /// Where its metadata is, if that is large: then its options have none, until it is read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata_beside: Option<Beside>,
}

/// A trigger that has pushed another run than the one that it would have made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pusher {
    /// The run that it would have made.
    pub run_id: RunId,
    /// When that would have been made.
    pub created_at: Timestamp,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<ClaimedKey>,
    /// A fingerprint of what it asked for.
    pub fingerprint: String,
    /// Whether that run would have been another request's, which had claimed a key and died.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub helped: bool,
}

/// Where a run stands in its family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The run that triggered this one.
    pub parent: RunId,
    /// The first run of the family.
    pub root: RunId,
    /// Generations between root and this run, at least 1.
    pub depth: u32,
}

/// A run's key and its window's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimedKey {
    /// The key.
    #[serde(flatten)]
    pub key: IdempotencyKey,
    /// From this moment on the key is free (I5).
    pub window_ends_at: Timestamp,
    /// Which ends of the run free it before.
    #[serde(skip_serializing_if = "KeyRelease::is_default", default)]
    pub release: KeyRelease,
}

/// The options of a trigger that travel with the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Up to 10 tags of up to 128 characters.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<String>,
    /// The caller's own data about the run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<Value>,
    /// The run starts no earlier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delay_until: Option<Timestamp>,
    /// The run expires unless it has started this many milliseconds after it was due.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttl_ms: Option<u64>,
    /// Attempts in all; wins over the task's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_attempts: Option<u32>,
    /// Seconds one attempt may compute; wins over the task's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_duration: Option<u32>,
    /// Whether the caller marked it as a test.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub test: bool,
    /// W3C trace context of the trigger.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// The schedule whose tick triggered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schedule: Option<OfSchedule>,
    /// Options that say where and when it executes (`queue`, `concurrencyKey`, `priority`, `machine`, …), as they came. Those that nobody
    /// acts on are recorded all the same.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty", default)]
    pub placement: serde_json::Map<String, Value>,
}

impl RunOptions {
    /// The queue that the trigger named.
    #[must_use]
    pub fn queue(&self) -> Option<QueueLabel> {
        QueueLabel::parse(self.placement.get("queue")?.get("name")?.as_str()?).ok()
    }

    /// Which of the queue's runs count together with this one.
    #[must_use]
    pub fn concurrency_key(&self) -> Option<&str> {
        self.placement.get("concurrencyKey")?.as_str()
    }

    /// How much earlier than others of its age it is given a place, in seconds, if its trigger said so.
    #[must_use]
    pub fn priority(&self) -> Option<&Number> {
        self.placement.get("priority")?.as_number()
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn priority_millis(&self) -> i64 {
        let seconds = self.priority().and_then(Number::as_f64).unwrap_or_default();
        // A whole number of milliseconds, far within its bounds: it was read so.
        #[expect(clippy::cast_possible_truncation, reason = "a cast ends at the bounds")]
        let millis = (seconds * 1_000.0).round() as i64;
        millis
    }
}

impl Pusher {
    /// As it stands in the run that it has pushed.
    ///
    /// # Errors
    /// [`Error::Unreadable`], which none is.
    pub(crate) fn written(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::unreadable("a push", error))
    }
}

impl RunSpec {
    /// A run of `task` that was asked for at `now`, without anything else: no key, no options, the default queue.
    #[must_use]
    pub fn new(environment: EnvironmentId, task: TaskId, now: Timestamp) -> Self {
        Self {
            environment,
            task,
            created_at: now,
            payload_type: PayloadType::default(),
            key: None,
            queue: QueueName::default(),
            options: RunOptions::default(),
            lineage: None,
            function: TriggerFunction::default(),
            batch: None,
            by_token: None,
            fingerprint: None,
            helped: false,
            debounce: None,
            made_by: None,
            metadata_beside: None,
        }
    }

    /// When the run may start: its delay's end, or at once.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        self.options.delay_until.unwrap_or(self.created_at)
    }

    /// Until when the record is kept at least, however early the run ends: 30 days beyond its start, so that no message for
    /// it comes later, and a day beyond its key's window.
    #[must_use]
    pub fn kept_until(&self) -> Timestamp {
        let for_key = self.key.as_ref().map(|key| key.window_ends_at.plus(OUTLIVES_KEY));
        self.due_at().plus(KEPT).max(for_key.unwrap_or_default())
    }
}
