//! Errors: the one of this crate, and what the API answers instead of what was asked for.

use serde::{Deserialize, Serialize};

/// A text that is not what its place asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
#[non_exhaustive]
pub struct Invalid {
    /// What was to be read, as the caller knows it, such as `task id`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// What is wrong, and what to do.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorAnswer {
    /// In words.
    pub error: String,
}

impl ErrorAnswer {
    /// That, in words.
    #[must_use]
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into() }
    }
}
