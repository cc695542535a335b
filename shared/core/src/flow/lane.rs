//! Lanes: the runs that count together.

use oncekey_wire::{EnvironmentId, QueueLabel, RunId, TaskId};
use serde::{Deserialize, Serialize};

use crate::run::{Run, RunSpec};

/// What decides in which lane a run is, as its messages carry it. The queue of a task may be another one tomorrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    environment: EnvironmentId,
    #[serde(flatten)]
    by: By,
    #[serde(rename = "concurrency_key", skip_serializing_if = "Option::is_none", default)]
    key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum By {
    /// The queue that its trigger named, or in which it has had a place.
    #[serde(rename = "named")]
    Queue(QueueLabel),
    /// Whichever is its task's.
    #[serde(rename = "task")]
    Task(TaskId),
}

impl Line {
    /// That of a run as it stands.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        match &run.lane {
            Some(queue) => Self { by: By::Queue(queue.clone()), ..Self::asked(&run.spec) },
            None => Self::asked(&run.spec),
        }
    }

    /// That which a trigger asked for.
    #[must_use]
    pub fn asked(spec: &RunSpec) -> Self {
        let by = spec.options.queue().map_or_else(|| By::Task(spec.task.clone()), By::Queue);
        Self { environment: spec.environment.clone(), by, key: spec.options.concurrency_key().map(str::to_owned) }
    }

    /// Its environment.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentId {
        &self.environment
    }

    /// The lane, where `queue_of` tells the queue of a task.
    pub(super) fn lane(&self, queue_of: impl FnOnce(&TaskId) -> QueueLabel) -> Lane {
        let queue = match &self.by {
            By::Queue(queue) => queue.clone(),
            By::Task(task) => queue_of(task),
        };
        Lane { environment: self.environment.clone(), queue, key: self.key.clone() }
    }
}

/// The runs that count together: those of one queue, and of one concurrency key if they have one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The environment.
    pub environment: EnvironmentId,
    /// The queue.
    pub queue: QueueLabel,
    /// The concurrency key.
    pub key: Option<String>,
}

impl Lane {
    /// That of a run which has, or had, a place in one, or was parked there.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        let queue = run.lane.clone()?;
        let key = run.spec.options.concurrency_key().map(str::to_owned);
        Some(Self { environment: run.spec.environment.clone(), queue, key })
    }

    /// Its line.
    #[must_use]
    pub fn line(&self) -> Line {
        Line { environment: self.environment.clone(), by: By::Queue(self.queue.clone()), key: self.key.clone() }
    }

    /// What begins the name of everything of this lane among that of its queue, and of nothing else.
    #[must_use]
    pub(crate) fn prefix(&self) -> String {
        match &self.key {
            None => "-#".to_owned(),
            Some(key) => format!("={}#", key.replace('%', "%25").replace('#', "%23")),
        }
    }

    /// What the parked item of a run is called that comes in this order: digits, as they sort.
    #[must_use]
    pub(crate) fn parked_name(&self, order: &str, run: &RunId) -> String {
        format!("{}{order}#{run}", self.prefix())
    }

    /// The order that stands in such a name.
    pub(crate) fn order_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.prefix())?.split_once('#').map(|(order, _)| order)
    }

    /// The lane of a name that begins with a [prefix](Lane::prefix).
    pub(crate) fn of_name(environment: &EnvironmentId, queue: &QueueLabel, name: &str) -> Option<Self> {
        let (prefix, _) = name.split_once('#')?;
        let key = prefix.strip_prefix('=').map(|key| key.replace("%23", "#").replace("%25", "%"));
        Some(Self { environment: environment.clone(), queue: queue.clone(), key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_known_by_what_its_items_are_called() {
        let environment = EnvironmentId::parse("acme/prod").expect("an environment");
        let queue = QueueLabel::parse("mail").expect("a queue");
        let keys = [None, Some("a"), Some("a#"), Some("%23"), Some(""), Some("-"), Some("a%#b")];
        let lanes = keys.map(|key| Lane {
            environment: environment.clone(),
            queue: queue.clone(),
            key: key.map(str::to_owned),
        });
        for lane in &lanes {
            let run = RunId::parse(&format!("run_{}", "a".repeat(32))).expect("a run");
            let name = lane.parked_name("000", &run);
            assert_eq!(lane.order_of(&name), Some("000"));
            assert_eq!(Lane::of_name(&environment, &queue, &name).as_ref(), Some(lane));
            assert_eq!(lanes.iter().filter(|other| name.starts_with(&other.prefix())).count(), 1);
        }
    }
}
