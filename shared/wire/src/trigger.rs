//! What a trigger is answered.

use serde::{Deserialize, Serialize};

/// Why a trigger with a key was answered as it was. The names are the wire's.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStatus {
    /// Nobody held the key.
    Created,
    /// A run holds it.
    Cached,
    /// A run held it whose window was over.
    ReplacedExpired,
    /// A run held it that had failed, and whose key was not cleared yet.
    ReplacedFailed,
}
