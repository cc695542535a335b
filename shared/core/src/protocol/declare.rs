//! Declare: what a worker has is written as its next deployment, and then the schedules that its tasks declare are put, and those
//! that it declares no longer deleted.
//!
//! Each of these is written in one transaction with a look whether the deployment is still the latest, so that who is late with an
//! earlier one writes nothing. A request that comes again goes on with its own deployment, since who began it may have died, and
//! does nothing once there is a later one. What nobody asks for again, the daily sweep finishes.
//!
//! A task that several workers declare has the schedule of the one that was deployed last: the schedules are read first and then the
//! deployments, so that whose schedule is there is known of. When that worker declares it no longer, the one before has it again.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use oncekey_wire::{EnvironmentId, Manifest, QueueLabel, RequestId, ScheduleId, TaskId, WorkerName};

use crate::app::App;
use crate::cron::{CronSchedule, Plan, fresh};
use crate::deployment::{QueueDeclared, StoredDeployment, check, declared, declared_queues};
use crate::error::Error;
use crate::flow::{QueueSetting, Subject};
use crate::protocol::change::follow;
use crate::protocol::schedule::first_of;
use crate::store::{Declared, PutIf};

/// How often a deployment begins anew because another, or a tick, came before it.
const TRIES: usize = 10;
/// Schedules that are written at once: a thousand of them fit into the time that a function has.
const AT_ONCE: usize = 16;

/// Writes what a worker has, and sees to it that its schedules are there and no others of it. The deployment that stands then: a
/// later one, if there is one.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Unprocessable`] for what cannot be declared, or a request that was one for something else, and
/// then nothing is written; [`Error::Contended`], [`Error::Refused`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn declare(
    app: &App,
    environment: &EnvironmentId,
    worker: &WorkerName,
    manifest: &Manifest,
    request: &RequestId,
) -> Result<StoredDeployment, Error> {
    check(manifest, app.clock.now())?;
    let mut renewed = BTreeSet::new();
    for _ in 0..TRIES {
        let there = app.store.deployment(environment, worker).await?;
        let deployment = match there {
            Some(there) if there.is_of(request.as_str()) && there.manifest == *manifest => there,
            Some(there) if there.is_of(request.as_str()) => {
                let text = "x-trigger-request-idempotency-key: this request has deployed something else: give each deployment \
                            an id of its own, or none";
                return Err(Error::Unprocessable(text.to_owned()));
            }
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
                // The message of an earlier deployment may be under way, which has died over them.
                renewed.extend(there.iter().chain([&next]).flat_map(|one| declared_queues(&[one]).into_keys()));
                next
            }
        };
        if settle(app, environment, &deployment, &renewed).await? {
            return Ok(deployment);
        }
    }
    Err(Error::Contended(worker.to_string()))
}

/// Sees to it that what the workers of this environment declare is there, should somebody have died over it.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn settle_all(app: &App, environment: &EnvironmentId) -> Result<(), Error> {
    for deployment in app.store.deployments(environment).await? {
        match settle(app, environment, &deployment, &BTreeSet::new()).await {
            Ok(_) => {}
            Err(error) if error.is_transient() => return Err(error),
            // It keeps nobody from looking at the others.
            Err(error) => tracing::error!(worker = %deployment.worker, %environment, %error, "left out"),
        }
    }
    Ok(())
}

/// Writes the schedules that a deployment declares, as far as they are not there, and those of other workers that come back with
/// what it declares no longer. Whether all are: not if another was deployed since, or something else came in between.
async fn settle(
    app: &App,
    environment: &EnvironmentId,
    deployment: &StoredDeployment,
    renewed: &BTreeSet<QueueLabel>,
) -> Result<bool, Error> {
    let there = app.store.current_cron_schedules(environment).await?;
    let settings = app.store.settings(environment, true).await?;
    let there: BTreeMap<&ScheduleId, &CronSchedule> = there.iter().map(|schedule| (&schedule.id, schedule)).collect();
    let all = app.store.current_deployments(environment).await?;
    if !settle_queues(app, environment, settings, &all, renewed).await? {
        return Ok(false);
    }
    let own = declared(environment, &deployment.manifest)?;
    let mut owners = owners(environment, &all);
    let mut writes = Vec::new();
    let is_gone = |schedule: &&CronSchedule| {
        schedule.declared_by.as_ref() == Some(&deployment.worker) && !own.contains_key(&schedule.id)
    };
    for gone in there.values().copied().filter(is_gone) {
        // One that another declares as well is that one's from now on.
        writes.push(match owners.remove(&gone.id) {
            Some((heir, plan)) => Write::Put(heir, gone.id.clone(), Box::new(plan), Some(gone)),
            None => Write::Gone(deployment, gone),
        });
    }
    for (id, (owner, plan)) in owners {
        if owner.worker == deployment.worker {
            let found = there.get(&id).copied();
            writes.push(Write::Put(deployment, id, Box::new(plan), found));
        }
    }
    let writing: Vec<_> = writes.into_iter().map(|write| write.carry_out(app, environment)).collect();
    let written: Vec<bool> = stream::iter(writing).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(written.into_iter().all(|done| done))
}

