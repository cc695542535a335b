//! Where a run stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a run stands. The names are the wire's.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// Not due yet: its trigger asked for a delay.
    Delayed,
    /// A message is on its way to a worker: first attempt, retry or resume.
    Queued,
    /// A worker holds the lease and runs the task.
    Executing,
    /// Suspended until something it waits for has come; holds no worker.
    Waiting,
    /// Final: the task returned.
    Completed,
    /// Final: somebody cancelled it.
    Canceled,
    /// Final: the task failed and has no attempts left, or asked not to be retried.
    Failed,
    /// Final: its worker died, and no attempts are left.
    Crashed,
    /// Final: the run's record could not be executed by us.
    SystemFailure,
    /// Final: it was not started within its `ttl`.
    Expired,
    /// Final: it ran longer than its `maxDuration`.
    TimedOut,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 11] = [
        Self::Delayed,
        Self::Queued,
        Self::Executing,
        Self::Waiting,
        Self::Completed,
        Self::Canceled,
        Self::Failed,
        Self::Crashed,
        Self::SystemFailure,
        Self::Expired,
        Self::TimedOut,
    ];

    /// Whether nothing can happen to the run any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Delayed | Self::Queued | Self::Executing | Self::Waiting => false,
            Self::Completed
            | Self::Canceled
            | Self::Failed
            | Self::Crashed
            | Self::SystemFailure
            | Self::Expired
            | Self::TimedOut => true,
        }
    }

    /// Whether a run that ends so has failed: neither succeeded nor was cancelled.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self.is_final() && !matches!(self, Self::Completed | Self::Canceled)
    }

    /// The wire's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delayed => "DELAYED",
            Self::Queued => "QUEUED",
            Self::Executing => "EXECUTING",
            Self::Waiting => "WAITING",
            Self::Completed => "COMPLETED",
            Self::Canceled => "CANCELED",
            Self::Failed => "FAILED",
            Self::Crashed => "CRASHED",
            Self::SystemFailure => "SYSTEM_FAILURE",
            Self::Expired => "EXPIRED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_name_is_the_name() {
        for status in RunStatus::ALL {
            assert_eq!(serde_json::to_value(status).expect("json"), status.as_str());
        }
    }
}
