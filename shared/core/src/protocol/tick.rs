//! Tick: a time of a cron schedule has come.
//!
//! The order of the steps is the protocol: send the next tick, trigger, note both. Who dies in between is followed by another
//! delivery of the same message, which sends the same next tick again and triggers by the same request: neither makes a second
//! run. The next tick may come before its sender has come to an end, or while it waits to be delivered again: so each sends the
//! one after it, unless a later one is noted, and a tick that was overtaken is carried out all the same. Of two messages of one
//! tick the noted one goes on, so that the chain does not stay double. A tick of a schedule that was deleted, stopped or changed
//! since is dropped.

use oncekey_wire::RequestId;
use serde_json::json;

use crate::app::App;
use crate::cron::{CronSchedule, OfSchedule, OnMissed, OnOverlap, Plan, Tick};
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
    let is_current = |schedule: &CronSchedule| schedule.is_active && schedule.generation == tick.generation;
    let Some(schedule) = schedule.filter(is_current) else {
        tracing::debug!(schedule = %tick.schedule, at = %tick.at, "a tick of no use");
        return Ok(Disposition::Done);
    };
    let Plan { cron, on_missed, on_overlap, .. } = &schedule.plan;
    // Those that were missed are passed over, so that a stack which was off does not go through them one by one.
    let is_missed = cron.next_after(tick.at).is_some_and(|next| next <= now);
    let is_overtaken = tick.at < schedule.next_at;
    // Another message of the tick that is noted to be under way: that one goes on.
    let is_twin = tick.at == schedule.next_at && tick.link != schedule.link;
    let next = cron.next_after(if is_missed { now } else { tick.at }).filter(|_| !is_overtaken && !is_twin);
    let next = next.map(|at| schedule.tick_at(at));
    if let Some(next) = &next {
        app.queues.send_tick(next.clone()).await?;
    }
    if is_missed && *on_missed == OnMissed::Skip {
        tracing::warn!(schedule = %schedule.id, at = %tick.at, "a tick was missed, and is not made up for");
    } else if is_overtaken && *on_overlap == OnOverlap::Skip {
        // It may have made no run because there was one, and must not make one now.
        tracing::debug!(schedule = %schedule.id, at = %tick.at, "a later tick was carried out");
    } else {
        trigger(app, request(&schedule, &tick)?).await?;
    }
    if let Some(next) = &next {
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
