//! Schedule: what is done with the cron schedules of an environment. Each change has a generation of its own, is written on
//! condition that nobody else changed the schedule and that it did not tick meanwhile, and then sends its first tick: ticks of
//! earlier generations are dropped. Who dies between the two has not answered, and is asked again; the daily sweep finds what
//! nobody asks for.

use std::time::Duration;

use oncekey_wire::EnvironmentId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::cron::{CronSchedule, Plan, ScheduleId, fresh};
use crate::error::Error;
use crate::store::PutIf;

/// How late a tick is of which nobody has heard: its message is lost.
const NOT_HEARD_OF: Duration = Duration::from_secs(60 * 60);
/// How often a change begins anew because another, or a tick, came before it.
const TRIES: usize = 5;

/// What is to be another about a schedule.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What it is to do, if another.
    pub plan: Option<Plan>,
    /// Whether it ticks from now on, if that is said.
    pub is_active: Option<bool>,
}

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
    let change = Change { plan: Some(plan.clone()), is_active: Some(true) };
    for _ in 0..TRIES {
        if let Some(there) = app.store.cron_schedule(environment, &id).await? {
            if let Some(changed) = try_to_change(app, there, &change).await? {
                return Ok(changed);
            }
            continue;
        }
        let now = app.clock.now();
        let schedule = CronSchedule {
            id: id.clone(),
            environment: environment.clone(),
            deduplication_key: Some(deduplication_key.clone()),
            declared_by: None,
            is_active: true,
            generation: fresh(),
            next_at: next_of(&plan, now)?,
            noted_by: None,
            plan: plan.clone(),
            last_at: None,
            created_at: now,
            updated_at: now,
        };
        if put(app, &schedule, PutIf::Absent).await? {
            return Ok(schedule);
        }
    }
    Err(Error::Contended(deduplication_key))
}

/// Changes a schedule.
///
/// # Errors
/// As [`create`], [`Error::NotFound`], and [`Error::Unprocessable`] for another plan of one that code declares.
pub async fn change(
    app: &App,
    environment: &EnvironmentId,
    id: &ScheduleId,
    change: Change,
) -> Result<CronSchedule, Error> {
    for _ in 0..TRIES {
        let there = find(app, environment, id).await?;
        if change.plan.is_some() {
            is_a_callers(&there)?;
        }
        if let Some(changed) = try_to_change(app, there, &change).await? {
            return Ok(changed);
        }
    }
    Err(Error::Contended(id.to_string()))
}

/// `there`, changed; `None` if it is not any more as it was. One that is as it is to be stays as it is, so that the same request
/// can be sent again, at the moment of a tick too: its tick is sent once more, in case whoever was to send it has died.
async fn try_to_change(app: &App, there: CronSchedule, change: &Change) -> Result<Option<CronSchedule>, Error> {
    let plan = change.plan.clone().unwrap_or_else(|| there.plan.clone());
    let is_active = change.is_active.unwrap_or(there.is_active);
    if plan == there.plan && is_active == there.is_active {
        if is_active {
            app.queues.send_tick(there.tick()).await?;
        }
        return Ok(Some(there));
    }
    let now = app.clock.now();
    let schedule = CronSchedule {
        is_active,
        generation: fresh(),
        next_at: first_of(&plan, Some(&there), now)?,
        noted_by: None,
        plan,
        updated_at: now,
        ..there.clone()
    };
    if !put(app, &schedule, PutIf::As(&there)).await? {
        return Ok(None);
    }
    app.queues.unschedule_tick(&there.tick()).await;
    Ok(Some(schedule))
}

/// Whether the schedule was put, and its first tick sent.
async fn put(app: &App, schedule: &CronSchedule, condition: PutIf<'_>) -> Result<bool, Error> {
    if !app.store.put_cron_schedule(schedule, condition).await? {
        // It may be ours: the answer to the first try was lost.
        let there = app.store.cron_schedule(&schedule.environment, &schedule.id).await?;
        if there.is_none_or(|there| there.generation != schedule.generation) {
            return Ok(false);
        }
    }
    if schedule.is_active {
        app.queues.send_tick(schedule.tick()).await?;
    }
    Ok(true)
}

/// The first time of a plan that follows on a schedule, if there is one.
///
/// A time that is due and that nobody has noted yet stays, if it is one of the new plan's as well: its message would be dropped with
/// the plan before. One that was carried out is not given to another task, however slow the clock is here.
///
/// # Errors
/// [`Error::Invalid`] when there is none.
pub(super) fn first_of(plan: &Plan, there: Option<&CronSchedule>, now: Timestamp) -> Result<Timestamp, Error> {
    let due = there.filter(|there| there.is_active && there.next_at <= now).map(|there| there.next_at);
    if let Some(due) = due.filter(|due| plan.cron.is_at(*due)) {
        return Ok(due);
    }
    next_of(plan, there.and_then(|there| there.last_at).map_or(now, |last_at| last_at.max(now)))
}

/// The first time after `after`.
///
/// # Errors
/// [`Error::Invalid`] when there is none.
pub(super) fn next_of(plan: &Plan, after: Timestamp) -> Result<Timestamp, Error> {
    plan.cron
        .next_after(after)
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

/// Refuses to touch what code declares: its next deployment would undo it.
fn is_a_callers(schedule: &CronSchedule) -> Result<(), Error> {
    let Some(worker) = &schedule.declared_by else { return Ok(()) };
    let (id, task) = (&schedule.id, &schedule.plan.task);
    let text =
        format!("{id} is declared by the code of {task} in worker {worker}: change it there; it can be stopped here");
    Err(Error::Unprocessable(text))
}

/// Deletes a schedule, also one that cannot be read: ticks that are under way find none.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unprocessable`] for one that code declares, [`Error::Aws`].
pub async fn delete(app: &App, environment: &EnvironmentId, id: &ScheduleId) -> Result<(), Error> {
    let there = match find(app, environment, id).await {
        Err(Error::Unreadable { .. }) => None,
        found => Some(found?),
    };
    if let Some(there) = &there {
        is_a_callers(there)?;
    }
    app.store.delete_cron_schedule(environment, id).await?;
    if let Some(there) = there {
        app.queues.unschedule_tick(&there.tick()).await;
    }
    Ok(())
}

/// Sends the ticks of this environment that are so late that their messages must be lost.
///
/// # Errors
/// [`Error::Aws`].
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
