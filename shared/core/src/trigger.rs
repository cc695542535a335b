//! Trigger: the first with a key makes a run, every later one within the window gets that run's handle.
//!
//! The order of the steps is the protocol: claim the key, send the message, put the run, answer. A run that exists has
//! been enqueued, so there is no outbox to sweep: the queue is the outbox.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::claim::{Claim, claim};
use crate::error::Error;
use crate::ids::RunId;
use crate::queue::message::RunMessage;
use crate::request::TriggerRequest;
use crate::run::{ClaimedKey, Lineage, Run, RunSpec};
use crate::store::KeyRecord;

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

/// Triggers a task. Sending the same request again, before or after a crash anywhere in here, names the same run (I3).
///
/// # Errors
/// [`Error::Invalid`] for an unknown queue, [`Error::Contended`], [`Error::TooLarge`], [`Error::Aws`].
pub async fn trigger(app: &App, request: TriggerRequest) -> Result<Handle, Error> {
    let queue = app.queues.for_run(&request.task, request.queue.as_deref())?;
    let now = app.clock.now();
    let own = RunId::named(&request.environment, &request.task, &request.request_id);

    let claim = match &request.key {
        Some(key) => claim(app, &request, key, &own, now).await?,
        None => Claim::Ours(KeyRecord { run_id: own, created_at: now, window_ends_at: now }),
    };
    let (record, is_cached) = match claim {
        Claim::Held(id) => {
            tracing::info!(run_id = %id, task = %request.task, environment = %request.environment, "duplicate trigger");
            return Ok(Handle { id, is_cached: true });
        }
        Claim::Ours(record) => (record, false),
        Claim::Help(record) => (record, true),
    };

    let run = new_run(app, request, record, queue).await?;
    app.queues.send_run(&RunMessage::first(&run)).await?;
    app.store.create_run(&run).await?;
    tracing::info!(run_id = %run.id, task = %run.spec.task, environment = %run.spec.environment, "triggered");
    Ok(Handle { id: run.id, is_cached })
}

/// Triggers several at once; their handles or errors, in their order. Of those that share a key, the first makes the run:
/// the others come after it.
pub async fn trigger_all(app: &App, requests: Vec<TriggerRequest>) -> Vec<Result<Handle, Error>> {
    let mut keys = HashSet::new();
    let mut is_first = |request: &TriggerRequest| {
        request.key.as_ref().is_none_or(|key| keys.insert((request.task.clone(), key.hash.clone())))
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
async fn new_run(app: &App, request: TriggerRequest, claim: KeyRecord, queue: String) -> Result<Run, Error> {
    let TriggerRequest { environment, task, key, payload, options, parent, lineage, function, batch, .. } = request;
    let lineage = match (lineage, parent) {
        (Some(known), _) => Some(known),
        (None, Some(id)) => {
            let parent = app.store.run(&id).await?.filter(|parent| parent.spec.environment == environment);
            parent.as_ref().map(Lineage::of_child)
        }
        (None, None) => None,
    };
    let spec = RunSpec {
        environment,
        task,
        created_at: claim.created_at,
        payload_type: payload.kind,
        key: key.map(|key| ClaimedKey { key, window_ends_at: claim.window_ends_at }),
        queue,
        options,
        lineage,
        function,
        batch,
    };
    Ok(Run::new(claim.run_id, spec, payload.text))
}
