//! What Oncekey answers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A run's handle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Handle {
    /// The run's id.
    pub id: String,
    /// Whether the run was there already.
    pub is_cached: bool,
    /// The task whose run it is, when the key holds in a group of tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_identifier: Option<String>,
    /// What became of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
}

/// Why a trigger with a key was answered as it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idempotency {
    /// The key's text, or its hash if no text is known.
    pub key: String,
    /// 64 hex characters.
    pub hash: String,
    /// The scope, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The group of tasks in which the key holds, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `created`, `cached`, `replaced-expired` or `replaced-failed`.
    pub status: String,
    /// When the key is free again, as an ISO 8601 date.
    pub window_ends_at: String,
    /// When it was claimed.
    pub first_triggered_at: String,
}

/// Who holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldKey {
    /// The key's text, or its hash if no text is known.
    pub key: String,
    /// 64 hex characters.
    pub hash: String,
    /// The scope, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The run.
    pub run_id: String,
    /// When it was claimed.
    pub first_triggered_at: String,
    /// When it is free again.
    pub window_ends_at: String,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the wire's, and say it")]
pub enum RunStatus {
    Delayed,
    Queued,
    Executing,
    Waiting,
    Completed,
    Canceled,
    Failed,
    Crashed,
    SystemFailure,
    Expired,
    TimedOut,
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A run, as a list shows it; [`Runs::retrieve`](crate::Runs::retrieve) fills in the rest.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: RunStatus,
    /// The task.
    pub task_identifier: String,
    /// Whether the status is final.
    pub is_completed: bool,
    /// Whether it returned.
    pub is_success: bool,
    /// When it was triggered, as an ISO 8601 date, like those below.
    pub created_at: String,
    /// When it changed last.
    pub updated_at: String,
    /// When it was first started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// When it may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delayed_until: Option<String>,
    /// From its first start to its end, in milliseconds.
    pub duration_ms: u64,
    /// The key that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The caller's own data about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Attempts so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_count: Option<u32>,
    /// What it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// What it returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// Where the payload is, if it is too large to be kept in the run.
    #[serde(skip_serializing)]
    pub(crate) payload_presigned_url: Option<String>,
    /// Where the output is, likewise.
    #[serde(skip_serializing)]
    pub(crate) output_presigned_url: Option<String>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunError {
    /// What went wrong.
    pub message: String,
    /// The kind of error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A page of runs, newest first.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Page {
    /// The runs.
    pub data: Vec<Run>,
    pub(crate) pagination: Cursors,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Cursors {
    pub next: Option<String>,
    pub previous: Option<String>,
}

impl Page {
    /// Where older runs go on.
    pub fn next(&self) -> Option<&str> {
        self.pagination.next.as_deref()
    }

    /// Where newer runs go on.
    pub fn previous(&self) -> Option<&str> {
        self.pagination.previous.as_deref()
    }
}
