//! How a run in a child is over that did not return.

use crate::error::TaskError;

/// Why a run is over that did not return.
pub(crate) enum Over {
    /// The task failed, and its process is as good as before.
    Failed(TaskError),
    /// Its process is not to be used again.
    Broken(TaskError),
}
