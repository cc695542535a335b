//! Wait tokens, as they are asked for and answered.

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

/// What a token is to be. Values are checked where they are received.
///
/// ```
/// use oncekey_wire::TokenOptions;
///
/// let options = TokenOptions::new().timeout("3d").key("approve-order-42").key_ttl("7d").tag("order:42");
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(rename = "idempotencyKeyTTL", skip_serializing_if = "Option::is_none")]
    idempotency_key_ttl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

impl TokenOptions {
    /// A token that waits ten minutes, without a key or tags.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// When its time is over: a span like `1h30m` (w, d, h, m, s), or an ISO 8601 date; at most 365 days away.
    #[must_use]
    pub fn timeout(self, timeout: &str) -> Self {
        Self { timeout: Some(timeout.to_owned()), ..self }
    }

    /// There is one token of a key in an environment while the key's window lasts: up to 2,048 characters.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        Self { idempotency_key: Some(key.to_owned()), ..self }
    }

    /// That window: a whole number and `s`, `m`, `h` or `d`, up to 365 days; 30 days by default.
    #[must_use]
    pub fn key_ttl(self, ttl: &str) -> Self {
        Self { idempotency_key_ttl: Some(ttl.to_owned()), ..self }
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key_text(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// One tag more, of up to ten, each of 1 to 128 characters.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
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
