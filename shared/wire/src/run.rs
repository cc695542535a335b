//! Runs as the API writes them. How a client reads them is in `read.rs`.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::attempt::Attempt;
use crate::error::RunError;
use crate::ids::{BatchId, EnvironmentId, RunId, TaskId};
use crate::json::Json;
use crate::queues::QueueLabel;
use crate::reported::Reported;
use crate::schedule::RunSchedule;
use crate::status::RunStatus;
use crate::time::{Timestamp, iso};
use crate::waiting::WaitingFor;

/// The call that triggered a run. The names are the wire's.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TriggerFunction {
    /// One run, not waited for.
    #[default]
    Trigger,
    /// One run, waited for.
    TriggerAndWait,
    /// One of a batch, not waited for.
    BatchTrigger,
    /// One of a batch, waited for.
    BatchTriggerAndWait,
}

impl TriggerFunction {
    /// Most are: it is left out of what is stored.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::Trigger
    }
}

/// What every view of a run has.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RunFields {
    /// The run.
    pub id: RunId,
    /// Where it stands.
    #[cfg_attr(feature = "openapi", schema(value_type = RunStatus))]
    pub status: Reported<RunStatus>,
    /// Its task.
    pub task_identifier: TaskId,
    /// Whether it waits for a worker, or for its time.
    pub is_queued: bool,
    /// Whether a worker runs it.
    pub is_executing: bool,
    /// Whether it is suspended until something has come.
    pub is_waiting: bool,
    /// Whether the status is final, whichever it is: the client's `runs.poll` waits for this.
    pub is_completed: bool,
    /// Whether it returned.
    pub is_success: bool,
    /// Whether it ended in any other way, but by being cancelled.
    pub is_failed: bool,
    /// Whether it was cancelled.
    pub is_cancelled: bool,
    /// Whether its trigger marked it as a test.
    pub is_test: bool,
    /// When it was triggered.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it changed last.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
    /// Its tags.
    pub tags: Vec<String>,
    /// Always 0.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub cost_in_cents: u32,
    /// Always 0.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub base_cost_in_cents: u32,
    /// From the first start to the end, or to now, in milliseconds; 0 before the start.
    pub duration_ms: u64,
    /// The key that it holds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key: Option<String>,
    /// Until when it holds that, unless its end or a reset frees it before.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub idempotency_key_expires_at: Option<Timestamp>,
    /// The key that it was triggered with and holds no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub freed_idempotency_key: Option<String>,
    /// The batch that it is an item of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_id: Option<BatchId>,
    /// When it was first started.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub finished_at: Option<Timestamp>,
    /// When it may start.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub delayed_until: Option<Timestamp>,
    /// How long after it was due it may still start, in seconds, like `600s`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttl: Option<String>,
    /// When it expired.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expired_at: Option<Timestamp>,
    /// The caller's own data about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<Value>,
    /// The run that was to take its place and its key, if it was cancelled to make way for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replaced_by: Option<RunId>,
    /// The region that its trigger asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
}

impl RunFields {
    /// A run of `task` that stands at `status` and was triggered at a moment, of which nothing more is known.
    #[must_use]
    pub fn new(id: RunId, task: TaskId, status: RunStatus, created_at: Timestamp) -> Self {
        let (is_success, is_cancelled) = (status == RunStatus::Completed, status == RunStatus::Canceled);
        Self {
            id,
            status: status.into(),
            task_identifier: task,
            is_queued: matches!(status, RunStatus::Queued | RunStatus::Delayed),
            is_executing: status == RunStatus::Executing,
            is_waiting: status == RunStatus::Waiting,
            is_completed: status.is_final(),
            is_success,
            is_failed: status.is_final() && !is_success && !is_cancelled,
            is_cancelled,
            is_test: false,
            created_at,
            updated_at: created_at,
            tags: Vec::new(),
            cost_in_cents: 0,
            base_cost_in_cents: 0,
            duration_ms: 0,
            idempotency_key: None,
            idempotency_key_expires_at: None,
            freed_idempotency_key: None,
            batch_id: None,
            started_at: None,
            finished_at: None,
            delayed_until: None,
            ttl: None,
            expired_at: None,
            metadata: None,
            replaced_by: None,
            region: None,
        }
    }
}

/// A run's environment.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Env {
    /// Project and name, like `acme/prod`.
    pub id: EnvironmentId,
    /// The name alone.
    pub name: String,
}

