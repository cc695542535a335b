//! What goes on outside this process for a run, such as in a child process, must stand still while the run is suspended:
//! whatever it did between the last look and the suspension would be done again.

use std::fmt;

use futures_util::future::BoxFuture;

/// What was found when everything stood still.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "host"), expect(dead_code, reason = "found by the host alone"))]
pub(crate) enum Findings {
    /// Nothing that a second execution would do twice: the run may be suspended.
    Clean,
    /// It had more to say, which is to be heard first. It goes on.
    More,
    /// The run did this, so it is held in place for as long as the invocation lasts. It goes on.
    Effects(Vec<String>),
}

type Stop = Box<dyn Fn() -> BoxFuture<'static, Findings> + Send + Sync>;

/// How that is stopped, and let go on.
pub(crate) struct Standstill {
    /// Stops it and looks. After [`Findings::Clean`] it stands.
    pub stop: Stop,
    /// What it has exchanged with others and recorded, all of this attempt, if that is more than before: to be kept for the
    /// execution that follows.
    pub exchanged: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Lets it go on.
    pub go_on: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standstill")
    }
}
