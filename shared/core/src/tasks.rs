//! The tasks that workers have declared in an environment. Who triggers another is told so at once, and is not refused: its worker may
//! be deployed later, and some never say what they have.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oncekey_wire::{EnvironmentId, TaskId};

use crate::clock::{Clock, Timestamp};
use crate::store::Store;

/// How long what is known of an environment is gone by.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Most environments that are remembered.
const MAX_KNOWN: usize = 1_000;

/// The tasks of each environment, and until when they are gone by.
type Known = HashMap<EnvironmentId, (Arc<BTreeSet<TaskId>>, Timestamp)>;

/// The tasks of environments, as they were a minute ago at most.
#[derive(Clone)]
pub struct KnownTasks {
    store: Store,
    clock: Clock,
    own: Arc<dyn Fn() -> Vec<TaskId> + Send + Sync>,
    known: Arc<Mutex<Known>>,
}

impl fmt::Debug for KnownTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownTasks").finish_non_exhaustive()
    }
}

impl KnownTasks {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, own: Arc::new(Vec::new), known: Arc::default() }
    }

    /// The same beside a worker in this process, whose tasks are known without being declared.
    #[must_use]
    pub fn beside(mut self, own: impl Fn() -> Vec<TaskId> + Send + Sync + 'static) -> Self {
        self.own = Arc::new(own);
        self
    }

    /// What to tell whoever triggers a task that no worker has declared, where any has declared one.
    pub async fn warning(&self, environment: &EnvironmentId, task: &TaskId) -> Option<String> {
        if (self.own)().contains(task) {
            return None;
        }
        let declared = self.declared(environment).await;
        if declared.is_empty() || declared.contains(task) {
            return None;
        }
        Some(format!(
            "no worker has declared the task {task} in {environment}: check its name, or deploy its worker; \
             `oncekey workers list` shows what there is"
        ))
    }

    /// The declared tasks; none, if they cannot be read: a favour, which keeps nobody from triggering.
    async fn declared(&self, environment: &EnvironmentId) -> Arc<BTreeSet<TaskId>> {
        let now = self.clock.now();
        if let Some((tasks, until)) = self.lock().get(environment)
            && now < *until
        {
            return Arc::clone(tasks);
        }
        let deployments = self.store.deployments(environment).await.unwrap_or_default();
        let tasks = deployments.into_iter().flat_map(|deployment| deployment.manifest.tasks).map(|task| task.id);
        let tasks: Arc<BTreeSet<TaskId>> = Arc::new(tasks.collect());
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(environment.clone(), (Arc::clone(&tasks), now.plus(KNOWN_FOR)));
        tasks
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
