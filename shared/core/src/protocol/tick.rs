//! Tick: a time of a cron schedule has come.
//!
//! The order of the steps is the protocol: note the next tick, send it, trigger. One delivery notes; who dies after that is
//! followed by another delivery of the same message, which finds itself noted and sends the same next tick again, and triggers by
//! the same request: neither makes a second run. A copy of the message notes and sends nothing, so that the chain does not stay
//! double and does not grow while triggers fail; it triggers all the same, since whoever noted may have died over that. A tick of a
//! schedule that was deleted, stopped or changed since is dropped.

use std::time::Duration;

use oncekey_wire::RequestId;
use serde_json::json;

use crate::app::App;
use crate::cron::{CronSchedule, OfSchedule, OnMissed, OnOverlap, Tick};
use crate::error::Error;
use crate::key::{IdempotencyKey, KeyRelease};
use crate::payload::{Payload, PayloadType};
use crate::protocol::trigger::trigger;
use crate::queue::batch::Disposition;
use crate::request::TriggerRequest;

/// What SQS delays at least; less than that is slept.
const SHORTEST_DELAY: Duration = Duration::from_secs(1);
/// How late a tick may be and is not missed, though the next is due: who died over it is followed by another delivery.
const LATE: Duration = Duration::from_secs(15 * 60);
/// How many of the times to come a task is told.
const UPCOMING: usize = 10;

/// Carries out a tick that came in the message `by`, or sends it on if its time has not come.
///
/// # Errors
/// As [`trigger`]; to be done again.
pub async fn tick(app: &App, tick: Tick, by: &str) -> Result<Disposition, Error> {
    if tick.at.since(app.clock.now()) >= SHORTEST_DELAY {
        app.queues.send_tick(tick).await?;
        return Ok(Disposition::Done);
    }
    app.clock.sleep_until(tick.at).await;
    let now = app.clock.now();
    let Some(schedule) = current(app, &tick).await? else { return Ok(Disposition::Done) };
    let cron = &schedule.plan.cron;
    // Those that were missed are passed over, so that a stack which was off does not go through them one by one.
    let is_missed = now.since(tick.at) > LATE && cron.next_after(tick.at).is_some_and(|next| next <= now);
    let mut noted = schedule.clone();
    if let Some(next) = cron.next_after(if is_missed { now } else { tick.at }).filter(|_| schedule.next_at == tick.at) {
        if app.store.advance_cron_schedule(&tick, next, by).await? {
            (noted.next_at, noted.last_at, noted.noted_by) = (next, Some(tick.at), Some(by.to_owned()));
        } else {
            // By a copy, or by this very message: its other delivery, or a first try whose answer was lost.
            let Some(there) = current(app, &tick).await? else { return Ok(Disposition::Done) };
            noted = there;
        }
    }
    if noted.last_at == Some(tick.at) && noted.noted_by.as_deref() == Some(by) {
        app.queues.send_tick(noted.tick()).await?;
    }
    if is_missed && schedule.plan.on_missed == OnMissed::Skip {
        tracing::warn!(schedule = %schedule.id, at = %tick.at, "a tick was missed, and is not made up for");
        return Ok(Disposition::Done);
    }
    trigger(app, request(&schedule, &tick)?).await?;
    Ok(Disposition::Done)
}

/// The schedule of a tick, if it is as it was when that was sent, in an environment that an API key opens.
async fn current(app: &App, tick: &Tick) -> Result<Option<CronSchedule>, Error> {
    let schedule = app.store.cron_schedule(&tick.environment, &tick.schedule).await?;
    let schedule = schedule.filter(|schedule| schedule.is_active && schedule.generation == tick.generation);
    if schedule.is_none() {
        tracing::debug!(schedule = %tick.schedule, at = %tick.at, "a tick of no use");
        return Ok(None);
    }
    match app.environments.require(&tick.environment).await {
        Err(error) if !error.is_transient() => {
            tracing::warn!(schedule = %tick.schedule, %error, "a schedule has stopped");
            Ok(None)
        }
        required => required.map(|()| schedule),
    }
}

/// What a tick triggers. Its request is the schedule and the time, whatever else differs between deliveries.
fn request(schedule: &CronSchedule, tick: &Tick) -> Result<TriggerRequest, Error> {
    let CronSchedule { environment, plan, .. } = schedule;
    let request_id = RequestId::of_tick(&schedule.id, tick.at);
    let payload = payload(schedule, tick);
    let mut request = TriggerRequest::new(environment.clone(), plan.task.clone(), request_id, payload);
    request.options.schedule = Some(OfSchedule::from(schedule));
    if plan.on_overlap == OnOverlap::Skip {
        // Whoever holds it is the run of an earlier tick, which has not ended.
        request.key = Some(IdempotencyKey::from_wire("schedule", schedule.id.as_str(), None)?);
        request.release = KeyRelease::OnEnd;
    }
    Ok(request)
}

/// What a task of the official client is told of a tick, dates as it writes them.
fn payload(schedule: &CronSchedule, tick: &Tick) -> Payload {
    let CronSchedule { id, plan, last_at, .. } = schedule;
    let upcoming = plan.cron.upcoming(tick.at, UPCOMING);
    let mut told = json!({
        "type": schedule.kind(),
        "scheduleId": id,
        "timestamp": tick.at.to_string(),
        "timezone": plan.cron.timezone(),
        "upcoming": upcoming.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let mut dates = json!({ "timestamp": ["Date"] });
    for n in 0..upcoming.len() {
        dates[format!("upcoming.{n}")] = json!(["Date"]);
    }
    if let Some(last_at) = last_at.filter(|last_at| *last_at < tick.at) {
        told["lastTimestamp"] = json!(last_at.to_string());
        dates["lastTimestamp"] = json!(["Date"]);
    }
    if let Some(external_id) = &plan.external_id {
        told["externalId"] = json!(external_id);
    }
    let text = json!({ "json": told, "meta": { "values": dates } }).to_string();
    Payload { text: Some(text), kind: PayloadType::SuperJson }
}
