//! Schedule: what is done with the cron schedules of an environment. Each change has a generation of its own, is written on
//! condition that nobody else changed it meanwhile, and then sends its first tick: ticks of earlier generations are dropped.
//! Who dies between the two has not answered, and is asked again; the daily sweep finds what nobody asks for.

use std::time::Duration;

use oncekey_wire::EnvironmentId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::cron::{CronSchedule, Plan, ScheduleId, fresh};
use crate::error::Error;
use crate::store::PutIf;

/// How late a tick is of which nobody has heard: its message is lost.
const NOT_HEARD_OF: Duration = Duration::from_secs(60 * 60);

/// Makes the schedule of this deduplication key, or changes the one that there is, which is active then.
///
/// # Errors
/// [`Error::Invalid`] for a time that never comes, [`Error::Contended`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn create(
    app: &App,
    environment: &EnvironmentId,
    deduplication_key: String,
    plan: Plan,
) -> Result<CronSchedule, Error> {
    let id = ScheduleId::named(environment, &deduplication_key);
    if let Some(there) = app.store.cron_schedule(environment, &id).await? {
        return change(app, there, Change { plan: Some(plan), is_active: true }).await;
    }
    let now = app.clock.now();
    let schedule = CronSchedule {
        id,
        environment: environment.clone(),
        deduplication_key,
        is_active: true,
        generation: fresh(),
        next_at: next_of(&plan, now)?,
        link: fresh(),
        plan,
        last_at: None,
        created_at: now,
        updated_at: now,
    };
    put(app, schedule, PutIf::Absent).await
}

/// What is to be another about a schedule.
#[derive(Clone, Debug)]
pub struct Change {
    /// What it is to do, if another.
    pub plan: Option<Plan>,
    /// Whether it ticks from now on.
    pub is_active: bool,
}

/// Changes a schedule. One that is as it is to be stays as it is, so that the same request can be sent again.
///
/// # Errors
/// As [`create`].
pub async fn change(app: &App, there: CronSchedule, change: Change) -> Result<CronSchedule, Error> {
    let now = app.clock.now();
    let plan = change.plan.unwrap_or_else(|| there.plan.clone());
    // Ticks that are late have lost their message, perhaps: then they are given another, as after a change.
    if plan == there.plan && change.is_active == there.is_active && (!there.is_active || there.next_at > now) {
        if there.is_active {
            app.queues.send_tick(there.tick()).await?;
        }
        return Ok(there);
    }
    let schedule = CronSchedule {
        is_active: change.is_active,
        generation: fresh(),
        next_at: next_of(&plan, now)?,
        link: fresh(),
        plan,
        updated_at: now,
        ..there.clone()
    };
    let changed = put(app, schedule, PutIf::Of(&there.generation)).await?;
    app.queues.unschedule_tick(&there.tick()).await;
    Ok(changed)
}

async fn put(app: &App, schedule: CronSchedule, condition: PutIf<'_>) -> Result<CronSchedule, Error> {
    if !app.store.put_cron_schedule(&schedule, condition).await? {
        return Err(Error::Contended(schedule.deduplication_key));
    }
    if schedule.is_active {
        app.queues.send_tick(schedule.tick()).await?;
    }
    Ok(schedule)
}

fn next_of(plan: &Plan, now: Timestamp) -> Result<Timestamp, Error> {
    plan.cron
        .next_after(now)
        .ok_or_else(|| Error::invalid("cron", format!("{:?} names a time that never comes", plan.cron.expression())))
}

/// The schedule of this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn find(app: &App, environment: &EnvironmentId, id: &ScheduleId) -> Result<CronSchedule, Error> {
    let there = app.store.cron_schedule(environment, id).await?;
    there.ok_or_else(|| Error::NotFound(format!("there is no schedule {id} in {environment}")))
}

/// Deletes a schedule: ticks that are under way find none.
///
/// # Errors
/// As [`find`].
pub async fn delete(app: &App, environment: &EnvironmentId, id: &ScheduleId) -> Result<(), Error> {
    let there = find(app, environment, id).await?;
    app.store.delete_cron_schedule(environment, id).await?;
    app.queues.unschedule_tick(&there.tick()).await;
    Ok(())
}

/// Sends the ticks of this environment that are so late that their messages must be lost.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn send_lost_ticks(app: &App, environment: &EnvironmentId) -> Result<(), Error> {
    let now = app.clock.now();
    for schedule in app.store.cron_schedules(environment).await? {
        if schedule.is_active && now.since(schedule.next_at) > NOT_HEARD_OF {
            tracing::warn!(schedule = %schedule.id, at = %schedule.next_at, "its tick is late: it is sent again");
            app.queues.send_tick(schedule.tick()).await?;
        }
    }
    Ok(())
}