impl Env {
    /// The environment of this id.
    #[must_use]
    pub fn new(id: EnvironmentId) -> Self {
        Self { name: id.name().to_owned(), id }
    }
}

/// Where a run stands in its family.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Family {
    /// Generations between it and its root.
    pub depth: u32,
    /// The call that triggered it.
    #[cfg_attr(feature = "openapi", schema(value_type = TriggerFunction))]
    pub trigger_function: Reported<TriggerFunction>,
}

impl Family {
    /// A run that stands `depth` generations below its root and was triggered by a call.
    #[must_use]
    pub fn new(depth: u32, function: TriggerFunction) -> Self {
        Self { depth, trigger_function: function.into() }
    }
}

/// A run in a list.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RunItem {
    /// What every view has.
    #[serde(flatten)]
    pub run: RunFields,
    /// Its environment.
    pub env: Env,
}

impl RunItem {
    /// A run of an environment.
    #[must_use]
    pub fn new(run: RunFields, env: Env) -> Self {
        Self { run, env }
    }
}

/// A run's parent, root or child.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RelatedRun {
    /// What every view has.
    #[serde(flatten)]
    pub run: RunFields,
    /// Where it stands in the family.
    #[serde(flatten)]
    pub family: Family,
}

impl RelatedRun {
    /// A run that stands there in the family.
    #[must_use]
    pub fn new(run: RunFields, family: Family) -> Self {
        Self { run, family }
    }
}

/// Relatives of a run, as far as they are still there.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RelatedRuns {
    /// The first of the family.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root: Option<RelatedRun>,
    /// The run that triggered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<RelatedRun>,
    /// The runs that it triggered itself, in that order: the first hundred, as far as its attempts have told of them. They tell
    /// when they wait or end.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<RelatedRun>,
}

/// A run with all that is known of it.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RetrievedRun {
    /// What every view has.
    #[serde(flatten)]
    pub run: RunFields,
    /// Its environment.
    pub env: Env,
    /// Where it stands in its family.
    #[serde(flatten)]
    pub family: Family,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Attempts that have started.
    pub attempt_count: u32,
    /// What it waits for, if it is suspended or has yet to start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting_for: Option<WaitingFor>,
    /// The queue that its trigger named, or in which it has, or had, a place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<QueueLabel>,
    /// The key that it was given: the limit of its queue holds for the runs of each such key by themselves.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub concurrency_key: Option<String>,
    /// By how many seconds it counts as older than it is, among those that wait for a place, if it was given that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>))]
    pub priority: Option<Number>,
    /// Its parent, root and children.
    pub related_runs: RelatedRuns,
    /// The schedule whose tick triggered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schedule: Option<RunSchedule>,
    /// What the task is given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Value>))]
    pub payload: Option<Json>,
    /// Where that can be got for fifteen minutes, if it is large.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload_presigned_url: Option<String>,
    /// What the task returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Value>))]
    pub output: Option<Json>,
    /// Where that can be got for fifteen minutes, if it is large.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_presigned_url: Option<String>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<RunError>,
}

impl RetrievedRun {
    /// A run without relatives that has not started, and of whose data nothing is shown.
    #[must_use]
    pub fn new(run: RunFields, env: Env, family: Family) -> Self {
        Self {
            run,
            env,
            family,
            attempts: Vec::new(),
            attempt_count: 0,
            waiting_for: None,
            queue: None,
            concurrency_key: None,
            priority: None,
            related_runs: RelatedRuns::default(),
            schedule: None,
            payload: None,
            payload_presigned_url: None,
            output: None,
            output_presigned_url: None,
            error: None,
        }
    }
}

/// A page of runs, newest first.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RunsPage {
    /// The runs.
    pub data: Vec<RunItem>,
    /// Where it goes on.
    pub pagination: Pagination,
}

impl RunsPage {
    /// These runs, between these pages.
    #[must_use]
    pub fn new(data: Vec<RunItem>, pagination: Pagination) -> Self {
        Self { data, pagination }
    }
}

/// Cursors of the neighbouring pages, where there are any.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Pagination {
    /// Of the page of older runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// Of the page of newer runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<String>,
}

/// The run that an answer is about.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RunName {
    /// Its id.
    pub id: RunId,
}

impl RunName {
    /// The run of this id.
    #[must_use]
    pub fn new(id: RunId) -> Self {
        Self { id }
    }
}
