//! What tasks write, where the process that serves it keeps it: a stack on a laptop. On AWS it goes to the workers' log groups.

use std::fmt::Debug;

use oncekey_wire::{RunId, RunLogs};

/// Where the lines of runs are kept.
pub trait Lines: Debug + Send + Sync {
    /// Those of a run, after the first so many.
    fn of(&self, run: &RunId, after: u64) -> RunLogs;
}
