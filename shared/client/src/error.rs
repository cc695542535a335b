//! What can go wrong.

use oncekey_wire::Scope;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Oncekey refused, in its own words.
    #[error("{message} (HTTP {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What is wrong and what to do.
        message: String,
    },
    /// Oncekey could not be reached, after all tries.
    #[error("Oncekey cannot be reached: {}", causes(.0))]
    Unreachable(#[source] reqwest::Error),
    /// The answer, or what was to be sent, is not the JSON that it should be.
    #[error("{what} is not what it should be: {source}")]
    Json {
        /// Which value.
        what: &'static str,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// A key cannot be hashed as it was when it was triggered with.
    #[error("a key of scope {scope} was hashed with the run it was triggered from: give {missing}")]
    KeyNeeds {
        /// The key's scope.
        scope: Scope,
        /// What is missing.
        missing: &'static str,
    },
    /// The client is not set up right.
    #[error("{0}")]
    Configuration(String),
}

/// An error with its causes: the last one says what happened.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

impl Error {
    /// The HTTP status, if Oncekey answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}
