//! What a trigger does that finds its key held.

use std::str::FromStr;

use serde::Deserialize;

/// What a trigger does that finds its key held by a run of another payload.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnPayloadMismatch {
    /// Answers with that run.
    #[default]
    Ignore,
    /// Fails, and says so.
    Error,
}

/// What a trigger does that finds its key held by another run.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnKeyHeld {
    /// Answers with that run.
    #[default]
    Return,
    /// Fails, and names it.
    Error,
    /// Cancels that run if it has not ended, and makes its own; answers with one that has.
    Replace,
}

impl FromStr for OnKeyHeld {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "return" => Ok(Self::Return),
            "error" => Ok(Self::Error),
            "replace" => Ok(Self::Replace),
            _ => Err(format!("{text:?} is nothing to do about a held key: give return, error or replace")),
        }
    }
}
