//! How a wait token has ended, for whoever waited for it.

use oncekey_core::token::StoredToken;
use oncekey_wire::TokenStatus;
use serde::{Deserialize, Serialize};

/// How a token has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decided {
    /// What it was completed with, or what is said of its time: JSON text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// Whether its time was over first.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub timed_out: bool,
}

impl Decided {
    /// How this token has ended, if it has.
    pub(crate) fn of(token: StoredToken) -> Option<Self> {
        match token.status {
            TokenStatus::Waiting => None,
            TokenStatus::Completed => Some(Self { text: token.output, timed_out: false }),
            TokenStatus::TimedOut => Some(Self { text: Some(token.timeout()), timed_out: true }),
        }
    }
}
