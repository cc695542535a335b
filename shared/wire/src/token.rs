//! Wait tokens, as they are answered.

use serde::{Deserialize, Serialize};

use crate::ids::TokenId;
use crate::reported::Reported;
use crate::run::Pagination;
use crate::time::{Timestamp, iso};

/// Where a wait token stands.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TokenStatus {
    /// Nobody has completed it, and its time is not over.
    Waiting,
    /// Somebody has.
    Completed,
    /// Its time was over first.
    TimedOut,
}

impl TokenStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Completed, Self::TimedOut];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Completed => "COMPLETED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

impl std::fmt::Display for TokenStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token that was made, or the one that there was of its key.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    /// Its id.
    pub id: TokenId,
    /// Whether it was there, made under the same key.
    pub is_cached: bool,
    /// Whoever sends a POST to this URL completes it, without an API key.
    pub url: String,
}

/// A token that was completed, or had ended before.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedToken {
    /// `true`.
    pub success: bool,
}

/// A wait token.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whoever sends a POST to this URL completes it, without an API key.
    pub url: String,
    /// Where it stands.
    #[cfg_attr(feature = "openapi", schema(value_type = TokenStatus))]
    pub status: Reported<TokenStatus>,
    /// When it was completed, or its time was over.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub completed_at: Option<Timestamp>,
    /// When its time is over.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub timeout_at: Timestamp,
    /// The key that it was made under, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key: Option<String>,
    /// Until when that key gives this token.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub idempotency_key_expires_at: Option<Timestamp>,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was made.
    #[serde(with = "iso")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// What it was completed with, as JSON text, or why it was not. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<String>,
    /// The media type of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_type: Option<String>,
    /// Whether it is an error: that its time was over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_is_error: Option<bool>,
}

/// A page of tokens, newest first.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensPage {
    /// The tokens.
    pub data: Vec<Token>,
    /// Cursors of the neighbouring pages.
    pub pagination: Pagination,
}
