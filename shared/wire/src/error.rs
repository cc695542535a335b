//! Errors: the one of this crate, what the API answers instead of what was asked for, and why an attempt failed.

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

/// Why an attempt failed, as the API shows it.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RunError {
    /// What went wrong.
    pub message: String,
    /// The kind of error, such as `Crashed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Where, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stack_trace: Option<String>,
}

impl RunError {
    /// The longest message kept, in characters.
    pub const MAX_MESSAGE: usize = 4_000;

    /// An error of the given kind, its message cut to [`RunError::MAX_MESSAGE`].
    #[must_use]
    pub fn new(name: &str, message: &str) -> Self {
        let message = message.chars().take(Self::MAX_MESSAGE).collect();
        Self { message, name: Some(name.to_owned()), stack_trace: None }
    }
}
