//! What a trigger is answered, and who holds a key.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{RunId, TaskId};
use crate::key::{KeyGroup, KeyHash, Scope};
use crate::reported::Reported;
use crate::time::{Timestamp, iso};

/// Why a trigger with a key was answered as it was. The names are the wire's.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStatus {
    /// Nobody held the key.
    Created,
    /// A run holds it.
    Cached,
    /// A run held it whose window was over.
    ReplacedExpired,
    /// A run held it that had failed, and whose key was not cleared yet.
    ReplacedFailed,
    /// A run held it that made way for this one.
    Replaced,
    /// The trigger claimed it, and pushed the start of a debounced run instead of making one.
    Pushed,
}

impl KeyStatus {
    /// The wire's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Cached => "cached",
            Self::ReplacedExpired => "replaced-expired",
            Self::ReplacedFailed => "replaced-failed",
            Self::Replaced => "replaced",
            Self::Pushed => "pushed",
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to a trigger.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Handle {
    /// The run.
    pub id: RunId,
    /// Whether the run was there already.
    pub is_cached: bool,
    /// The task whose run it is, when the key holds in a group of tasks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task_identifier: Option<TaskId>,
    /// What became of the key, if one was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency: Option<Idempotency>,
    /// What was said and nobody reads, each with what may have been meant.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ignored: Vec<String>,
    /// What may be a mistake though it was done, such as a task that no worker has declared.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
}

impl Handle {
    /// The answer to a trigger without a key.
    #[must_use]
    pub fn new(id: RunId, is_cached: bool) -> Self {
        Self { id, is_cached, task_identifier: None, idempotency: None, ignored: Vec::new(), warnings: Vec::new() }
    }
}

/// What became of a key.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Idempotency {
    /// The key's text, or its hash if that was sent.
    pub key: String,
    /// The key's hash.
    pub hash: KeyHash,
    /// How far it reaches, if that was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Scope>))]
    pub scope: Option<Reported<Scope>>,
    /// The group of tasks in which it holds, if it is not the task alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<KeyGroup>,
    /// Why the answer is this one.
    #[cfg_attr(feature = "openapi", schema(value_type = KeyStatus))]
    pub status: Reported<KeyStatus>,
    /// From this moment on the key is free.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub window_ends_at: Timestamp,
    /// When it was claimed.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub first_triggered_at: Timestamp,
}

impl Idempotency {
    /// What became of a key, shown as `key`, that was claimed at one moment and is free from another.
    #[must_use]
    pub fn new(
        key: String,
        hash: KeyHash,
        status: KeyStatus,
        claimed_at: Timestamp,
        window_ends_at: Timestamp,
    ) -> Self {
        let (scope, group) = (None, None);
        Self { key, hash, scope, group, status: status.into(), window_ends_at, first_triggered_at: claimed_at }
    }
}

/// Who holds a key.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HeldKey {
    /// The key's text, or its hash if no text is known.
    pub key: String,
    /// The key's hash.
    pub hash: KeyHash,
    /// How far it reaches, if that was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Scope>))]
    pub scope: Option<Reported<Scope>>,
    /// The run.
    pub run_id: RunId,
    /// When it was claimed.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub first_triggered_at: Timestamp,
    /// From this moment on the key is free.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub window_ends_at: Timestamp,
}

impl HeldKey {
    /// A key, shown as `key`, that a run has held since one moment and holds until another.
    #[must_use]
    pub fn new(key: String, hash: KeyHash, run_id: RunId, claimed_at: Timestamp, window_ends_at: Timestamp) -> Self {
        Self { key, hash, scope: None, run_id, first_triggered_at: claimed_at, window_ends_at }
    }
}

/// A key that was freed.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResetAnswer {
    /// The key as it was given: the client knows it by that.
    pub id: String,
}

impl ResetAnswer {
    /// That of the key that was given so.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self { id }
    }
}
