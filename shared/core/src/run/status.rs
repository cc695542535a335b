//! A run's status and every move it can make: the state machine behind the conditional writes.

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

/// What can happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A worker takes it up.
    Start,
    /// The task returned.
    Succeed,
    /// The attempt failed or crashed, and another is left.
    Retry,
    /// The attempt failed, and none is left.
    Fail,
    /// The worker died, and no attempt is left.
    Crash,
    /// We could not execute it.
    BreakDown,
    /// It was started too late.
    Expire,
    /// It ran too long.
    TimeOut,
    /// It gives up its worker to wait.
    Suspend,
    /// What it waited for has come.
    Wake,
    /// Somebody asked for its end.
    Cancel,
    /// Somebody asked for another start.
    Reschedule,
}

impl Event {
    /// The status in which a run stands after this, wherever it stood before.
    pub fn leads_to(self) -> RunStatus {
        match self {
            Self::Start => RunStatus::Executing,
            Self::Succeed => RunStatus::Completed,
            Self::Retry | Self::Wake => RunStatus::Queued,
            Self::Fail => RunStatus::Failed,
            Self::Crash => RunStatus::Crashed,
            Self::BreakDown => RunStatus::SystemFailure,
            Self::Expire => RunStatus::Expired,
            Self::TimeOut => RunStatus::TimedOut,
            Self::Suspend => RunStatus::Waiting,
            Self::Cancel => RunStatus::Canceled,
            Self::Reschedule => RunStatus::Delayed,
        }
    }
}

/// A move that the state machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {status} cannot {event:?}")]
pub struct IllegalMove {
    /// Where the run stands.
    pub status: RunStatus,
    /// What was asked of it.
    pub event: Event,
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

    /// The status after `event`.
    ///
    /// # Errors
    /// [`IllegalMove`] when `event` cannot happen to a run that stands here.
    pub fn after(self, event: Event) -> Result<Self, IllegalMove> {
        use RunStatus::{
            Canceled, Completed, Crashed, Delayed, Executing, Expired, Failed, Queued, SystemFailure, TimedOut, Waiting,
        };
        match (self, event) {
            (Delayed | Queued, Event::Start)
            | (Executing, Event::Succeed | Event::Suspend | Event::TimeOut)
            | (Waiting, Event::Wake)
            | (Delayed, Event::Reschedule)
            // An attempt can end before it starts: its message may land in the dead-letter queue.
            | (
                Delayed | Queued | Executing,
                Event::Retry | Event::Fail | Event::Crash | Event::BreakDown | Event::Expire,
            )
            | (Delayed | Queued | Executing | Waiting, Event::Cancel) => Ok(event.leads_to()),
            (Executing | Waiting, Event::Start)
            | (Delayed | Queued | Waiting, Event::Succeed | Event::Suspend | Event::TimeOut)
            | (Delayed | Queued | Executing, Event::Wake)
            | (Queued | Executing | Waiting, Event::Reschedule)
            | (Waiting, Event::Retry | Event::Fail | Event::Crash | Event::BreakDown | Event::Expire)
            | (Completed | Canceled | Failed | Crashed | SystemFailure | Expired | TimedOut, _) => {
                Err(IllegalMove { status: self, event })
            }
        }
    }

    /// The statuses to which `event` can happen: what a conditional write asks for.
    pub fn before(event: Event) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |status| status.after(event).is_ok())
    }

    /// Whether nothing can happen to the run any more.
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

    /// Whether a run that ends so gives up its key (R30); success and cancellation keep it (R32, R33).
    pub fn frees_key(self) -> bool {
        self.is_final() && !matches!(self, Self::Completed | Self::Canceled)
    }

    /// The wire's name.
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
    fn nothing_happens_to_a_final_run() {
        let events = [
            Event::Start,
            Event::Succeed,
            Event::Retry,
            Event::Fail,
            Event::Crash,
            Event::BreakDown,
            Event::Expire,
            Event::TimeOut,
            Event::Suspend,
            Event::Wake,
            Event::Cancel,
            Event::Reschedule,
        ];
        for status in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
            for event in events {
                assert_eq!(status.after(event), Err(IllegalMove { status, event }));
            }
        }
    }

    #[test]
    fn every_run_that_is_not_final_can_be_cancelled() {
        assert!(RunStatus::before(Event::Cancel).eq(RunStatus::ALL.into_iter().filter(|status| !status.is_final())));
    }

    #[test]
    fn r30_r32_r33_only_success_and_cancellation_keep_the_key() {
        let kept: Vec<_> = RunStatus::ALL.into_iter().filter(|s| s.is_final() && !s.frees_key()).collect();
        assert_eq!(kept, [RunStatus::Completed, RunStatus::Canceled]);
    }

    #[test]
    fn an_illegal_move_names_the_status_and_the_event() {
        let error = RunStatus::Completed.after(Event::Start).expect_err("illegal");
        assert_eq!(error.to_string(), "a run that is COMPLETED cannot Start");
    }

    #[test]
    fn the_wire_name_is_the_stored_name() {
        for status in RunStatus::ALL {
            assert_eq!(serde_json::to_value(status).expect("json"), status.as_str());
        }
    }
}
