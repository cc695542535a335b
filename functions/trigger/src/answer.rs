//! What a trigger answers, and why it answers that.

use oncekey_core::key::{KeyGroup, Scope};
use oncekey_core::protocol::claim::KeyStatus;
use oncekey_core::protocol::trigger::{KeyOutcome, Triggered};
use oncekey_core::{KeyHash, RunId, TaskId};
use serde::Serialize;
use utoipa::ToSchema;

/// The answer to a trigger.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TriggerAnswer {
    id: RunId,
    /// Whether the run was there already.
    is_cached: bool,
    /// The task whose run it is, when the key holds in a group of tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_identifier: Option<TaskId>,
    /// What became of the key, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency: Option<Idempotency>,
}

/// What became of a key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Idempotency {
    /// The key's text, or its hash if that was sent.
    key: String,
    hash: KeyHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<KeyGroup>,
    status: KeyStatus,
    /// From this moment on the key is free.
    window_ends_at: String,
    first_triggered_at: String,
}

impl From<Triggered> for TriggerAnswer {
    fn from(Triggered { handle, task, key }: Triggered) -> Self {
        let in_group = key.as_ref().is_some_and(|outcome| outcome.key.group.is_some());
        Self {
            id: handle.id,
            is_cached: handle.is_cached,
            task_identifier: in_group.then_some(task),
            idempotency: key.map(Idempotency::from),
        }
    }
}

impl From<KeyOutcome> for Idempotency {
    fn from(KeyOutcome { key, status, window_ends_at, first_triggered_at }: KeyOutcome) -> Self {
        Self {
            key: key.shown().to_owned(),
            hash: key.hash,
            scope: key.scope,
            group: key.group,
            status,
            window_ends_at: window_ends_at.to_string(),
            first_triggered_at: first_triggered_at.to_string(),
        }
    }
}
