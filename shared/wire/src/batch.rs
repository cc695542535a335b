//! Batches as the API shows them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{BatchId, RunId};
use crate::reported::Reported;
use crate::time::{Timestamp, iso};

/// A batch that was created.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BatchHandle {
    /// The batch.
    pub id: BatchId,
    /// How many items it has, once all have come.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub run_count: usize,
    /// Always false: a batch is new, unless this very request is sent again.
    pub is_cached: bool,
    /// What to show of its key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key: Option<String>,
    /// What was said and nobody reads, each with what may have been meant.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ignored: Vec<String>,
}

impl BatchHandle {
    /// A batch without a key.
    #[must_use]
    pub fn new(id: BatchId, run_count: usize) -> Self {
        Self { id, run_count, is_cached: false, idempotency_key: None, ignored: Vec::new() }
    }
}

/// What became of a call's items.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ItemsAnswer {
    /// The batch.
    pub id: BatchId,
    /// Items that the batch did not have yet.
    pub items_accepted: usize,
    /// Items whose index the batch had already.
    pub items_deduplicated: usize,
    /// Whether all items have come.
    pub sealed: bool,
    /// How many have come, unless all have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub enqueued_count: Option<usize>,
    /// How many there are to be, unless all have come.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub expected_count: Option<usize>,
    /// What was said and nobody reads, each with its line and what may have been meant.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ignored: Vec<String>,
}

impl ItemsAnswer {
    /// Items that came to a batch: new ones, and ones that it had already. Whether all have come is not said yet.
    #[must_use]
    pub fn new(id: BatchId, accepted: usize, deduplicated: usize) -> Self {
        let (items_accepted, items_deduplicated) = (accepted, deduplicated);
        Self {
            id,
            items_accepted,
            items_deduplicated,
            sealed: false,
            enqueued_count: None,
            expected_count: None,
            ignored: Vec::new(),
        }
    }
}

/// How far a batch is.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchStatus {
    /// No item has come.
    Pending,
    /// Some have.
    Processing,
    /// All have, and are triggered.
    Completed,
    /// All have, and some could not be triggered.
    PartialFailed,
}

/// The name on the wire.
impl fmt::Display for BatchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A batch and what became of its items.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BatchReport {
    /// The batch.
    pub id: BatchId,
    /// How far it is.
    #[cfg_attr(feature = "openapi", schema(value_type = BatchStatus))]
    pub status: Reported<BatchStatus>,
    /// What to show of its key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key: Option<String>,
    /// When it was created.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When items came last.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
    /// How many items it has, once all have come.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub run_count: usize,
    /// The items' runs, in their order; one that several share is there for each of them.
    pub runs: Vec<RunId>,
    /// What is done of it.
    pub processing: Processing,
    /// Indexes that have not come, unless all have.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<u32>>))]
    pub missing_indexes: BTreeSet<usize>,
}

impl BatchReport {
    /// A batch of `run_count` items of which none has come.
    #[must_use]
    pub fn new(id: BatchId, run_count: usize, created_at: Timestamp, updated_at: Timestamp) -> Self {
        Self {
            id,
            status: BatchStatus::Pending.into(),
            idempotency_key: None,
            created_at,
            updated_at,
            run_count,
            runs: Vec::new(),
            processing: Processing::default(),
            missing_indexes: (0..run_count).collect(),
        }
    }
}

/// What is done of a batch.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Processing {
    /// When the last item came, once all have.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub completed_at: Option<Timestamp>,
    /// Items that could not be triggered.
    pub errors: Vec<BatchItemError>,
}

/// Why an item could not be triggered.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BatchItemError {
    /// The item's place.
    #[cfg_attr(feature = "openapi", schema(value_type = u32))]
    pub index: usize,
    /// Its task, as it was sent.
    pub task_identifier: String,
    /// What is wrong.
    pub error: String,
    /// `BATCH_ITEM_COULD_NOT_TRIGGER`.
    pub error_code: String,
}

impl BatchItemError {
    /// What is wrong with the item at `index`.
    #[must_use]
    pub fn new(index: usize, task_identifier: String, error: String) -> Self {
        Self { index, task_identifier, error, error_code: "BATCH_ITEM_COULD_NOT_TRIGGER".to_owned() }
    }
}