/// Sees to it that of each queue what these deployments declare is known, and written anew of these. Whether it is: not if somebody
/// has changed one meanwhile. The settings were read before the deployments: whoever deploys later than these has those changed again.
async fn settle_queues(
    app: &App,
    environment: &EnvironmentId,
    settings: Vec<Subject>,
    all: &[StoredDeployment],
    renewed: &BTreeSet<QueueLabel>,
) -> Result<bool, Error> {
    let mut wanted = declared_queues(&latest_last(all));
    let mut writes = Vec::new();
    let mut set = |there: QueueSetting, wanted: QueueDeclared| {
        let tasks: Vec<TaskId> = wanted.tasks.into_iter().collect();
        if (there.declared, there.rate, &there.tasks) != (wanted.limit, wanted.rate, &tasks)
            || renewed.contains(&there.queue)
        {
            let next = QueueSetting { declared: wanted.limit, rate: wanted.rate, tasks, ..there.clone() };
            writes.push(async move { follow(app, environment, &there, next).await.map(|written| written.is_some()) });
        }
    };
    let tasks: BTreeSet<QueueLabel> = all
        .iter()
        .flat_map(|deployment| &deployment.manifest.tasks)
        .map(|task| QueueLabel::of_task(&task.id))
        .collect();
    for setting in settings {
        if let Subject::Queue(there) = setting {
            let wanted = match wanted.remove(&there.queue) {
                Some(wanted) => wanted,
                None if tasks.contains(&there.queue) => QueueDeclared::default(),
                // Of a queue that no code names any more, those that wait go on as they were told.
                None => QueueDeclared { limit: there.declared, rate: there.rate, ..QueueDeclared::default() },
            };
            set(there, wanted);
        }
    }
    for (queue, wanted) in wanted {
        set(QueueSetting::none(queue, app.clock.now()), wanted);
    }
    let written: Vec<bool> = stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(written.into_iter().all(|done| done))
}

fn latest_last(all: &[StoredDeployment]) -> Vec<&StoredDeployment> {
    let mut all: Vec<&StoredDeployment> = all.iter().collect();
    all.sort_by_key(|deployment| (deployment.deployed_at, &deployment.worker));
    all
}

/// The schedules that are declared, each with the deployment that it is of: the last of those that declare it.
fn owners<'a>(
    environment: &EnvironmentId,
    all: &'a [StoredDeployment],
) -> BTreeMap<ScheduleId, (&'a StoredDeployment, Plan)> {
    let mut owners = BTreeMap::new();
    for deployment in latest_last(all) {
        // One that cannot be read any more declares nothing.
        let plans = declared(environment, &deployment.manifest).unwrap_or_default();
        owners.extend(plans.into_iter().map(|(id, plan)| (id, (deployment, plan))));
    }
    owners
}

/// What is to be written of a schedule, and for which deployment.
enum Write<'a> {
    Put(&'a StoredDeployment, ScheduleId, Box<Plan>, Option<&'a CronSchedule>),
    Gone(&'a StoredDeployment, &'a CronSchedule),
}

impl Write<'_> {
    /// Whether it was written.
    async fn carry_out(self, app: &App, environment: &EnvironmentId) -> Result<bool, Error> {
        let (deployment, gone) = match self {
            Self::Put(deployment, id, plan, there) => {
                return put(app, environment, deployment, (id, *plan), there).await;
            }
            Self::Gone(deployment, gone) => (deployment, gone),
        };
        if !app.store.write_declared(environment, deployment, Declared::Gone(gone)).await? {
            return Ok(false);
        }
        app.queues.unschedule_tick(&gone.tick()).await;
        Ok(true)
    }
}

/// Whether a schedule is there as it is declared. One that was stopped stays stopped; one that is as declared keeps its tick,
/// which is sent once more in case whoever was to send it has died.
async fn put(
    app: &App,
    environment: &EnvironmentId,
    deployment: &StoredDeployment,
    (id, plan): (ScheduleId, Plan),
    there: Option<&CronSchedule>,
) -> Result<bool, Error> {
    let is_as_declared =
        |there: &&CronSchedule| there.plan == plan && there.declared_by.as_ref() == Some(&deployment.worker);
    if let Some(there) = there.filter(is_as_declared) {
        if there.is_active {
            app.queues.send_tick(there.tick()).await?;
        }
        return Ok(true);
    }
    let now = app.clock.now();
    let schedule = CronSchedule {
        id,
        environment: environment.clone(),
        deduplication_key: None,
        declared_by: Some(deployment.worker.clone()),
        is_active: there.is_none_or(|there| there.is_active),
        generation: fresh(),
        next_at: first_of(&plan, there, now)?,
        noted_by: None,
        plan,
        last_at: there.and_then(|there| there.last_at),
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
