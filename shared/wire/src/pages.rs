//! Lists that are asked for by the number of a page.

use serde::{Deserialize, Serialize};

/// Where a page is among all.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pages {
    /// This page, from 1 on.
    pub current_page: usize,
    /// How many there are, one at least.
    pub total_pages: usize,
    /// How much there is in all.
    pub count: usize,
}
