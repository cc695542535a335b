//! How a run ended, in the words that whoever waited for it keeps.

use serde::{Deserialize, Serialize};

use super::status::RunStatus;
use super::{Run, RunError};
use crate::payload::path::BlobPath;

/// The end of a run that was waited for. It stands in the waiter's journal, so that it outlives the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// A final status.
    pub status: RunStatus,
    /// The JSON text of what the task returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<String>,
    /// Where that is, if it is large.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored_output: Option<BlobPath>,
    /// Why it did not end well, or why what it returned is not kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<RunError>,
}

impl End {
    /// The end of `run`, which returned `output`, if it has ended.
    #[must_use]
    pub fn of(run: &Run, output: Option<String>) -> Option<Self> {
        run.status.is_final().then(|| Self {
            status: run.status,
            output,
            stored_output: run.stored_output.clone(),
            error: run.error.clone(),
        })
    }

    /// The same without what the run returned, and `why`.
    #[must_use]
    pub fn without_output(&self, why: &str) -> Self {
        let error = self.error.clone().unwrap_or_else(|| RunError::new("OutputLost", why));
        Self { status: self.status, output: None, stored_output: None, error: Some(error) }
    }

    /// What is known of a run whose record is not there any more.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            status: RunStatus::SystemFailure,
            output: None,
            stored_output: None,
            error: Some(RunError::new("SystemFailure", "its record was deleted")),
        }
    }
}
