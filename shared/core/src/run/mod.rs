//! A run: what was asked for, which never changes, and where it stands, which does.

pub mod end;
pub mod history;
pub mod retry;
pub mod status;
pub mod turn;
pub mod waiter;

use std::time::Duration;

use oncekey_wire::{BatchId, EnvironmentId, RunId, TaskId};
pub use oncekey_wire::{RunError, TriggerFunction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::key::IdempotencyKey;
use crate::payload::path::BlobPath;
use crate::payload::{Payload, PayloadType};
use crate::queue::name::QueueName;
use crate::run::history::Moment;
use crate::run::status::RunStatus;
use crate::run::turn::Turn;
use crate::run::waiter::Waiter;

/// How long a run is kept after its end: 30 days, longer than a message can live in a queue (14 days, an SQS limit).
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long what waits for a run, or does not know how long it is needed, is kept: a delay is at most a year, and the run is
/// kept beyond its start.
pub const KEPT_AT_MOST: Duration = Duration::from_secs((366 + 30) * 24 * 60 * 60);
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
    /// A fingerprint of the key and the payload that it was asked for with: the same request asks for the same again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<String>,
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

impl Lineage {
    /// Where the children of `parent` stand.
    #[must_use]
    pub fn of_child(parent: &Run) -> Self {
        let above = parent.spec.lineage.as_ref();
        Self {
            parent: parent.id.clone(),
            root: above.map_or_else(|| parent.id.clone(), |above| above.root.clone()),
            depth: above.map_or(0, |above| above.depth).saturating_add(1),
        }
    }
}

/// A run's key and its window's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimedKey {
    /// The key.
    #[serde(flatten)]
    pub key: IdempotencyKey,
    /// From this moment on the key is free (I5).
    pub window_ends_at: Timestamp,
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
    /// Options that only tune placement (`machine`, `region`, `priority`, …): recorded as they came, not acted on.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty", default)]
    pub placement: serde_json::Map<String, Value>,
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
            asked: None,
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

/// A run as it is stored: one item of the runs table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    #[serde(rename = "run_id")]
    pub id: RunId,
    /// What was asked for.
    #[serde(with = "as_json")]
    pub spec: RunSpec,
    /// The payload's text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<String>,
    /// Where it stands.
    pub status: RunStatus,
    /// The present turn.
    #[serde(flatten)]
    pub turn: Turn,
    /// Wake-ups so far that came while it was awake.
    #[serde(default)]
    pub wakes: u32,
    /// Milliseconds that earlier invocations of this attempt computed: they count towards its `maxDuration`.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub spent_ms: u64,
    /// The waits it is suspended in, or was last, each as `attempt#call`.
    #[serde(skip_serializing, deserialize_with = "one_or_many", default)]
    pub waiting_on: Vec<String>,
    /// Segments that hold the calls of the present attempt: fewer in the journal, and it is not whole any more.
    #[serde(skip_serializing, default)]
    pub segments: u32,
    /// Until when the record is kept at least, if a reschedule put off more than its trigger's options tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept_until: Option<Timestamp>,
    /// Who waits for it, as older versions wrote it: added one by one, as a set.
    #[serde(skip_serializing, default)]
    pub waiters: Vec<Waiter>,
    /// When the present attempt may start, if it is a retry or was rescheduled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_at: Option<Timestamp>,
    /// The start that a message of a reschedule carries this run to: those for other starts are not needed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carried_to: Option<Timestamp>,
    /// Until when a worker holds this run. Past it, that worker is dead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lease_until: Option<Timestamp>,
    /// What that worker called its lease.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lease_name: Option<String>,
    /// Attempts in all, as the worker that started it knew them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_attempts: Option<u32>,
    /// When the first attempt started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// When it became final.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What it went through, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<Moment>,
    /// The JSON text of what the task returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<String>,
    /// Where that is, if it is too large to be kept here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored_output: Option<BlobPath>,
    /// Why the last attempt failed.
    #[serde(with = "as_json_option", skip_serializing_if = "Option::is_none", default)]
    pub error: Option<RunError>,
}

impl Run {
    /// A run that nobody has started: what a trigger writes.
    #[must_use]
    pub fn new(id: RunId, spec: RunSpec, payload: Option<String>) -> Self {
        let status = if spec.due_at() > spec.created_at { RunStatus::Delayed } else { RunStatus::Queued };
        Self {
            id,
            status,
            turn: Turn::FIRST,
            wakes: 0,
            spent_ms: 0,
            waiting_on: Vec::new(),
            segments: 0,
            kept_until: None,
            waiters: Vec::new(),
            updated_at: spec.created_at,
            history: Vec::new(),
            payload,
            spec,
            retry_at: None,
            carried_to: None,
            lease_until: None,
            lease_name: None,
            max_attempts: None,
            started_at: None,
            finished_at: None,
            output: None,
            stored_output: None,
            error: None,
        }
    }

    /// When the first attempt may start: what its trigger said, or a reschedule after it.
    #[must_use]
    pub fn delayed_until(&self) -> Option<Timestamp> {
        self.retry_at.filter(|_| self.turn.attempt == 1).or(self.spec.options.delay_until)
    }

    /// When the run expires unless it has started, if it has a `ttl`.
    #[must_use]
    pub fn expires_unless_started_by(&self) -> Option<Timestamp> {
        let due_at = self.delayed_until().unwrap_or(self.spec.created_at);
        self.spec.options.ttl_ms.map(|ttl| due_at.plus(Duration::from_millis(ttl)))
    }

    /// Until when the record is kept at least, whenever the run ends.
    #[must_use]
    pub fn kept_until(&self) -> Timestamp {
        self.spec.kept_until().max(self.kept_until.unwrap_or_default())
    }

    /// Whether it is, or was last, suspended in this wait.
    #[must_use]
    pub fn waits_on(&self, waiter: &Waiter) -> bool {
        // Older versions wrote one waiter, whole.
        self.waiting_on.iter().any(|wait| *wait == waiter.wait() || *wait == waiter.to_string())
    }

    /// How long earlier invocations of this attempt computed.
    #[must_use]
    pub fn spent(&self) -> Duration {
        Duration::from_millis(self.spent_ms)
    }

    /// Where the payload is, if it is in the store.
    #[must_use]
    pub fn stored_payload(&self) -> Option<BlobPath> {
        let path = self.payload.as_deref().filter(|_| self.spec.payload_type == PayloadType::Store)?;
        BlobPath::parse("payload", path).ok()
    }

    /// The payload with its type.
    #[must_use]
    pub fn payload(&self) -> Payload {
        Payload { text: self.payload.clone(), kind: self.spec.payload_type }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A text, or a set of them.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// A field that is stored as one JSON text: cheap to write, and what the messages carry.
mod as_json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(value).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// [`as_json`] for a field that may be absent.
mod as_json_option {
    use serde::de::DeserializeOwned;
    use serde::{Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        super::as_json::serialize(value, serializer)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
        super::as_json::deserialize(d).map(Some)
    }
}
