//! Wait tokens: something that people or programs outside complete, once, before its time is over.

use oncekey_wire::{EnvironmentId, TokenId, TokenStatus};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::clock::Timestamp;

/// A token, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredToken {
    /// Its id.
    pub id: TokenId,
    /// As it was written: of one whose time is over, the clock tells.
    pub status: TokenStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its time is over.
    pub timeout_at: Timestamp,
    /// What its URL has, and nobody can guess: who knows it may complete the token.
    pub code: String,
    /// When it was completed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// What with: JSON text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<String>,
    /// The key that it was made under, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Until when that key gives this token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_ends_at: Option<Timestamp>,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<String>,
}

impl StoredToken {
    /// Where it stands at `now`.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> TokenStatus {
        match self.status {
            TokenStatus::Waiting if self.timeout_at <= now => TokenStatus::TimedOut,
            status => status,
        }
    }

    /// Where whoever sends a POST completes it, of an API at `base`.
    #[must_use]
    pub fn url(&self, base: &str, environment: &EnvironmentId) -> String {
        // An environment's name has nothing but its slash that a query would have to escape.
        let environment = environment.as_str().replace('/', "%2F");
        let (id, code) = (&self.id, &self.code);
        format!("{base}/api/v1/waitpoints/tokens/{id}/callback?environment={environment}&code={code}")
    }

    /// The JSON text that says that its time is over.
    #[must_use]
    pub fn timeout(&self) -> String {
        let message = format!("Nobody completed the wait token {} before {}", self.id, self.timeout_at);
        json!({ "code": "TRIGGER_WAITPOINT_TIMEOUT", "message": message }).to_string()
    }
}

/// The token that holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClaim {
    /// The token.
    pub token: TokenId,
    /// Until when.
    pub ends_at: Timestamp,
}
