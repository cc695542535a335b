//! How a run ended, in the words that whoever waited for it keeps.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::status::RunStatus;
use super::{Run, RunError};
use crate::payload::path::BlobPath;
use crate::payload::{Payload, PayloadType};

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
    /// How to read it.
    #[serde(skip_serializing_if = "PayloadType::is_json", default)]
    pub output_type: PayloadType,
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
            output_type: run.output_type,
            error: run.error.clone(),
        })
    }

    /// The same without what the run returned, and `why`.
    #[must_use]
    pub fn without_output(&self, why: &str) -> Self {
        let error = self.error.clone().unwrap_or_else(|| RunError::new("OutputLost", why));
        Self {
            status: self.status,
            output: None,
            stored_output: None,
            output_type: PayloadType::Json,
            error: Some(error),
        }
    }

    /// What is known of a run whose record is not there any more.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            status: RunStatus::SystemFailure,
            output: None,
            stored_output: None,
            output_type: PayloadType::Json,
            error: Some(RunError::new("SystemFailure", "its record was deleted")),
        }
    }

    /// What became of a child that could not be triggered, and `why` not.
    #[must_use]
    pub fn refused(why: &str) -> Self {
        Self { status: RunStatus::Failed, error: Some(RunError::new("Error", why)), ..Self::unknown() }
    }

    /// What the run returned, as text and how to read that; of what is in the bucket, nothing.
    #[must_use]
    pub fn returned(&self) -> Payload {
        Payload { text: self.output.clone(), kind: self.output_type }
    }

    /// In the words of the SDK for tasks in TypeScript: its `TaskRunExecutionResult`.
    #[must_use]
    pub fn result(&self, run: &str, task: &str) -> Value {
        let is_lost = self.error.is_some() && self.output.is_none();
        if self.status == RunStatus::Completed && !is_lost {
            let (output, kind) = match (&self.output, &self.stored_output) {
                (None, Some(path)) => (Some(path.as_str()), PayloadType::Store),
                (output, _) => (output.as_deref(), self.output_type),
            };
            let mut result = json!({ "ok": true, "id": run, "taskIdentifier": task, "outputType": kind.as_str() });
            if let (Some(output), Some(result)) = (output, result.as_object_mut()) {
                result.insert("output".to_owned(), json!(output));
            }
            return result;
        }
        let error = self.error.as_ref();
        let message = error.map_or_else(|| format!("the run ended {}", self.status), |error| error.message.clone());
        let code = match self.status {
            RunStatus::Canceled => Some("TASK_RUN_CANCELLED"),
            RunStatus::TimedOut => Some("MAX_DURATION_EXCEEDED"),
            RunStatus::Crashed | RunStatus::SystemFailure => Some("TASK_RUN_CRASHED"),
            _ => None,
        };
        let stack = error.and_then(|error| error.stack_trace.as_deref()).unwrap_or_default();
        let error = match code {
            Some(code) => json!({ "type": "INTERNAL_ERROR", "code": code, "message": message, "stackTrace": stack }),
            None => {
                let name = error.and_then(|error| error.name.as_deref()).unwrap_or("Error");
                json!({ "type": "BUILT_IN_ERROR", "name": name, "message": message, "stackTrace": stack })
            }
        };
        json!({ "ok": false, "id": run, "taskIdentifier": task, "error": error })
    }
}
