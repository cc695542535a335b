//! Limits: what holds for the queues of an environment, as it was declared and as it was changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oncekey_wire::{EnvironmentId, QueueLabel, TaskId};
use serde::{Deserialize, Serialize};

use super::lane::{Lane, Line};
use super::rate::Rate;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::store::Store;

/// How long what is known of an environment's queues is gone by: a change holds from then on.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// The most places that a lane has, whatever its limit is: one item holds them, of 400 KB at most.
pub(crate) const MOST_PLACES: u32 = 2_000;
/// Most environments that are remembered.
const MAX_KNOWN: usize = 1_000;

/// A limit that somebody has put in place of the declared one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overridden {
    /// The limit.
    pub limit: u32,
    /// Since when.
    pub at: Timestamp,
}

/// What holds for a queue, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSetting {
    /// The queue.
    pub queue: QueueLabel,
    /// How often it was changed.
    pub generation: u64,
    /// The limit that code declares.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub declared: Option<u32>,
    /// How often attempts of each lane start, as code declares it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<Rate>,
    /// The limit in its place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overridden: Option<Overridden>,
    /// Whether nothing of it is to start.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub paused: bool,
    /// The tasks whose runs are in it unless their trigger names another.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tasks: Vec<TaskId>,
    /// When it was changed.
    pub updated_at: Timestamp,
}

impl QueueSetting {
    /// That of a queue of which nothing was ever said.
    #[must_use]
    pub fn none(queue: QueueLabel, now: Timestamp) -> Self {
        Self {
            queue,
            generation: 0,
            declared: None,
            rate: None,
            overridden: None,
            paused: false,
            tasks: Vec::new(),
            updated_at: now,
        }
    }

    /// The limit that holds.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        self.overridden.as_ref().map(|overridden| overridden.limit).or(self.declared)
    }
}

/// What holds for all queues of an environment, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentSetting {
    /// How often it was changed.
    pub generation: u64,
    /// Whether nothing is to start.
    pub paused: bool,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// What a setting is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A queue.
    Queue(QueueSetting),
    /// The environment.
    Environment(EnvironmentSetting),
}

/// How many runs of a lane may have a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The limit, if there is one.
    pub limit: Option<u32>,
    /// Whether nothing is to start.
    pub paused: bool,
}

impl Bound {
    /// That which two settings make.
    #[must_use]
    pub fn of(queue: Option<&QueueSetting>, environment: Option<&EnvironmentSetting>) -> Self {
        Self {
            limit: queue.and_then(QueueSetting::limit),
            paused: queue.is_some_and(|queue| queue.paused) || environment.is_some_and(|all| all.paused),
        }
    }

    /// Whether runs start without a place.
    #[must_use]
    pub fn is_free(self) -> bool {
        self.limit.is_none() && !self.paused
    }

    /// Places that may be taken.
    #[must_use]
    pub fn places(self) -> usize {
        match self.limit {
            _ if self.paused => 0,
            limit => usize::try_from(limit.unwrap_or(MOST_PLACES).min(MOST_PLACES)).unwrap_or(usize::MAX),
        }
    }
}

/// What holds for the queues of an environment.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    environment: Option<EnvironmentSetting>,
    queues: BTreeMap<QueueLabel, QueueSetting>,
    of_task: HashMap<TaskId, QueueLabel>,
}

impl Limits {
    /// Those that these settings make.
    #[must_use]
    pub fn of(settings: Vec<Subject>) -> Self {
        let mut limits = Self::default();
        for setting in settings {
            match setting {
                Subject::Queue(queue) => {
                    limits.queues.insert(queue.queue.clone(), queue);
                }
                Subject::Environment(environment) => limits.environment = Some(environment),
            }
        }
        let mut queues: Vec<&QueueSetting> = limits.queues.values().collect();
        // A task that two of them have, for a moment, is the later one's.
        queues.sort_by_key(|queue| queue.updated_at);
        let of_task =
            queues.into_iter().flat_map(|queue| queue.tasks.iter().map(|task| (task.clone(), queue.queue.clone())));
        limits.of_task = of_task.collect();
        limits
    }

    /// The queues of which something was said, by their names.
    #[must_use]
    pub fn queues(&self) -> &BTreeMap<QueueLabel, QueueSetting> {
        &self.queues
    }

    /// Whether nothing is to start in the environment.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.environment.as_ref().is_some_and(|all| all.paused)
    }

    /// The lane of a run.
    #[must_use]
    pub fn lane(&self, line: &Line) -> Lane {
        line.lane(|task| self.of_task.get(task).cloned().unwrap_or_else(|| QueueLabel::of_task(task)))
    }

    /// How often attempts of each lane of a queue start, if anything says so.
    #[must_use]
    pub fn rate(&self, queue: &QueueLabel) -> Option<Rate> {
        self.queues.get(queue)?.rate
    }

    /// What holds for a queue.
    #[must_use]
    pub fn bound(&self, queue: &QueueLabel) -> Bound {
        Bound::of(self.queues.get(queue), self.environment.as_ref())
    }
}

/// What is known of each environment, and until when that is gone by.
type Known = HashMap<EnvironmentId, (Arc<Limits>, Timestamp)>;

/// The limits of environments, as they were some seconds ago at most. What is known of before may let a run in, and keeps none
/// out.
#[derive(Clone, Debug)]
pub struct KnownLimits {
    store: Store,
    clock: Clock,
    known: Arc<Mutex<Known>>,
}

impl KnownLimits {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, known: Arc::default() }
    }

    /// Those of an environment.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn of(&self, environment: &EnvironmentId) -> Result<Arc<Limits>, Error> {
        let now = self.clock.now();
        if let Some((limits, until)) = self.lock().get(environment)
            && now < *until
        {
            return Ok(Arc::clone(limits));
        }
        let limits = Arc::new(Limits::of(self.store.settings(environment, false).await?));
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(environment.clone(), (Arc::clone(&limits), now.plus(KNOWN_FOR)));
        Ok(limits)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
