//! Queues as people look at them: those that code declares, that a task has, that are paused or have a limit that was put in place of
//! the declared one, and those in which runs are parked.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use oncekey_wire::{EnvironmentId, QueueLabel};

use crate::app::App;
use crate::error::Error;
use crate::flow::{Limits, QueueSetting};

/// Queues that are counted at once.
const AT_ONCE: usize = 8;

/// A queue as it stands.
#[derive(Clone, Debug)]
pub struct QueueView {
    /// What holds for it.
    pub setting: QueueSetting,
    /// Runs that have a place.
    pub running: u64,
    /// Runs that wait for one.
    pub parked: u64,
}

/// The queues of an environment, and what holds for them.
#[derive(Clone, Debug)]
pub struct Queues {
    limits: Limits,
    /// Their names, in order.
    pub names: BTreeSet<QueueLabel>,
}

impl Queues {
    /// Those that an environment has now.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn of(app: &App, environment: &EnvironmentId) -> Result<Self, Error> {
        let limits = Limits::of(app.store.settings(environment, true).await?);
        let deployments = app.store.deployments(environment).await?;
        let tasks = deployments.iter().flat_map(|deployment| &deployment.manifest.tasks);
        let of_tasks = tasks.map(|task| task.queue.clone().unwrap_or_else(|| QueueLabel::of_task(&task.id)));
        let declared = deployments.iter().flat_map(|deployment| &deployment.manifest.queues);
        let mut names: BTreeSet<_> = of_tasks.chain(declared.map(|queue| queue.name.clone())).collect();
        let left = left(app, environment, &limits, &names).await?;
        names.extend(left);
        Ok(Self { limits, names })
    }

    /// Whether nothing of the environment starts.
    #[must_use]
    pub fn are_paused(&self) -> bool {
        self.limits.is_paused()
    }

    /// How some of them stand.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn views(
        &self,
        app: &App,
        environment: &EnvironmentId,
        names: impl IntoIterator<Item = &QueueLabel>,
    ) -> Result<Vec<QueueView>, Error> {
        let now = app.clock.now();
        let setting = |name: &QueueLabel| {
            let known = self.limits.queues().get(name).cloned();
            known.unwrap_or_else(|| QueueSetting::none(name.clone(), now))
        };
        let views: Vec<_> = names.into_iter().map(|name| view(app, environment, setting(name))).collect();
        stream::iter(views).buffered(AT_ONCE).try_collect().await
    }
}

/// Those that no code names any more, and for which something holds all the same, or in which runs are parked.
async fn left(
    app: &App,
    environment: &EnvironmentId,
    limits: &Limits,
    named: &BTreeSet<QueueLabel>,
) -> Result<Vec<QueueLabel>, Error> {
    let others = limits.queues().values().filter(|setting| !named.contains(&setting.queue));
    let looks: Vec<_> = others
        .map(|setting| async move {
            let holds = setting.paused || setting.overridden.is_some();
            let is_left = holds || app.store.next_parked_lane(environment, &setting.queue, None).await?.is_some();
            Ok::<_, Error>(is_left.then(|| setting.queue.clone()))
        })
        .collect();
    let left: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(left.into_iter().flatten().collect())
}

/// How a queue stands that this holds for.
///
/// # Errors
/// [`Error::Aws`].
pub async fn view(app: &App, environment: &EnvironmentId, setting: QueueSetting) -> Result<QueueView, Error> {
    let now = app.clock.now();
    let (places, parked) = tokio::try_join!(
        app.store.places_of(environment, &setting.queue),
        app.store.parked_count(environment, &setting.queue)
    )?;
    let running: usize = places.iter().map(|places| places.live_without(None, now)).sum();
    // Who was given a place stays parked until it starts.
    let given = places.iter().map(|places| places.reserved(now)).sum::<usize>() as u64;
    Ok(QueueView { setting, running: running as u64 - given, parked })
}
