//! Trigger: the first with a key makes a run, every later one within the window gets that run's handle.
//!
//! The order of the steps is the protocol: claim the key, send the message, put the run, answer. A run that exists has
//! been enqueued, so there is no outbox to sweep: the queue is the outbox.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use oncekey_wire::{RunId, TaskId};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::IdempotencyKey;
use crate::protocol::claim::{Claim, KeyStatus, claim};
use crate::queue::message::RunMessage;
use crate::queue::name::QueueName;
use crate::request::{Parentage, TriggerRequest};
use crate::run::{ClaimedKey, Lineage, Run, RunSpec};
use crate::store::KeyRecord;
use crate::telemetry::metrics::{Metric, record};

/// Triggers of a batch that are under way at a time.
const AT_A_TIME: usize = 10;

/// What a trigger answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handle {
    /// The run.
    pub id: RunId,
    /// Whether the run was there already. False for the claimer alone, however often it asks.
    pub is_cached: bool,
}

/// A trigger's answer, and why it is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// The handle.
    pub handle: Handle,
    /// The task whose run it is: another than the one triggered, if they share a group of keys.
    pub task: TaskId,
    /// What became of the key, if there was one.
    pub key: Option<KeyOutcome>,
}

/// What became of a trigger's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOutcome {
    /// The key.
    pub key: IdempotencyKey,
    /// Why the handle is this one.
    pub status: KeyStatus,
    /// When the window ends.
    pub window_ends_at: Timestamp,
    /// When the key was claimed.
    pub first_triggered_at: Timestamp,
}

impl KeyOutcome {
    fn new(key: Option<IdempotencyKey>, record: &KeyRecord, status: KeyStatus) -> Option<Self> {
        Some(Self { key: key?, status, window_ends_at: record.window_ends_at, first_triggered_at: record.created_at })
    }
}

/// Triggers a task. Sending the same request again, before or after a crash anywhere in here, names the same run (I3).
///
/// # Errors
/// [`Error::Invalid`] for an unknown queue, [`Error::Unprocessable`] for a duplicate with another payload if that is to be
/// refused, [`Error::Contended`], [`Error::TooLarge`], [`Error::Aws`].
pub async fn trigger(app: &App, request: TriggerRequest) -> Result<Triggered, Error> {
    let triggered = claim_and_send(app, request).await?;
    let now = app.clock.now();
    record(Metric::Trigger, now);
    if triggered.handle.is_cached {
        record(Metric::CachedHit, now);
    }
    Ok(triggered)
}

async fn claim_and_send(app: &App, request: TriggerRequest) -> Result<Triggered, Error> {
    let queue = app.queues.for_run(&request.task, request.queue.as_ref())?;
    let now = app.clock.now();
    let own = RunId::named(&request.environment, &request.task, &request.request_id);

    let claim = match &request.key {
        Some(key) => claim(app, &request, key, &own, now).await?,
        None => Claim::Ours(KeyRecord::new(own, None, now, now), KeyStatus::Created),
    };
    let (record, status) = match claim {
        Claim::Held(record, run) => {
            let RunSpec { task, environment, .. } = run.spec;
            tracing::info!(run_id = %run.id, %task, %environment, "duplicate trigger");
            let key = KeyOutcome::new(request.key, &record, KeyStatus::Cached);
            return Ok(Triggered { handle: Handle { id: run.id, is_cached: true }, task, key });
        }
        Claim::Ours(record, status) => (record, status),
        Claim::Help(record) => (record, KeyStatus::Cached),
    };

    let key = KeyOutcome::new(request.key.clone(), &record, status);
    let payload = app.blobs.offload(&request.environment, request.payload).await?;
    let request = TriggerRequest { payload, ..request };
    let run = new_run(app, request, record, queue).await?;
    app.queues.send_run(&RunMessage::first(&run)).await?;
    let created = app.store.create_run(&run).await?;
    let Run { id, spec: RunSpec { task, environment, .. }, .. } = run;
    tracing::info!(run_id = %id, %task, %environment, "triggered");
    // In a group, whoever was first under this name may have made it a run of another task.
    let in_group = key.as_ref().is_some_and(|outcome| outcome.key.group.is_some());
    let first = if in_group && !created { app.store.run(&id).await? } else { None };
    let task = first.map_or(task, |first| first.spec.task);
    Ok(Triggered { handle: Handle { id, is_cached: status == KeyStatus::Cached }, task, key })
}

/// Triggers several at once; their answers or errors, in their order. Of those that share a key, the first makes the run:
/// the others come after it.
pub async fn trigger_all(app: &App, requests: Vec<TriggerRequest>) -> Vec<Result<Triggered, Error>> {
    let mut keys = HashSet::new();
    let mut is_first = |request: &TriggerRequest| {
        let key = request.key.as_ref();
        key.is_none_or(|key| keys.insert((key.place(&request.task).to_string(), key.hash.clone())))
    };
    let (first, later): (Vec<_>, Vec<_>) = requests.into_iter().enumerate().partition(|(_, request)| is_first(request));
    let mut results = Vec::new();
    for requests in [first, later] {
        let triggers = requests.into_iter().map(|(place, request)| async move { (place, trigger(app, request).await) });
        results.extend(stream::iter(triggers).buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await);
    }
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The run that a claim makes: the claim's name and moment, the request's everything else.
async fn new_run(app: &App, request: TriggerRequest, claim: KeyRecord, queue: QueueName) -> Result<Run, Error> {
    let TriggerRequest { environment, task, key, payload, options, parentage, function, batch, .. } = request;
    let lineage = match parentage {
        Parentage::None => None,
        Parentage::Known(lineage) => Some(lineage),
        Parentage::Named(id) => {
            let parent = app.store.run(&id).await?.filter(|parent| parent.spec.environment == environment);
            parent.as_ref().map(Lineage::of_child)
        }
    };
    let spec = RunSpec {
        payload_type: payload.kind,
        key: key.map(|key| ClaimedKey { key, window_ends_at: claim.window_ends_at }),
        queue,
        options,
        lineage,
        function,
        batch,
        ..RunSpec::new(environment, task, claim.created_at)
    };
    Ok(Run::new(claim.run_id, spec, payload.text))
}
