//! What the runs of a host share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::host::api::Tokens;
use crate::host::pool::Pool;
use crate::host::settings::{Fetches, Setting, Waits};

/// What runs share.
pub(crate) struct Inner {
    pub pool: Pool,
    pub waits: Setting<Waits>,
    pub fetches: Setting<Fetches>,
    pub look_every: Duration,
    pub slots: Arc<Semaphore>,
    pub tokens: Tokens,
}
