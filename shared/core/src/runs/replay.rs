//! Replay: the same task once more, with what it was given. It does not carry the first run's idempotency key: it is asked
//! for because that run is not enough. It may be given a key of its own.

use oncekey_wire::{EnvironmentId, QueueLabel, RequestId, RunId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::error::Error;
use crate::payload::Payload;
use crate::protocol::trigger::{Triggered, trigger};
use crate::request::ignored::Ignored;
use crate::request::options::Options;
use crate::request::{Envelope, KeyHeaders, parse_json};
use crate::run::{RunOptions, TriggerFunction};
use crate::runs::content::payload_of;
use crate::runs::find::find;

/// Who asks for a replay.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    /// Where.
    pub environment: EnvironmentId,
    /// What makes this request this request.
    pub request_id: RequestId,
    /// What its headers say of a key.
    pub key: KeyHeaders,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// Whether it is written by hand: then what nobody reads of it is refused.
    pub by_hand: bool,
}

/// What a replay says of its payload; its options lie beside that.
#[derive(Default, Deserialize)]
struct Given<'a> {
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// Triggers the task of a run again. `body` is empty, or a JSON object of what shall be otherwise: `payload` and the options
/// of a trigger. The run's delay, key, parent and batch are not taken over.
///
/// # Errors
/// [`Error::NotFound`] when this environment has no such run, and those of a trigger.
pub async fn replay(app: &App, asked: ReplayRequest, id: &RunId, body: &[u8]) -> Result<Triggered, Error> {
    let mut run = find(app, &asked.environment, id).await?;
    app.store.read_metadata(std::slice::from_mut(&mut run)).await?;
    let (given, options) = match body.trim_ascii() {
        b"" => (Given::default(), Options::default()),
        body => {
            let (options, ignored) = Ignored::parse_options(body)?;
            if asked.by_hand {
                ignored.without("payload").refused()?;
            }
            (parse_json(body)?, options)
        }
    };
    let payload = match (given.payload, options.payload_type) {
        (None, None) => payload_of(app, &run).await?.ok_or_else(|| {
            Error::NotFound(format!("the payload of run {id} is not kept any more: give one with the replay"))
        })?,
        (raw, kind) => Payload::from_wire(raw, kind.unwrap_or_default())?,
    };
    let request_id = asked.request_id.for_replay(id);
    let envelope = Envelope {
        key: asked.key,
        traceparent: asked.traceparent,
        ..Envelope::new(asked.environment, run.spec.task, request_id, app.clock.now())
    };
    let mut request = options.check(envelope, payload)?;
    let first = run.spec.options;
    // Older versions noted no queue that the run was carried by.
    let carrier = Some(&run.spec.queue).filter(|queue| **queue != app.queues.for_run(&request.task, None));
    let carrier = carrier.and_then(|queue| QueueLabel::parse(queue.as_str()).ok());
    request.queue = request.queue.or_else(|| first.queue()).or(carrier);
    request.options = or(request.options, RunOptions { delay_until: None, traceparent: None, ..first });
    request.function = TriggerFunction::Trigger;
    trigger(app, request).await
}

/// What is given, and what the first run had where nothing is.
fn or(given: RunOptions, first: RunOptions) -> RunOptions {
    let mut placement = first.placement;
    placement.extend(given.placement);
    RunOptions {
        schedule: None,
        tags: if given.tags.is_empty() { first.tags } else { given.tags },
        metadata: given.metadata.or(first.metadata),
        delay_until: given.delay_until.or(first.delay_until),
        ttl_ms: given.ttl_ms.or(first.ttl_ms),
        max_attempts: given.max_attempts.or(first.max_attempts),
        max_duration: given.max_duration.or(first.max_duration),
        test: given.test || first.test,
        traceparent: given.traceparent.or(first.traceparent),
        placement,
    }
}
