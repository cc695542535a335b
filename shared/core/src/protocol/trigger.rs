//! Trigger: the first with a key makes a run, every later one within the window gets that run's handle.
//!
//! The order of the steps is the protocol: plan the run, claim the key, put what stands beside the run, send the message, put
//! the run, answer. A run that exists has been enqueued, so there is no outbox to sweep: the queue is the outbox. And
//! whatever names a payload, the message first of all, finds it there.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use oncekey_wire::{EnvironmentId, RunId, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::IdempotencyKey;
use crate::payload::Payload;
use crate::protocol::claim::{Claim, KeyStatus, claim, key_held};
use crate::protocol::debounce;
use crate::protocol::fingerprint::{guard_payload, other_request, request_fingerprint, was_helped};
use crate::protocol::plan::Planned;
use crate::queue::message::RunMessage;
use crate::request::held::OnKeyHeld;
use crate::request::{Parentage, TriggerRequest};
use crate::run::{Lineage, Run, RunSpec};
use crate::store::{KeyAddress, KeyRecord};
use crate::telemetry::metrics::{Metric, record};

/// Triggers of a batch that are under way at a time.
const AT_A_TIME: usize = 10;

/// What a trigger answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunHandle {
    /// The run.
    pub id: RunId,
    /// Whether the run was there already. False for the claimer alone, however often it asks.
    pub is_cached: bool,
}

/// A trigger's answer, and why it is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// The handle.
    pub handle: RunHandle,
    /// The task whose run it is: another than the one triggered, if they share a group of keys.
    pub task: TaskId,
    /// What became of the key, if there was one.
    pub key: Option<KeyOutcome>,
    /// The public token that triggered the run, now or before, by a hash of it.
    pub by_token: Option<String>,
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
    // On the heap, once: a trigger is a part of much else, and large.
    let triggered = Box::pin(claim_and_send(app, request)).await?;
    let now = app.clock.now();
    record(Metric::Trigger, now);
    if triggered.handle.is_cached {
        record(Metric::CachedHit, now);
    }
    Ok(triggered)
}

async fn claim_and_send(app: &App, mut request: TriggerRequest) -> Result<Triggered, Error> {
    let queue = app.queues.for_run(&request.task, request.queue.as_ref());
    if let Some(wanted) = request.queue.take() {
        request.options.placement.insert("queue".to_owned(), json!({ "name": wanted }));
    }
    let now = app.clock.now();
    let own = RunId::named(&request.environment, &request.task, &request.request_id);
    request.payload = as_it_is_now(app, &request.environment, request.payload).await?;
    // What cannot be made is refused while nothing is written.
    let planned = Planned::of(&mut request, own.clone(), queue, now)?;
    if let Some(token) = &request.token {
        app.store.use_token(&request.environment, token, own.as_str()).await?;
    }

    let claim = match &request.key {
        Some(key) => claim(app, &request, key, &own, now).await?,
        None => Claim::Ours(KeyRecord::new(own, None, now, now), KeyStatus::Created),
    };
    let (record, mut status) = match claim {
        Claim::Held(record, run) => {
            let RunSpec { task, environment, .. } = &run.spec;
            tracing::info!(run_id = %run.id, %task, %environment, "duplicate trigger");
            return Ok(answered_with(*run, KeyOutcome::new(request.key, &record, KeyStatus::Cached)));
        }
        Claim::Ours(record, status) => (record, status),
        Claim::Help(record) => (record, KeyStatus::Cached),
    };

    let lineage = lineage(app, &request.environment, &request.parentage).await?;
    if let Some(debounce) = &request.debounce {
        let (own, lineage) = (&record, lineage.as_ref());
        let trigger = debounce::Trigger { request: &request, debounce, planned: &planned, own, lineage };
        // Apart from the others: what it holds is in nobody's way who is not debounced.
        if let Some(run) = Box::pin(debounce::push(app, &trigger)).await? {
            let status = if status == KeyStatus::Created { KeyStatus::Pushed } else { status };
            return Ok(answered_with(run, KeyOutcome::new(request.key, &record, status)));
        }
    }

    let fingerprint = request_fingerprint(&request);
    let (guard, refuses) = (request.on_payload_mismatch, request.on_key_held == OnKeyHeld::Error);
    let shown = request.key.as_ref().map_or("", IdempotencyKey::display_text).to_owned();
    let mut key = KeyOutcome::new(request.key, &record, status);
    let from_outside = !matches!(request.parentage, Parentage::Known(_));
    let mut run = planned.written(app, record, request.payload, lineage, fingerprint).await?;
    let helps = status == KeyStatus::Cached;
    run.spec.helped = helps;
    app.queues.send_run(&RunMessage::first(&run)).await?;
    let there = app.store.create_run(&run).await?;
    if let Some(there) = &there {
        // An earlier try of this request has pushed another run, a moment ago.
        let is_own = was_helped(there, KeyAddress::of_run(&run)) || !is_of_another_request(there, &run);
        if there.pushed_to.is_some() && is_own {
            return Ok(answered_with(debounce::stands_for(app, there.clone()).await?, key));
        }
        // A key that was claimed for it names that run with another moment, so the next trigger takes it for free.
        if helps && !of_one_claim(there, &run) {
            return Err(Error::Contended(shown));
        }
        // A task that calls again after a wait may call with another moment in its payload: its calls are told apart by number.
        if from_outside && is_of_another_request(there, &run) {
            if !of_one_claim(there, &run) && !was_helped(there, KeyAddress::of_run(&run)) {
                return Err(other_request());
            }
            // Of two who made the run of this claim, or of an earlier one of this request, the other was first.
            guard_payload(guard, &shown, &there.id)?;
            status = KeyStatus::Cached;
            key = key.map(|key| KeyOutcome { status, ..key });
        }
    }
    let is_own = !helps && there.as_ref().is_some_and(|there| was_helped(there, KeyAddress::of_run(&run)));
    if refuses && status == KeyStatus::Cached && !is_own {
        // It was helped into being, and is its claimer's.
        return Err(key_held(&shown, &run.id));
    }
    let Run { id, spec: RunSpec { task, environment, by_token, .. }, .. } = run;
    tracing::info!(run_id = %id, %task, %environment, "triggered");
    // In a group, whoever was first under this name may have made it a run of another task.
    let (task, by_token) = there.map_or((task, by_token), |first| (first.spec.task, first.spec.by_token));
    Ok(Triggered { handle: RunHandle { id, is_cached: status == KeyStatus::Cached }, task, key, by_token })
}

