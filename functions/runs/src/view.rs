//! A run as the API shows it. An absent field is left out, as the client refuses `null`.

use oncekey_core::{Run, RunId, RunStatus, Timestamp};
use serde_json::{Map, Value, json};

/// An item of a list of runs.
pub fn list_item(run: &Run, holds_key: bool, now: Timestamp) -> Value {
    let mut item = common(run, holds_key, now);
    let environment = &run.spec.environment;
    item.insert("env".to_owned(), json!({ "id": environment, "name": environment.name() }));
    Value::Object(item)
}

/// A run with all that is known of it. `relatives` are those of its parent and root that could be read.
pub fn retrieved(run: &Run, holds_key: bool, relatives: &[Run], now: Timestamp) -> Value {
    let mut shown = common(run, holds_key, now);
    let environment = &run.spec.environment;
    shown.insert("env".to_owned(), json!({ "id": environment, "name": environment.name() }));
    shown.insert("attempts".to_owned(), json!([]));
    shown.insert("attemptCount".to_owned(), json!(if run.started_at.is_some() { run.attempt } else { 0 }));
    extend(&mut shown, family(run));
    let lineage = run.spec.lineage.as_ref();
    let relative = |id: Option<&RunId>| {
        let found = relatives.iter().find(|relative| Some(&relative.id) == id)?;
        let mut relative = common(found, false, now);
        extend(&mut relative, family(found));
        Some(relative)
    };
    let mut related = Map::new();
    insert(&mut related, "root", relative(lineage.map(|line| &line.root)));
    insert(&mut related, "parent", relative(lineage.map(|line| &line.parent)));
    shown.insert("relatedRuns".to_owned(), Value::Object(related));
    insert(&mut shown, "payload", run.payload().value().ok().flatten());
    insert(&mut shown, "output", run.output.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()));
    insert(&mut shown, "error", run.error.clone());
    Value::Object(shown)
}

fn family(run: &Run) -> Value {
    json!({
        "depth": run.spec.lineage.as_ref().map_or(0, |line| line.depth),
        "triggerFunction": run.spec.function,
    })
}

/// The fields that every view of a run has.
fn common(run: &Run, holds_key: bool, now: Timestamp) -> Map<String, Value> {
    let status = run.status;
    let options = &run.spec.options;
    let completed = status == RunStatus::Completed;
    let canceled = status == RunStatus::Canceled;
    let mut shown = Map::new();
    extend(
        &mut shown,
        json!({
            "id": run.id,
            "status": status,
            "taskIdentifier": run.spec.task,
            "isQueued": matches!(status, RunStatus::Queued | RunStatus::Delayed),
            "isExecuting": status == RunStatus::Executing,
            "isWaiting": status == RunStatus::Waiting,
            // Every final status, or the client's `runs.poll` would spin.
            "isCompleted": status.is_final(),
            "isSuccess": completed,
            "isFailed": status.is_final() && !completed && !canceled,
            "isCancelled": canceled,
            "isTest": options.test,
            "createdAt": run.spec.created_at.to_string(),
            "updatedAt": run.updated_at.to_string(),
            "tags": options.tags,
            "costInCents": 0,
            "baseCostInCents": 0,
            "durationMs": duration_ms(run, now),
        }),
    );
    let key = run.spec.key.as_ref().filter(|_| holds_key).map(|claimed| claimed.key.shown());
    insert(&mut shown, "idempotencyKey", key);
    insert(&mut shown, "batchId", run.spec.batch.as_ref());
    insert(&mut shown, "startedAt", run.started_at.map(|at| at.to_string()));
    insert(&mut shown, "finishedAt", run.finished_at.map(|at| at.to_string()));
    insert(&mut shown, "delayedUntil", run.delayed_until().map(|at| at.to_string()));
    insert(&mut shown, "ttl", options.ttl_ms.map(|ttl| format!("{}s", ttl / 1000)));
    let expired_at = run.finished_at.filter(|_| status == RunStatus::Expired);
    insert(&mut shown, "expiredAt", expired_at.map(|at| at.to_string()));
    insert(&mut shown, "metadata", options.metadata.clone());
    insert(&mut shown, "region", options.placement.get("region").filter(|region| region.is_string()));
    shown
}

/// Milliseconds from the first start to the end, or to now; 0 before the start.
fn duration_ms(run: &Run, now: Timestamp) -> u64 {
    let millis = |started: Timestamp| run.finished_at.unwrap_or(now).since(started).as_millis();
    run.started_at.map_or(0, |started| u64::try_from(millis(started)).unwrap_or(u64::MAX))
}

fn insert<V: serde::Serialize>(map: &mut Map<String, Value>, name: &str, value: Option<V>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), json!(value));
    }
}

fn extend(map: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        map.extend(more);
    }
}
