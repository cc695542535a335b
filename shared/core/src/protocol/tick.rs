//! Tick: a time of a cron schedule has come.
//!
//! The order of the steps is the protocol: send the next tick, trigger, note both. Who dies in between is followed by another
//! delivery of the same message, which sends the same next tick again and triggers by the same request: neither makes a second
//! run. A tick of a schedule that was deleted, stopped or changed since is dropped, and so is one that has been noted.

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

/// How many of the times to come a task is told.
const UPCOMING: usize = 10;

/// Carries out a tick, or sends it on if its time has not come.
///
/// # Errors
/// As [`trigger`]; to be done again.
pub async fn tick(app: &App, tick: Tick) -> Result<Disposition, Error> {
    let now = app.clock.now();
    if tick.at > now {
        app.queues.send_tick(tick).await?;
        return Ok(Disposition::Done);
    }
    let schedule = app.store.cron_schedule(&tick.environment, &tick.schedule).await?;
    let is_current = |schedule: &CronSchedule| {
        schedule.is_active && schedule.generation == tick.generation && schedule.next_at <= tick.at
    };
    let Some(schedule) = schedule.filter(is_current) else {
        tracing::debug!(schedule = %tick.schedule, at = %tick.at, "a tick of no use");
        return Ok(Disposition::Done);
    };
    let cron = &schedule.plan.cron;
    // Those that were missed are passed over, so that a stack which was off does not go through them one by one.
    let is_missed = cron.next_after(tick.at).is_some_and(|next| next <= now);
    let next = cron.next_after(if is_missed { now } else { tick.at });
    // A later one than is noted comes of a delivery that died before it was noted: the noted one is under way, too.
    let is_noted = schedule.next_at == tick.at;
    if let Some(next) = next.filter(|_| is_noted) {
        app.queues.send_tick(schedule.tick_at(next)).await?;
    }
    if is_missed && schedule.plan.on_missed == OnMissed::Skip {
        tracing::warn!(schedule = %schedule.id, at = %tick.at, "a tick was missed, and is not made up for");
    } else {
        trigger(app, request(&schedule, &tick)?).await?;
    }
    if let Some(next) = next.filter(|_| is_noted) {
        app.store.advance_cron_schedule(&tick, next).await?;
    }
    Ok(Disposition::Done)
}

/// What a tick triggers. Its request is the schedule and the time, whatever else differs between deliveries.
fn request(schedule: &CronSchedule, tick: &Tick) -> Result<TriggerRequest, Error> {
    let CronSchedule { environment, plan, .. } = schedule;
    let request_id = RequestId::of_tick(schedule.id.as_str(), tick.at);
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
        "type": "IMPERATIVE",
        "scheduleId": id,
        "timestamp": tick.at.to_string(),
        "timezone": plan.cron.timezone(),
        "upcoming": upcoming.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let mut dates = json!({ "timestamp": ["Date"] });
    for n in 0..upcoming.len() {
        dates[format!("upcoming.{n}")] = json!(["Date"]);
    }
    if let Some(last_at) = last_at {
        told["lastTimestamp"] = json!(last_at.to_string());
        dates["lastTimestamp"] = json!(["Date"]);
    }
    if let Some(external_id) = &plan.external_id {
        told["externalId"] = json!(external_id);
    }
    let text = json!({ "json": told, "meta": { "values": dates } }).to_string();
    Payload { text: Some(text), kind: PayloadType::SuperJson }
}
