//! Queues, as settings and limits go by them: what they are called, what code declares of them, and how they stand.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::error::Invalid;
use crate::ids::TaskId;
use crate::names::text_id;
use crate::pages::Pages;
use crate::time::{Timestamp, iso};

/// The most runs of a queue that a limit can let execute at a time.
pub const MAX_CONCURRENCY: u32 = 100_000;

/// What a queue is called: 1 to 128 characters, none of them a control character. The queue of a task that names none is
/// `task/` and the task's id.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 140))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueLabel(String);

impl QueueLabel {
    /// Begins the name of a queue that is a task's own.
    const OF_TASK: &'static str = "task/";
    const MAX: usize = 128;
    const ID: &'static str = "queue_";

    /// Reads a name.
    ///
    /// # Errors
    /// [`Invalid`] naming what it may be.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // A task's id alone may be as long.
        let most = if text.starts_with(Self::OF_TASK) { Self::MAX + Self::OF_TASK.len() } else { Self::MAX };
        if (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new("queue", "use 1 to 128 characters, none of them a control character"))
    }

    /// That of a task which names none.
    #[must_use]
    pub fn of_task(task: &TaskId) -> Self {
        Self(format!("{}{task}", Self::OF_TASK))
    }

    /// Whether it is a task's own.
    #[must_use]
    pub fn is_of_task(&self) -> bool {
        self.0.starts_with(Self::OF_TASK)
    }

    /// What it is called by itself: the id of a task whose own it is, or its name.
    #[must_use]
    pub fn own_name(&self) -> &str {
        self.0.strip_prefix(Self::OF_TASK).unwrap_or(&self.0)
    }

    /// Its id: its name, spelt so that it can stand in a path.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}{}", Self::ID, BASE32_NOPAD.encode(self.0.as_bytes()).to_ascii_lowercase())
    }

    /// The queue of an id.
    #[must_use]
    pub fn of_id(id: &str) -> Option<Self> {
        let name = BASE32_NOPAD.decode(id.strip_prefix(Self::ID)?.to_ascii_uppercase().as_bytes()).ok()?;
        Self::parse(&String::from_utf8(name).ok()?).ok()
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_id!(QueueLabel);

impl std::str::FromStr for QueueLabel {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// How often attempts of a queue start, of each concurrency key where one is given.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Attempts that start in a period: 1 to 100,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub limit: u32,
    /// The period, from one second to 30 days, such as `1m`.
    pub period: String,
    /// How many of them may start at once, where none has started for a while: one if absent, and then they start evenly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub burst: Option<u32>,
}

/// A queue as code declares it.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredQueue {
    /// What it is called.
    pub name: QueueLabel,
    /// How many of its runs execute at a time, of each concurrency key where one is given; as many as there are if absent, none if
    /// it is 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(maximum = 100_000))]
    pub concurrency_limit: Option<u32>,
    /// How often attempts of its runs start; as often as they can if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_limit: Option<RateLimit>,
}

/// What kind of queue one is.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// A task's own: its name is the task's id.
    Task,
    /// One that has a name of its own.
    Custom,
}

/// The limit of a queue, and where it comes from.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueConcurrency {
    /// The limit that holds.
    pub current: Option<u32>,
    /// The one that code declares.
    pub base: Option<u32>,
    /// The one in its place.
    #[serde(rename = "override")]
    pub overridden: Option<u32>,
    /// Since when that is so.
    #[serde(with = "iso::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub overridden_at: Option<Timestamp>,
    /// Null: nobody is named.
    pub overridden_by: Option<String>,
}

/// A queue, as it stands.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Its id.
    pub id: String,
    /// Its name; of a task's own, the task's id.
    pub name: String,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: QueueType,
    /// Runs that have a place, where places are limited.
    pub running: u64,
    /// Runs that wait for a place.
    pub queued: u64,
    /// Whether nothing of it starts.
    pub paused: bool,
    /// How many of its runs execute at a time, of each concurrency key; null if nothing limits them.
    pub concurrency_limit: Option<u32>,
    /// Where that comes from.
    pub concurrency: QueueConcurrency,
    /// How often attempts of its runs start; absent if nothing says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_limit: Option<RateLimit>,
}

/// A page of queues.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuesPage {
    /// The queues, by their names.
    pub data: Vec<Queue>,
    /// Which page of how many.
    pub pagination: Pages,
    /// Whether the environment is paused, and so all of them.
    pub paused: bool,
}

/// How an environment stands.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentPaused {
    /// Whether nothing of it starts.
    pub paused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_any_text_that_can_be_shown() {
        for name in ["a", "Mail für alle", "task/x", &"ü".repeat(128), &format!("task/{}", "x".repeat(128))] {
            let queue = QueueLabel::parse(name).expect(name);
            assert_eq!((queue.as_str(), QueueLabel::of_id(&queue.id())), (name, Some(queue.clone())));
        }
        for name in ["", "a\nb", &"x".repeat(129)] {
            assert!(QueueLabel::parse(name).is_err(), "{name:?}");
        }
        for id in ["", "queue_", "queue_!", "queue_7", "other_ma"] {
            assert_eq!(QueueLabel::of_id(id), None, "{id}");
        }
    }
}
