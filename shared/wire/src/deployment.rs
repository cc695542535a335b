//! What a worker has: the tasks that it can run, and when they run by themselves.

use serde::{Deserialize, Serialize};

use crate::error::Invalid;
use crate::ids::TaskId;
use crate::names::text_id;
use crate::queues::{DeclaredQueue, QueueLabel};
use crate::time::{Timestamp, iso};

/// What a worker is called: 1 to 128 characters of `A-Z a-z 0-9 _ -`. A stack that deploys one gives it its own name.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,128}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerName(String);

impl WorkerName {
    /// Reads a worker's name.
    ///
    /// # Errors
    /// [`Invalid`] naming the allowed characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new("worker", "use 1 to 128 characters of A-Z, a-z, 0-9, _ and -"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_id!(WorkerName);

/// When a task runs by itself, as its code declares it.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    expecting = "an object like {\"pattern\": \"0 9 * * 1-5\", \"timezone\": \"Europe/Berlin\"}"
)]
pub struct DeclaredCron {
    /// When: five fields, `minute hour day-of-month month day-of-week`, or `@daily` and its like.
    #[cfg_attr(feature = "openapi", schema(example = "0 9 * * 1-5", max_length = 256))]
    pub pattern: String,
    /// The time zone of these, by its IANA name; UTC if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timezone: Option<String>,
    /// In which environments, by their types: `DEVELOPMENT`, `STAGING`, `PREVIEW`, `PRODUCTION`. In all of them if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub environments: Option<Vec<String>>,
    /// Refused: ticks come at their time, and are not spread.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub window: Option<serde_json::Value>,
}

/// A task that a worker can run.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedTask {
    /// Its id.
    pub id: TaskId,
    /// The queue of its runs, if it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<QueueLabel>,
    /// When it runs by itself, if it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cron: Option<DeclaredCron>,
}

/// What a worker has: what it is deployed with.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its tasks, up to a thousand.
    pub tasks: Vec<DeployedTask>,
    /// The queues that its code declares, up to a thousand.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub queues: Vec<DeclaredQueue>,
}

/// A worker as it was deployed last.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// What the worker is called.
    pub worker: WorkerName,
    /// How many deployments of it there have been, this one among them.
    pub number: u64,
    /// When that was.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub deployed_at: Timestamp,
    /// Its tasks.
    pub tasks: Vec<DeployedTask>,
}

/// The workers of an environment, by their names.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workers {
    /// As they were deployed last.
    pub data: Vec<Deployment>,
}
