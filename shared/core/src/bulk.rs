//! Bulk actions: many runs cancelled or replayed by one call, page by page.

use std::time::Duration;

use oncekey_wire::{BulkActionId, BulkActionStatus, BulkActionType, BulkCounts, EnvironmentId, RunId, RunStatus};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::runs::list::Filter;

/// Most runs that an action may name.
pub const MAX_RUNS: usize = 500;
/// Runs that are in hand at a time: an action that is stopped may still do as many.
pub const PAGE: usize = 50;
/// How long an action is kept.
pub const KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Which runs an action is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These.
    Runs(Vec<RunId>),
    /// Those that match, and were created before the action.
    Filter(Box<Filter>),
}

impl Selection {
    /// What this filter finds: for a cancellation, of the runs that have not ended.
    #[must_use]
    pub fn by(kind: BulkActionType, mut filter: Filter) -> Self {
        if kind == BulkActionType::Cancel {
            let meant = filter.statuses.take().unwrap_or_else(|| RunStatus::ALL.to_vec());
            filter.statuses = Some(meant.into_iter().filter(|status| !status.is_final()).collect());
        }
        Self::Filter(Box::new(filter))
    }
}

/// A bulk action as it was asked for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRequest {
    /// What is done with each run.
    pub kind: BulkActionType,
    /// What its caller calls it.
    pub name: Option<String>,
    /// Which runs.
    pub selection: Selection,
    /// What tells this request from another of the same id.
    pub fingerprint: String,
}

/// A bulk action as it is stored. Runs go from what is left into its hand, by one conditional write, and out of its hand into the
/// counts by another: so which runs are in hand is known before any of them is touched, and each is counted once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBulkAction {
    /// Its id.
    pub id: BulkActionId,
    /// Where.
    pub environment: EnvironmentId,
    /// What is done with each run.
    pub kind: BulkActionType,
    /// What its caller calls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// What tells the request for it from another of the same id.
    pub fingerprint: String,
    /// Where it stands.
    pub status: BulkActionStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When somebody last worked on it, or sent for somebody who does.
    pub updated_at: Timestamp,
    /// When it ended, or was stopped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// How often it was written by those who work on it: who writes next must have seen it so.
    pub version: u64,
    /// Who wrote it last: one whose answer was lost finds its own write.
    pub written_by: String,
    /// Runs that are being done, and are not counted yet.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hand: Vec<RunId>,
    /// Runs that were named and are left.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rest: Vec<RunId>,
    /// What is to be looked for, as long as there may be more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filter: Option<Box<Filter>>,
    /// The place in the list of runs from which that goes on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<String>,
    /// Its runs.
    pub counts: BulkCounts,
}

impl StoredBulkAction {
    /// The action that a request makes at `now`.
    #[must_use]
    pub fn new(id: BulkActionId, environment: EnvironmentId, request: BulkRequest, now: Timestamp) -> Self {
        let BulkRequest { kind, name, selection, fingerprint } = request;
        let (rest, filter) = match selection {
            Selection::Runs(ids) => (ids, None),
            Selection::Filter(filter) => (Vec::new(), Some(filter)),
        };
        Self {
            id,
            environment,
            kind,
            name,
            fingerprint,
            status: BulkActionStatus::Pending,
            created_at: now,
            updated_at: now,
            completed_at: None,
            version: 0,
            written_by: String::new(),
            hand: Vec::new(),
            counts: BulkCounts { total: rest.len() as u64, ..BulkCounts::default() },
            rest,
            filter,
            after: None,
        }
    }

    /// Until when it is kept.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.created_at.plus(KEPT)
    }

    /// Whether nothing is left to be done, nor to be counted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.status != BulkActionStatus::Pending && self.hand.is_empty()
    }

    /// Whether nothing is left to be taken in hand.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.rest.is_empty() && self.filter.is_none()
    }
}
