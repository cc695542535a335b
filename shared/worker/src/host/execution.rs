//! The texts that the SDK reads: what it is told of a run that it carries out.

use oncekey_core::payload::Payload;
use oncekey_core::{EnvironmentId, Run, Timestamp};
use serde_json::{Value, json};

/// What the SDK wants to know of a run: its `TaskRunExecution`.
pub(crate) fn execution(run: &Run, payload: &Payload, file: &str, max_duration: Option<u64>, now: Timestamp) -> Value {
    let spec = &run.spec;
    let options = &spec.options;
    let started = run.started_at.unwrap_or(now).to_string();
    let key = spec.key.as_ref().map(|claimed| &claimed.key);
    let lineage = spec.lineage.as_ref();
    let (project, name) = spec.environment.as_str().split_once('/').unwrap_or(("", spec.environment.as_str()));
    let mut about = json!({
        "id": run.id, "payload": payload.text.as_deref().unwrap_or_default(), "payloadType": payload.kind.as_str(),
        "tags": run.tags().collect::<Vec<_>>(), "isTest": options.test, "createdAt": spec.created_at.to_string(), "startedAt": started,
        "context": {}, "durationMs": 0, "costInCents": 0, "baseCostInCents": 0, "version": "1",
    });
    let optional = [
        ("idempotencyKey", key.map(|key| json!(key.display_text()))),
        ("idempotencyKeyScope", key.and_then(|key| key.scope).map(|scope| json!(scope))),
        ("maxAttempts", run.max_attempts.or(options.max_attempts).map(|attempts| json!(attempts))),
        ("maxDuration", max_duration.map(|seconds| json!(seconds))),
        ("metadata", run.metadata_at_start().cloned()),
        ("parentTaskRunId", lineage.map(|lineage| json!(lineage.parent))),
        ("rootTaskRunId", lineage.map(|lineage| json!(lineage.root))),
        ("priority", options.placement.get("priority").filter(|priority| priority.is_number()).cloned()),
    ];
    if let Some(about) = about.as_object_mut() {
        about.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    let mut execution = json!({
        "task": { "id": spec.task, "filePath": file },
        "attempt": { "number": run.turn.attempt, "startedAt": now.to_string(), "id": "", "backgroundWorkerId": "",
            "backgroundWorkerTaskId": "", "status": "EXECUTING" },
        "run": about,
        "queue": { "id": format!("queue_{}", spec.queue), "name": spec.queue.to_string() },
        "environment": { "id": spec.environment, "slug": name, "type": kind_of(&spec.environment) },
        "organization": { "id": "oncekey", "slug": "oncekey", "name": "Oncekey" },
        "project": { "id": project, "ref": project, "slug": project, "name": project },
        "machine": { "name": "small-1x", "cpu": 0.5, "memory": 0.5, "centsPerMs": 0 },
    });
    if let (Some(batch), Some(execution)) = (&spec.batch, execution.as_object_mut()) {
        execution.insert("batch".to_owned(), json!({ "id": batch }));
    }
    execution
}

/// The SDK's word for an environment of this name.
fn kind_of(environment: &EnvironmentId) -> &'static str {
    match environment.name() {
        "dev" => "DEVELOPMENT",
        "staging" => "STAGING",
        "preview" => "PREVIEW",
        _ => "PRODUCTION",
    }
}

/// How often and how soon a task is tried again that says nothing of it, as the SDK's options have it.
pub(crate) fn retries() -> Value {
    let policy = oncekey_core::run::retry::RetryPolicy::default();
    json!({ "default": {
        "maxAttempts": policy.max_attempts, "minTimeoutInMs": millis(policy.first_pause), "factor": policy.factor,
        "maxTimeoutInMs": millis(policy.max_pause), "randomize": policy.randomised,
    } })
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
