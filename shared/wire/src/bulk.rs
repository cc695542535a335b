//! Bulk actions, as they are asked for and answered: many runs cancelled or replayed by one call.

use serde::{Deserialize, Serialize};

use crate::ids::{BulkActionId, RunId};
use crate::reported::Reported;
use crate::run::Pagination;
use crate::time::{Timestamp, iso};

/// What is done with each run.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkActionType {
    /// It is cancelled.
    Cancel,
    /// Its task is triggered again with what it was given.
    Replay,
}

impl BulkActionType {
    /// The name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "CANCEL",
            Self::Replay => "REPLAY",
        }
    }

    /// The name in the request for one.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Replay => "replay",
        }
    }
}

impl std::fmt::Display for BulkActionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a bulk action stands.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkActionStatus {
    /// It goes on.
    Pending,
    /// All its runs are done with.
    Completed,
    /// Somebody stopped it.
    Aborted,
}

impl BulkActionStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Completed => "COMPLETED",
            Self::Aborted => "ABORTED",
        }
    }
}

impl std::fmt::Display for BulkActionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many runs a bulk action is about, and what became of them.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkCounts {
    /// Those that were named; of a filter, those that it has found so far.
    pub total: u64,
    /// Those that are cancelled now, or were replayed.
    pub success: u64,
    /// Those that are not there, had ended otherwise, or could not be triggered again.
    pub failure: u64,
}

/// A bulk action.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkAction {
    /// Its id.
    pub id: BulkActionId,
    /// What its caller calls it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// What is done with each run.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = BulkActionType))]
    pub kind: Reported<BulkActionType>,
    /// Where it stands.
    #[cfg_attr(feature = "openapi", schema(value_type = BulkActionStatus))]
    pub status: Reported<BulkActionStatus>,
    /// Its runs, page by page as they are done with.
    pub counts: BulkCounts,
    /// When it was asked for.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it ended, or was stopped.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub completed_at: Option<Timestamp>,
}

/// A bulk action that was made, or stopped.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkActionHandle {
    /// Its id.
    pub id: BulkActionId,
}

/// A page of bulk actions, newest first.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkActionsPage {
    /// The actions.
    pub data: Vec<BulkAction>,
    /// Cursors of the neighbouring pages.
    pub pagination: Pagination,
}

/// Which runs a bulk action is about: those of a list, or those that a filter finds. Values are checked where they are received.
///
/// ```
/// use oncekey_wire::BulkSelection;
///
/// let failed = BulkSelection::filter().status("FAILED").task("send-email").period("1d");
/// let these = BulkSelection::runs(["run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]);
/// # let _ = (failed, these);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkSelection {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<BulkFilter>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BulkFilter {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    status: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    task_identifier: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tag: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<String>,
}

impl BulkSelection {
    /// The runs of these ids: up to 500.
    #[must_use]
    pub fn runs<T: Into<String>>(ids: impl IntoIterator<Item = T>) -> Self {
        Self { name: None, run_ids: Some(ids.into_iter().map(Into::into).collect()), filter: None }
    }

    /// The runs of which what is said next holds. Something has to be said.
    #[must_use]
    pub fn filter() -> Self {
        Self { name: None, run_ids: None, filter: Some(BulkFilter::default()) }
    }

    /// What the action is called in lists: up to 255 characters.
    #[must_use]
    pub fn called(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// In this status, or in one of several that are said.
    #[must_use]
    pub fn status(self, status: &str) -> Self {
        self.with(|filter| filter.status.push(status.to_owned()))
    }

    /// Of this task, or of one of several that are said.
    #[must_use]
    pub fn task(self, task: &str) -> Self {
        self.with(|filter| filter.task_identifier.push(task.to_owned()))
    }

    /// With this tag, or with one of several that are said.
    #[must_use]
    pub fn tag(self, tag: &str) -> Self {
        self.with(|filter| filter.tag.push(tag.to_owned()))
    }

    /// In this queue, or in one of several that are said; `task/` and the task's id is the one of a task that names none.
    #[must_use]
    pub fn queue(self, queue: &str) -> Self {
        self.with(|filter| filter.queue.push(queue.to_owned()))
    }

    /// New runs of this batch.
    #[must_use]
    pub fn batch(self, batch: impl AsRef<str>) -> Self {
        self.with(|filter| filter.batch = Some(batch.as_ref().to_owned()))
    }

    /// Triggered by this schedule.
    #[must_use]
    pub fn schedule(self, schedule: impl AsRef<str>) -> Self {
        self.with(|filter| filter.schedule = Some(schedule.as_ref().to_owned()))
    }

    /// Created within this span back from now, like `7d`.
    #[must_use]
    pub fn period(self, span: &str) -> Self {
        self.with(|filter| filter.period = Some(span.to_owned()))
    }

    fn with(mut self, say: impl FnOnce(&mut BulkFilter)) -> Self {
        if let Some(filter) = &mut self.filter {
            say(filter);
        }
        self
    }
}

impl From<&RunId> for BulkSelection {
    fn from(id: &RunId) -> Self {
        Self::runs([id])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_not_written() {
        let failed = BulkSelection::filter().status("FAILED").status("CRASHED").task("t").period("1d");
        let wanted = json!({ "status": ["FAILED", "CRASHED"], "taskIdentifier": ["t"], "period": "1d" });
        assert_eq!(json!(failed), json!({ "filter": wanted }));
        let id = RunId::parse(&format!("run_{}", "a".repeat(32))).expect("an id");
        assert_eq!(json!(BulkSelection::from(&id)), json!({ "runIds": [id] }));
    }

    #[test]
    fn the_wire_name_is_the_name() {
        for kind in [BulkActionType::Cancel, BulkActionType::Replay] {
            assert_eq!(json!(kind), kind.as_str());
            assert_eq!(kind.verb().to_uppercase(), kind.as_str());
        }
        for status in [BulkActionStatus::Pending, BulkActionStatus::Completed, BulkActionStatus::Aborted] {
            assert_eq!(json!(status), status.as_str());
        }
    }

    #[test]
    fn a_bulk_action_of_a_newer_server_is_read() {
        let newer = json!({
            "id": format!("bulk_{}", "a".repeat(32)), "type": "PAUSE", "status": "HALTED",
            "counts": { "total": 3, "success": 1, "failure": 0 }, "createdAt": "2026-01-31T09:30:00.000Z",
        });
        let action: BulkAction = serde_json::from_value(newer.clone()).expect("an action");
        assert_eq!((action.kind.known(), action.status.known()), (None, None));
        assert_eq!(json!(action), newer);
    }
}
