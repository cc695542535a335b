//! Declare: what a worker has is written as its next deployment, and then the schedules that its tasks declare are put, and those
//! that it declares no longer deleted.
//!
//! Each of these is written in one transaction with a look whether the deployment is still the latest, so that who is late with an
//! earlier one writes nothing. A request that comes again goes on with its own deployment, since who began it may have died, and
//! does nothing once there is a later one. What nobody asks for again, the daily sweep finishes.

use oncekey_wire::{EnvironmentId, Manifest, RequestId, ScheduleId, WorkerName};

use crate::app::App;
use crate::cron::{CronSchedule, Plan, fresh};
use crate::deployment::{StoredDeployment, declared};
use crate::error::Error;
use crate::protocol::schedule::next_of;
use crate::store::{Declared, PutIf};

/// How often a deployment begins anew because another, or a tick, came before it.
const TRIES: usize = 10;

/// Writes what a worker has, and sees to it that its schedules are there and no others of it. The deployment that stands then: a
/// later one, if there is one.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Unprocessable`] for what cannot be declared, and then nothing is written; [`Error::Contended`],
/// [`Error::Refused`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn declare(
    app: &App,
    environment: &EnvironmentId,
    worker: &WorkerName,
    manifest: &Manifest,
    request: &RequestId,
) -> Result<StoredDeployment, Error> {
    can_be_declared(app, environment, manifest)?;
    for _ in 0..TRIES {
        let there = app.store.deployment(environment, worker).await?;
        let deployment = match there {
            Some(there) if there.is_of(request.as_str()) => there,
            Some(there) if there.has_seen(request.as_str()) => {
                tracing::warn!(%worker, %environment, "a deployment that another has followed is left alone");
                return Ok(there);
            }
            there => {
                let now = app.clock.now();
                let next = StoredDeployment::after(there.as_ref(), worker, manifest, request.as_str(), now);
                if !app.store.put_deployment(environment, &next).await? {
                    continue;
                }
                next
            }
        };
        if settle(app, environment, &deployment).await? {
            return Ok(deployment);
        }
    }
    Err(Error::Contended(worker.to_string()))
}

/// Whether a deployment of this environment would be taken: looked at before anything is written.
fn can_be_declared(app: &App, environment: &EnvironmentId, manifest: &Manifest) -> Result<(), Error> {
    for plan in declared(environment, manifest)?.values() {
        next_of(plan, app.clock.now())?;
    }
    Ok(())
}

/// Sees to it that what the workers of this environment declare is there, should somebody have died over it.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn settle_all(app: &App, environment: &EnvironmentId) -> Result<(), Error> {
    for deployment in app.store.deployments(environment).await? {
        match settle(app, environment, &deployment).await {
            Ok(_) => {}
            Err(error) if error.is_transient() => return Err(error),
            // It keeps nobody from looking at the others.
            Err(error) => tracing::error!(worker = %deployment.worker, %environment, %error, "left out"),
        }
    }
    Ok(())
}

/// Writes the schedules that a deployment declares, as far as they are not there. Whether all are: not if another was deployed
/// since, or something else came in between.
async fn settle(app: &App, environment: &EnvironmentId, deployment: &StoredDeployment) -> Result<bool, Error> {
    let wanted = declared(environment, &deployment.manifest)?;
    let there = app.store.current_cron_schedules(environment).await?;
    for (id, plan) in &wanted {
        let found = there.iter().find(|schedule| schedule.id == *id);
        if !put(app, environment, deployment, (id, plan), found).await? {
            return Ok(false);
        }
    }
    let is_of_it = |schedule: &&CronSchedule| schedule.declared_by.as_ref() == Some(&deployment.worker);
    for gone in there.iter().filter(is_of_it).filter(|schedule| !wanted.contains_key(&schedule.id)) {
        if !app.store.write_declared(environment, deployment, Declared::Gone(gone)).await? {
            return Ok(false);
        }
        app.queues.unschedule_tick(&gone.tick()).await;
    }
    Ok(true)
}

/// Whether a schedule is there as it is declared. One that was stopped stays stopped; one that is as declared keeps its tick,
/// which is sent once more in case whoever was to send it has died.
async fn put(
    app: &App,
    environment: &EnvironmentId,
    deployment: &StoredDeployment,
    (id, plan): (&ScheduleId, &Plan),
    there: Option<&CronSchedule>,
) -> Result<bool, Error> {
    let is_as_declared =
        |there: &CronSchedule| there.plan == *plan && there.declared_by.as_ref() == Some(&deployment.worker);
    if let Some(there) = there.filter(|there| is_as_declared(there)) {
        if there.is_active {
            app.queues.send_tick(there.tick()).await?;
        }
        return Ok(true);
    }
    let now = app.clock.now();
    let last_at = there.and_then(|there| there.last_at);
    let schedule = CronSchedule {
        id: id.clone(),
        environment: environment.clone(),
        deduplication_key: None,
        declared_by: Some(deployment.worker.clone()),
        is_active: there.is_none_or(|there| there.is_active),
        generation: fresh(),
        // A time that was carried out does not come again, however slow the clock is here.
        next_at: next_of(plan, last_at.map_or(now, |last_at| last_at.max(now)))?,
        noted_by: None,
        plan: plan.clone(),
        last_at,
        created_at: there.map_or(now, |there| there.created_at),
        updated_at: now,
    };
    let condition = there.map_or(PutIf::Absent, PutIf::As);
    if !app.store.write_declared(environment, deployment, Declared::Put(&schedule, condition)).await? {
        return Ok(false);
    }
    if schedule.is_active {
        app.queues.send_tick(schedule.tick()).await?;
    }
    if let Some(there) = there {
        app.queues.unschedule_tick(&there.tick()).await;
    }
    Ok(true)
}
