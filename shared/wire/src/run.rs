//! Runs as the API shows them.

use serde::{Deserialize, Serialize};

/// The call that triggered a run. The names are the wire's.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TriggerFunction {
    /// One run, not waited for.
    #[default]
    Trigger,
    /// One run, waited for.
    TriggerAndWait,
    /// One of a batch, not waited for.
    BatchTrigger,
    /// One of a batch, waited for.
    BatchTriggerAndWait,
}

impl TriggerFunction {
    /// Most are: it is left out of what is stored.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::Trigger
    }
}

/// Why an attempt failed, as the API shows it.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    pub fn new(name: &str, message: &str) -> Self {
        let message = message.chars().take(Self::MAX_MESSAGE).collect();
        Self { message, name: Some(name.to_owned()), stack_trace: None }
    }
}
