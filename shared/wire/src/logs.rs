//! What a run's task has written.

use serde::{Deserialize, Serialize};

use crate::time::{Timestamp, iso};

/// A line that a task has written.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LogLine {
    /// When.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Where to: `stdout` or `stderr`; or the level of an event, from `error` to `trace`.
    pub stream: String,
    /// The line.
    pub text: String,
}

impl LogLine {
    /// A line.
    #[must_use]
    pub fn new(at: Timestamp, stream: impl Into<String>, text: impl Into<String>) -> Self {
        Self { at, stream: stream.into(), text: text.into() }
    }
}

/// Lines of a run, oldest first.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RunLogs {
    /// The lines.
    pub data: Vec<LogLine>,
    /// How many before these are not kept any more.
    pub left_out: u64,
    /// What to ask for next: the lines after the first so many.
    pub next: u64,
}

impl RunLogs {
    /// These lines, after `left_out` that are not kept, and what to ask for next.
    #[must_use]
    pub fn new(data: Vec<LogLine>, left_out: u64, next: u64) -> Self {
        Self { data, left_out, next }
    }
}
