//! A run: what was asked for, which never changes, and where it stands, which does.

mod as_json;
pub mod attempts;
pub mod beside;
pub mod end;
pub mod failure;
pub mod history;
mod kept;
pub mod retry;
mod spec;
pub mod status;
pub mod turn;
pub mod waiter;

use std::time::Duration;

use oncekey_wire::{QueueLabel, RunId};
pub use oncekey_wire::{RunError, TriggerFunction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::flow::Slot;
use crate::payload::PayloadType;
use crate::payload::path::BlobPath;
use crate::run::beside::{Beside, Kept};
use crate::run::failure::Failure;
use crate::run::history::Moment;
pub use crate::run::kept::{KEPT, KEPT_AT_MOST, SURELY_KEPT};
pub use crate::run::spec::{ClaimedKey, Lineage, Pusher, RunOptions, RunSpec};
use crate::run::status::RunStatus;
use crate::run::turn::Turn;
use crate::run::waiter::{Wait, Waiter};

/// Most children that a run's own item names: they are written with its moves, and each move then costs for all of them.
pub const CHILDREN_NOTED: usize = 100;

/// A run's metadata before an attempt changed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetadataBefore {
    /// The attempt.
    pub attempt: u32,
    /// What it was, if there was any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<Value>,
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
    /// The payload's text. Written even if there is none: of two who make the run, none adds to what the other wrote.
    #[serde(default)]
    pub payload: Option<Kept>,
    /// Where it stands.
    pub status: RunStatus,
    /// The present turn.
    #[serde(flatten)]
    pub turn: Turn,
    /// The queue in which it has, or had, a place, or is parked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lane: Option<QueueLabel>,
    /// Whether its present turn waits for a place.
    #[serde(skip_serializing, default)]
    pub parked: bool,
    /// The slot that its attempt has taken of its queue's rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<Slot>,
    /// How often it was parked, or waited for its slot: each time is a resume more.
    #[serde(skip_serializing, default)]
    pub parks: u32,
    /// Wake-ups so far that came while it was awake.
    #[serde(default)]
    pub wakes: u32,
    /// Milliseconds that earlier invocations of this attempt computed: they count towards its `maxDuration`.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub spent_ms: u64,
    /// The waits it is suspended in, or was last.
    #[serde(skip_serializing, deserialize_with = "one_or_many", default)]
    pub waiting_on: Vec<Wait>,
    /// When the first of those waits is over by itself.
    #[serde(skip_serializing, default)]
    pub waits_until: Option<Timestamp>,
    /// When its wake-up was last sent again, as nobody had heard of it.
    #[serde(skip_serializing, default)]
    pub wake_sent_at: Option<Timestamp>,
    /// Segments that hold the calls of the present attempt: fewer in the journal, and it is not whole any more.
    #[serde(skip_serializing, default)]
    pub segments: u32,
    /// Its metadata, if that was changed since its trigger.
    #[serde(rename = "metadata", with = "as_json::option", skip_serializing_if = "Option::is_none", default)]
    pub changed_metadata: Option<Value>,
    /// What its metadata was before the first change in an attempt, of the last attempt that had one.
    #[serde(with = "as_json::option", skip_serializing_if = "Option::is_none", default)]
    pub metadata_before: Option<MetadataBefore>,
    /// Tags that it was given since its trigger.
    #[serde(skip_serializing, default)]
    pub added_tags: Vec<String>,
    /// Until when the record is kept at least, if a reschedule put off more than its trigger's options tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept_until: Option<Timestamp>,
    /// Runs that its own calls have triggered, in their order, as far as an invocation lived to tell: the first
    /// [`CHILDREN_NOTED`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<RunId>,
    /// Who waits for it, as older versions wrote it: added one by one, as a set.
    #[serde(skip_serializing, default)]
    pub waiters: Vec<Waiter>,
    /// When the present attempt may start, if it is a retry, or was delayed or rescheduled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_at: Option<Timestamp>,
    /// The start that a message of a reschedule carries this run to: those for other starts are not needed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carried_to: Option<Timestamp>,
    /// How often it was rescheduled.
    #[serde(skip_serializing, default)]
    pub reschedules: u32,
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
    /// The run that was to take its place and its key, if it was cancelled to make way for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replaced_by: Option<RunId>,
    /// The run whose trigger was the last to push its start, if it is debounced and was pushed.
    #[serde(skip_serializing, default)]
    pub pushed_by: Option<RunId>,
    /// What that trigger was, for whoever leaves in its place which run stands for it.
    #[serde(with = "as_json::option", skip_serializing_if = "Option::is_none", default)]
    pub last_push: Option<Pusher>,
    /// Whether nobody may push it any more, as its debounce key is another run's.
    #[serde(skip_serializing, default)]
    pub closed: bool,
    /// The run that stands for it, if its trigger pushed that one: then there is no run of this name, and there shall be none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pushed_to: Option<RunId>,
    /// When it became final.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What it went through, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<Moment>,
    /// Why its first attempts failed, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failures: Vec<Failure>,
    /// The JSON text of what the task returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<Kept>,
    /// Where that is, if it is too large for an item.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored_output: Option<BlobPath>,
    /// How to read what the task returned.
    #[serde(skip_serializing_if = "PayloadType::is_json", default)]
    pub output_type: PayloadType,
    /// Why the last attempt failed; of a run that completed, why its output is not kept.
    #[serde(with = "as_json::option", skip_serializing_if = "Option::is_none", default)]
    pub error: Option<RunError>,
}

