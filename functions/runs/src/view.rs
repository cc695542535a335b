//! A run as the API shows it. An absent field is left out, as the client refuses `null`.

use oncekey_core::{Run, RunId, RunStatus, Timestamp};
use oncekey_wire::{Env, Family, RelatedRun, RelatedRuns, RetrievedRun, RunFields, RunItem};
use serde_json::Value;

/// A run in a list.
pub(crate) fn item(run: &Run, holds_key: bool, now: Timestamp) -> RunItem {
    RunItem { env: env(run), run: fields(run, holds_key, now) }
}

/// A run with all that is known of it. `relatives` are those of its parent and root that could be read.
pub(crate) fn retrieved(run: &Run, holds_key: bool, relatives: &[Run], now: Timestamp) -> RetrievedRun {
    let relative = |id: Option<&RunId>| {
        let found = relatives.iter().find(|relative| Some(&relative.id) == id)?;
        Some(RelatedRun { run: fields(found, false, now), family: family(found) })
    };
    let lineage = run.spec.lineage.as_ref();
    RetrievedRun {
        run: fields(run, holds_key, now),
        env: env(run),
        family: family(run),
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

fn env(run: &Run) -> Env {
    let environment = &run.spec.environment;
    Env { id: environment.clone(), name: environment.name().to_owned() }
}

fn family(run: &Run) -> Family {
    let depth = run.spec.lineage.as_ref().map_or(0, |line| line.depth);
    Family { depth, trigger_function: run.spec.function.into() }
}

fn fields(run: &Run, holds_key: bool, now: Timestamp) -> RunFields {
    let (status, options) = (run.status, &run.spec.options);
    let is_success = status == RunStatus::Completed;
    let is_cancelled = status == RunStatus::Canceled;
    let key = run.spec.key.as_ref().filter(|_| holds_key);
    RunFields {
        id: run.id.clone(),
        status: status.into(),
        task_identifier: run.spec.task.clone(),
        is_queued: matches!(status, RunStatus::Queued | RunStatus::Delayed),
        is_executing: status == RunStatus::Executing,
        is_waiting: status == RunStatus::Waiting,
        is_completed: status.is_final(),
        is_success,
        is_failed: status.is_final() && !is_success && !is_cancelled,
        is_cancelled,
        is_test: options.test,
        created_at: run.spec.created_at,
        updated_at: run.updated_at,
        tags: options.tags.clone(),
        cost_in_cents: 0,
        base_cost_in_cents: 0,
        duration_ms: duration_ms(run, now),
        idempotency_key: key.map(|claimed| claimed.key.shown().to_owned()),
        batch_id: run.spec.batch.clone(),
        started_at: run.started_at,
        finished_at: run.finished_at,
        delayed_until: run.delayed_until(),
        ttl: options.ttl_ms.map(|ttl| format!("{}s", ttl / 1000)),
        expired_at: run.finished_at.filter(|_| status == RunStatus::Expired),
        metadata: options.metadata.clone(),
        region: options.placement.get("region").and_then(Value::as_str).map(str::to_owned),
    }
}

fn duration_ms(run: &Run, now: Timestamp) -> u64 {
    let millis = |started: Timestamp| run.finished_at.unwrap_or(now).since(started).as_millis();
    run.started_at.map_or(0, |started| u64::try_from(millis(started)).unwrap_or(u64::MAX))
}
