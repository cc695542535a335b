//! A wait token, as the world knows it.

use oncekey_core::{EnvironmentId, Timestamp, TokenId};
use serde_json::Value;

/// A token that was made.
pub(super) struct Made {
    pub(super) id: TokenId,
    pub(super) environment: EnvironmentId,
    pub(super) timeout_at: Timestamp,
    /// Its item's key.
    pub(super) key: Value,
}
