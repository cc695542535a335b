//! A run's attempts, as the API tells them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::reported::Reported;
use crate::time::{Timestamp, iso};

/// Where an attempt stands. The names are the wire's.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AttemptStatus {
    /// No worker has taken it up.
    Pending,
    /// A worker is at it.
    Executing,
    /// It waits, or has waited and is to go on.
    Paused,
    /// It returned.
    Completed,
    /// It ended in any other way.
    Failed,
    /// Its run was cancelled.
    Canceled,
}

/// The name on the wire.
impl fmt::Display for AttemptStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Why an attempt failed, in short.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptError {
    /// The kind of error, such as `Crashed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// What went wrong: its first 200 characters.
    pub message: String,
}

impl AttemptError {
    /// The longest message kept, in characters.
    pub const MAX_MESSAGE: usize = 200;

    /// An error of a kind, its message cut to [`AttemptError::MAX_MESSAGE`].
    #[must_use]
    pub fn new(name: Option<String>, message: &str) -> Self {
        Self { name, message: message.chars().take(Self::MAX_MESSAGE).collect() }
    }

    /// A run's error, in short.
    #[must_use]
    pub fn of(error: &RunError) -> Self {
        Self::new(error.name.clone(), &error.message)
    }
}

/// An attempt of a run.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Attempt {
    /// Which one, from 1.
    pub number: u32,
    /// Where it stands.
    #[cfg_attr(feature = "openapi", schema(value_type = AttemptStatus))]
    pub status: Reported<AttemptStatus>,
    /// When a worker first took it up.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub completed_at: Option<Timestamp>,
    /// Why it failed; kept of the first twenty attempts and of the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<AttemptError>,
}

impl Attempt {
    /// An attempt that has not started.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self { number, status: AttemptStatus::Pending.into(), started_at: None, completed_at: None, error: None }
    }
}
