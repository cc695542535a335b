//! What a run waits for, as the API tells it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{RunId, TaskId, TokenId};
use crate::queues::QueueLabel;
use crate::time::{Timestamp, iso};

/// What a run waits for that is suspended, or has yet to start. Whichever comes first lets it go on.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WaitingFor {
    /// The moment, if it waits for one: the end of a wait or of a delay, or its next attempt.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Timestamp>,
    /// Runs whose end it waits for: up to ten of them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub runs: Vec<AwaitedRun>,
    /// How many runs those are in all.
    pub run_count: u64,
    /// Wait tokens whose end it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tokens: Vec<TokenId>,
    /// The place in its queue, if it is parked until it is given one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<AwaitedPlace>,
    /// Whether it is due, and only waits for a worker to take it up.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub worker: bool,
}

/// A run that another waits for.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AwaitedRun {
    /// Its id.
    pub id: RunId,
    /// Its task, if its record is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task_identifier: Option<TaskId>,
}

impl AwaitedRun {
    /// A run of a task.
    #[must_use]
    pub fn new(id: RunId, task: Option<TaskId>) -> Self {
        Self { id, task_identifier: task }
    }
}

/// A place in a queue that a run waits for, and why it has none yet.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AwaitedPlace {
    /// The queue; `task/` and the task's id is the one of a task that names none.
    pub queue: QueueLabel,
    /// The run's concurrency key: those that have it count by themselves.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub concurrency_key: Option<String>,
    /// Runs that have a place there.
    pub running: u64,
    /// How many may have one; absent if nothing limits them any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub concurrency_limit: Option<u32>,
    /// Whether the queue is paused.
    pub paused: bool,
    /// Whether the environment is paused.
    pub environment_paused: bool,
}

impl AwaitedPlace {
    /// A place of a queue of which nothing more is known.
    #[must_use]
    pub fn new(queue: QueueLabel) -> Self {
        Self {
            queue,
            concurrency_key: None,
            running: 0,
            concurrency_limit: None,
            paused: false,
            environment_paused: false,
        }
    }
}

/// Why there is none yet, in the words of the pages and of the command line.
impl fmt::Display for AwaitedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parked: ")?;
        match (self.paused, self.environment_paused) {
            (true, true) => return write!(f, "queue {} is paused, and so is the environment", self.queue),
            (true, false) => return write!(f, "queue {} is paused", self.queue),
            (false, true) => return f.write_str("the environment is paused"),
            (false, false) => {}
        }
        write!(f, "queue {} has ", self.queue)?;
        match self.concurrency_limit {
            Some(limit) => write!(f, "{} of {limit}", self.running)?,
            None => f.write_str("no limit any more")?,
        }
        if let Some(key) = &self.concurrency_key {
            write!(f, " for the concurrency key {key}")?;
        }
        if self.concurrency_limit.is_none_or(|limit| self.running < limit.into()) {
            f.write_str(", and is giving the next place")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_waited_for_says_why_there_is_none() {
        let place = AwaitedPlace::new(QueueLabel::parse("mail").expect("a queue"));
        let full = AwaitedPlace { running: 3, concurrency_limit: Some(3), ..place.clone() };
        let keyed = AwaitedPlace { concurrency_key: Some("tenant".to_owned()), ..full.clone() };
        let paused = AwaitedPlace { paused: true, ..keyed.clone() };
        for (place, told) in [
            (full.clone(), "parked: queue mail has 3 of 3"),
            (keyed, "parked: queue mail has 3 of 3 for the concurrency key tenant"),
            (AwaitedPlace { running: 0, concurrency_limit: Some(0), ..full.clone() }, "parked: queue mail has 0 of 0"),
            (
                AwaitedPlace { running: 2, ..full.clone() },
                "parked: queue mail has 2 of 3, and is giving the next place",
            ),
            (place, "parked: queue mail has no limit any more, and is giving the next place"),
            (paused.clone(), "parked: queue mail is paused"),
            (AwaitedPlace { environment_paused: true, ..full }, "parked: the environment is paused"),
            (
                AwaitedPlace { environment_paused: true, ..paused },
                "parked: queue mail is paused, and so is the environment",
            ),
        ] {
            assert_eq!(place.to_string(), told);
        }
    }
}
