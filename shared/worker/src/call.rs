//! The calls a task makes to its context: numbered, so that a resumed run finds each where it was.

use oncekey_core::protocol::trigger::Handle;
use oncekey_core::{Error, RunId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One call, as the journal of a wait remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// What was asked, in words that an error can show.
    pub what: String,
    /// The children it gave, so that a resume finds them though their keys may be gone.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<Handle>,
}

/// Why a call to the context failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The child that was waited for did not complete.
    #[error("{task} run {id} ended {status}: {message}")]
    Child {
        /// The child's task.
        task: String,
        /// The child.
        id: RunId,
        /// How it ended.
        status: oncekey_core::RunStatus,
        /// Its error.
        message: String,
    },
    /// What a child returned, or a step recorded, is not of the type that was asked for.
    #[error("{what} is not what was asked for: {source}")]
    Type {
        /// Which value.
        what: String,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// The task makes other calls than it made before it was suspended. No attempt can mend that.
    #[error(
        "the task was resumed and made another call than before: call {number} is now {now:?} and was {before:?}. \
         Between two waits a task must make the same calls in the same order"
    )]
    OtherCall {
        /// The call's number, from 1.
        number: u32,
        /// What was asked now.
        now: String,
        /// What was asked before.
        before: String,
    },
    /// Oncekey refused, or something behind it failed.
    #[error(transparent)]
    Oncekey(#[from] Error),
}

impl CallError {
    /// Whether another attempt of the task may mend it.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Child { .. } => true,
            Self::Type { .. } | Self::OtherCall { .. } => false,
            Self::Oncekey(error) => error.is_transient(),
        }
    }
}

/// Reads a value that a child or a step gave.
pub(crate) fn typed<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, CallError> {
    serde_json::from_str(text).map_err(|source| CallError::Type { what: what.to_owned(), source })
}