/// The answer that a run gives which was there.
fn answered_with(run: Run, key: Option<KeyOutcome>) -> Triggered {
    let RunSpec { task, by_token, .. } = run.spec;
    Triggered { handle: RunHandle { id: run.id, is_cached: true }, task, key, by_token }
}

/// What a packet holds now: its caller may put another there while its URL is good, and what is triggered is this. Ours are
/// named by their content, and stay what they are.
async fn as_it_is_now(app: &App, environment: &EnvironmentId, payload: Payload) -> Result<Payload, Error> {
    let Some(path) = payload.packet()? else { return Ok(payload) };
    let Some(packet) = app.blobs.get(environment, &path).await? else {
        let text = format!("there is nothing at {}: put the payload there before you trigger with it", path.as_str());
        return Err(Error::invalid("payload", text));
    };
    packet.value().map_err(|error| Error::json(path.as_str(), &error))?;
    Ok(packet)
}

/// Whether both were made for the same claim of a key.
fn of_one_claim(there: &Run, run: &Run) -> bool {
    let key = KeyAddress::of_run(run);
    key.is_some() && KeyAddress::of_run(there) == key && there.spec.created_at == run.spec.created_at
}

/// Whether the run that is there was asked for with another key or payload than `run`.
fn is_of_another_request(there: &Run, run: &Run) -> bool {
    there.spec.fingerprint.is_some() && there.spec.fingerprint != run.spec.fingerprint
}

/// Triggers several at once; their answers or errors, in their order. Of those that share a key, or a debounce key, the first makes
/// the run: the others come after it, and one by one if any of them replaces what it finds, or pushes it.
pub async fn trigger_all(app: &App, requests: Vec<TriggerRequest>) -> Vec<Result<Triggered, Error>> {
    let mut keys = HashSet::new();
    let mut is_first = |request: &TriggerRequest| {
        let key = request.key.as_ref().map(|key| (key.place(&request.task).to_string(), key.hash.clone()));
        let pushed = request.debounce.as_ref().map(|of| (format!("debounce {}", request.task), of.hash.clone()));
        let all = [key, pushed].into_iter().flatten();
        all.filter(|key| !keys.insert(key.clone())).count() == 0
    };
    let (first, later): (Vec<_>, Vec<_>) = requests.into_iter().enumerate().partition(|(_, request)| is_first(request));
    let changes = |request: &TriggerRequest| request.on_key_held == OnKeyHeld::Replace || request.debounce.is_some();
    let one_by_one = later.iter().any(|(_, request)| changes(request));
    let mut results = Vec::new();
    for (requests, at_a_time) in [(first, AT_A_TIME), (later, if one_by_one { 1 } else { AT_A_TIME })] {
        let triggers = requests.into_iter().map(|(place, request)| async move { (place, trigger(app, request).await) });
        results.extend(stream::iter(triggers).buffer_unordered(at_a_time).collect::<Vec<_>>().await);
    }
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Where a run of this parentage stands in its family.
async fn lineage(app: &App, environment: &EnvironmentId, parentage: &Parentage) -> Result<Option<Lineage>, Error> {
    Ok(match parentage {
        Parentage::None => None,
        Parentage::Known(lineage) => Some(lineage.clone()),
        Parentage::Named(id) => {
            let parent = app.store.run(id).await?.filter(|parent| parent.spec.environment == *environment);
            parent.as_ref().map(Lineage::of_child)
        }
    })
}
