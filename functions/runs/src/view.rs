//! A run as the API shows it. An absent field is left out, as the client refuses `null`.

use oncekey_core::run::{RunError, TriggerFunction};
use oncekey_core::{BatchId, EnvironmentId, Run, RunId, RunStatus, TaskId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What every view of a run has.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunFields {
    id: RunId,
    status: RunStatus,
    task_identifier: TaskId,
    is_queued: bool,
    is_executing: bool,
    is_waiting: bool,
    /// Whether the status is final, whichever it is: the client's `runs.poll` waits for this.
    is_completed: bool,
    is_success: bool,
    is_failed: bool,
    is_cancelled: bool,
    is_test: bool,
    created_at: String,
    updated_at: String,
    tags: Vec<String>,
    cost_in_cents: u32,
    base_cost_in_cents: u32,
    /// From the first start to the end, or to now; 0 before the start.
    duration_ms: u64,
    /// The key that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<BatchId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delayed_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// A run's environment.
#[derive(Serialize, ToSchema)]
struct Env {
    id: EnvironmentId,
    name: String,
}

/// Where a run stands in its family.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Family {
    /// Generations between it and its root.
    depth: u32,
    trigger_function: TriggerFunction,
}

/// A run in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunItem {
    #[serde(flatten)]
    run: RunFields,
    env: Env,
}

/// A run's parent or root.
#[derive(Serialize, ToSchema)]
struct RelatedRun {
    #[serde(flatten)]
    run: RunFields,
    #[serde(flatten)]
    family: Family,
}

#[derive(Serialize, ToSchema)]
struct RelatedRuns {
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<RelatedRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<RelatedRun>,
}

/// A run with all that is known of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RetrievedRun {
    #[serde(flatten)]
    run: RunFields,
    env: Env,
    #[serde(flatten)]
    family: Family,
    /// Always empty: of an attempt that is over, nothing but its error is kept.
    attempts: Vec<Value>,
    /// Attempts that have started.
    attempt_count: u32,
    related_runs: RelatedRuns,
    /// What the task is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// Where that can be got for fifteen minutes, if it is large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_presigned_url: Option<String>,
    /// What the task returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
    /// Where that can be got for fifteen minutes, if it is large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_presigned_url: Option<String>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RunError>,
}

impl RunItem {
    pub(crate) fn new(run: &Run, holds_key: bool, now: Timestamp) -> Self {
        Self { env: Env::of(run), run: RunFields::new(run, holds_key, now) }
    }
}

impl RetrievedRun {
    /// `relatives` are those of its parent and root that could be read.
    pub(crate) fn new(run: &Run, holds_key: bool, relatives: &[Run], now: Timestamp) -> Self {
        let relative = |id: Option<&RunId>| {
            let found = relatives.iter().find(|relative| Some(&relative.id) == id)?;
            Some(RelatedRun { run: RunFields::new(found, false, now), family: Family::of(found) })
        };
        let lineage = run.spec.lineage.as_ref();
        Self {
            run: RunFields::new(run, holds_key, now),
            env: Env::of(run),
            family: Family::of(run),
            attempts: Vec::new(),
            attempt_count: if run.started_at.is_some() { run.turn.attempt } else { 0 },
            related_runs: RelatedRuns {
                root: relative(lineage.map(|line| &line.root)),
                parent: relative(lineage.map(|line| &line.parent)),
            },
            payload: if run.stored_payload().is_some() { None } else { run.payload().value().ok().flatten() },
            payload_presigned_url: None,
            output_presigned_url: None,
            output: run.output.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            error: run.error.clone(),
        }
    }
}

impl Env {
    fn of(run: &Run) -> Self {
        let environment = &run.spec.environment;
        Self { id: environment.clone(), name: environment.name().to_owned() }
    }
}

impl Family {
    fn of(run: &Run) -> Self {
        let depth = run.spec.lineage.as_ref().map_or(0, |line| line.depth);
        Self { depth, trigger_function: run.spec.function }
    }
}

impl RunFields {
    fn new(run: &Run, holds_key: bool, now: Timestamp) -> Self {
        let (status, options) = (run.status, &run.spec.options);
        let shown = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        let is_success = status == RunStatus::Completed;
        let is_cancelled = status == RunStatus::Canceled;
        let key = run.spec.key.as_ref().filter(|_| holds_key);
        Self {
            id: run.id.clone(),
            status,
            task_identifier: run.spec.task.clone(),
            is_queued: matches!(status, RunStatus::Queued | RunStatus::Delayed),
            is_executing: status == RunStatus::Executing,
            is_waiting: status == RunStatus::Waiting,
            is_completed: status.is_final(),
            is_success,
            is_failed: status.is_final() && !is_success && !is_cancelled,
            is_cancelled,
            is_test: options.test,
            created_at: run.spec.created_at.to_string(),
            updated_at: run.updated_at.to_string(),
            tags: options.tags.clone(),
            cost_in_cents: 0,
            base_cost_in_cents: 0,
            duration_ms: duration_ms(run, now),
            idempotency_key: key.map(|claimed| claimed.key.shown().to_owned()),
            batch_id: run.spec.batch.clone(),
            started_at: shown(run.started_at),
            finished_at: shown(run.finished_at),
            delayed_until: shown(run.delayed_until()),
            ttl: options.ttl_ms.map(|ttl| format!("{}s", ttl / 1000)),
            expired_at: shown(run.finished_at.filter(|_| status == RunStatus::Expired)),
            metadata: options.metadata.clone(),
            region: options.placement.get("region").and_then(Value::as_str).map(str::to_owned),
        }
    }
}

fn duration_ms(run: &Run, now: Timestamp) -> u64 {
    let millis = |started: Timestamp| run.finished_at.unwrap_or(now).since(started).as_millis();
    run.started_at.map_or(0, |started| u64::try_from(millis(started)).unwrap_or(u64::MAX))
}