impl Run {
    /// Whether it has come to an end that frees its key, if it has one.
    #[must_use]
    pub fn frees_key(&self) -> bool {
        self.spec.key.as_ref().is_some_and(|claimed| claimed.release.frees(self.status))
    }

    /// A run that nobody has started: what a trigger writes.
    #[must_use]
    pub fn new(id: RunId, spec: RunSpec, payload: Option<Kept>) -> Self {
        let status = if spec.due_at() > spec.created_at { RunStatus::Delayed } else { RunStatus::Queued };
        Self {
            id,
            status,
            turn: Turn::FIRST,
            lane: None,
            parked: false,
            slot: None,
            parks: 0,
            wakes: 0,
            spent_ms: 0,
            waiting_on: Vec::new(),
            waits_until: None,
            wake_sent_at: None,
            segments: 0,
            changed_metadata: None,
            metadata_before: None,
            added_tags: Vec::new(),
            kept_until: None,
            children: Vec::new(),
            waiters: Vec::new(),
            updated_at: spec.created_at,
            // The first attempt goes by what is stored too: its message may be of a trigger with another delay.
            retry_at: spec.options.delay_until,
            history: Vec::new(),
            failures: Vec::new(),
            payload,
            spec,
            carried_to: None,
            reschedules: 0,
            lease_until: None,
            lease_name: None,
            max_attempts: None,
            started_at: None,
            replaced_by: None,
            pushed_by: None,
            last_push: None,
            closed: false,
            pushed_to: None,
            finished_at: None,
            output: None,
            stored_output: None,
            output_type: PayloadType::Json,
            error: None,
        }
    }

    /// The record of a run that nobody has made, and that nobody shall: cancelled at `now` to make way for `successor`.
    #[must_use]
    pub fn barred(id: RunId, spec: RunSpec, successor: RunId, now: Timestamp) -> Self {
        Self {
            status: RunStatus::Canceled,
            replaced_by: Some(successor),
            updated_at: now,
            finished_at: Some(now),
            ..Self::new(id, spec, None)
        }
    }

    /// What stands at `now` under the name of a run whose trigger has pushed `run` instead.
    #[must_use]
    pub fn alias(id: RunId, spec: RunSpec, run: RunId, now: Timestamp) -> Self {
        Self {
            status: RunStatus::Canceled,
            pushed_to: Some(run),
            updated_at: now,
            finished_at: Some(now),
            ..Self::new(id, spec, None)
        }
    }

    /// The trigger that was the last to push this run, or made it in its claimer's place.
    #[must_use]
    pub fn last_pusher(&self) -> Option<&Pusher> {
        self.last_push.as_ref().or(self.spec.made_by.as_ref())
    }

    /// The run's own data about itself, as it now is.
    #[must_use]
    pub fn metadata(&self) -> Option<&Value> {
        self.changed_metadata.as_ref().or(self.spec.options.metadata.as_ref())
    }

    /// The same as it was when the present attempt began: where a task begins that runs from the top again.
    #[must_use]
    pub fn metadata_at_start(&self) -> Option<&Value> {
        let before = self.metadata_before.as_ref().filter(|before| before.attempt == self.turn.attempt);
        before.map_or(self.metadata(), |before| before.metadata.as_ref())
    }

    /// Its tags, those of its trigger first.
    pub fn tags(&self) -> impl Iterator<Item = &String> {
        let first = &self.spec.options.tags;
        first.iter().chain(self.added_tags.iter().filter(|tag| !first.contains(tag)))
    }

    /// The queue in which it has, or had, a place, or that its trigger named. Of others its task decides, when they start.
    #[must_use]
    pub fn queue(&self) -> Option<QueueLabel> {
        self.lane.clone().or_else(|| self.spec.options.queue())
    }

    /// When the first attempt may start: what its trigger said, or a reschedule after it.
    #[must_use]
    pub fn delayed_until(&self) -> Option<Timestamp> {
        self.retry_at.filter(|_| self.turn.attempt == 1).or(self.spec.options.delay_until)
    }

    /// Whether this turn is its first, however often it was parked before.
    #[must_use]
    pub fn is_at_first_turn(&self) -> bool {
        self.turn.attempt == Turn::FIRST.attempt && self.turn.resume == self.parks
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
        self.id == waiter.run && self.waiting_on.contains(&waiter.wait())
    }

    /// The waits it is suspended in, or was last.
    pub fn waits(&self) -> impl Iterator<Item = Waiter> {
        self.waiting_on.iter().map(|wait| wait.of(&self.id))
    }

    /// How long earlier invocations of this attempt computed.
    #[must_use]
    pub fn spent(&self) -> Duration {
        Duration::from_millis(self.spent_ms)
    }

    /// Where the payload is, if it is in the store.
    #[must_use]
    pub fn stored_payload(&self) -> Option<BlobPath> {
        let path = self.payload.as_ref().filter(|_| self.spec.payload_type == PayloadType::Store)?;
        BlobPath::parse("payload", path.inline()?).ok()
    }

    /// What stands beside it, by name.
    pub fn beside(&self) -> impl Iterator<Item = &Beside> {
        let kept = [&self.payload, &self.output].into_iter().flatten();
        kept.filter_map(Kept::beside).chain(&self.spec.metadata_beside)
    }
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

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A text, or a set of them.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Wait>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(Wait),
        Many(Vec<Wait>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
