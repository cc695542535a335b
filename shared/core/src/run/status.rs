//! Every move that a run can make: the state machine behind the conditional writes.

pub use oncekey_wire::RunStatus;

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
    SystemFailure,
    /// It was started too late.
    Expire,
    /// It ran too long.
    TimeOut,
    /// It gives up its worker to wait.
    Suspend,
    /// What it waited for has come.
    Wake,
    /// There is no place for it in its lane: it is to wait for one.
    Park,
    /// Somebody asked for its end.
    Cancel,
    /// Somebody asked for another start.
    Reschedule,
}

impl Event {
    /// The status in which a run stands after this, wherever it stood before.
    #[must_use]
    pub fn leads_to(self) -> RunStatus {
        match self {
            Self::Start => RunStatus::Executing,
            Self::Succeed => RunStatus::Completed,
            Self::Retry | Self::Wake | Self::Park => RunStatus::Queued,
            Self::Fail => RunStatus::Failed,
            Self::Crash => RunStatus::Crashed,
            Self::SystemFailure => RunStatus::SystemFailure,
            Self::Expire => RunStatus::Expired,
            Self::TimeOut => RunStatus::TimedOut,
            Self::Suspend => RunStatus::Waiting,
            Self::Cancel => RunStatus::Canceled,
            Self::Reschedule => RunStatus::Delayed,
        }
    }
}

impl Event {
    /// Whether this can happen to a run that stands at `status`.
    #[must_use]
    pub fn is_allowed_at(self, status: RunStatus) -> bool {
        use RunStatus::{
            Canceled, Completed, Crashed, Delayed, Executing, Expired, Failed, Queued, SystemFailure, TimedOut, Waiting,
        };
        match (status, self) {
            (Delayed | Queued, Event::Start | Event::Park)
            | (Executing, Event::Succeed | Event::Suspend | Event::TimeOut)
            | (Waiting, Event::Wake)
            | (Delayed, Event::Reschedule)
            // An attempt can end before it starts: its message may land in the dead-letter queue.
            | (
                Delayed | Queued | Executing,
                Event::Retry | Event::Fail | Event::Crash | Event::SystemFailure | Event::Expire,
            )
            | (Delayed | Queued | Executing | Waiting, Event::Cancel) => true,
            (Executing | Waiting, Event::Start | Event::Park)
            | (Delayed | Queued | Waiting, Event::Succeed | Event::Suspend | Event::TimeOut)
            | (Delayed | Queued | Executing, Event::Wake)
            | (Queued | Executing | Waiting, Event::Reschedule)
            | (Waiting, Event::Retry | Event::Fail | Event::Crash | Event::SystemFailure | Event::Expire)
            | (Completed | Canceled | Failed | Crashed | SystemFailure | Expired | TimedOut, _) => false,
        }
    }

    /// The statuses at which this can happen to a run: what a conditional write asks for.
    pub fn allowed_at(self) -> impl Iterator<Item = RunStatus> {
        RunStatus::ALL.into_iter().filter(move |status| self.is_allowed_at(*status))
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
            Event::SystemFailure,
            Event::Expire,
            Event::TimeOut,
            Event::Suspend,
            Event::Wake,
            Event::Park,
            Event::Cancel,
            Event::Reschedule,
        ];
        for status in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
            for event in events {
                assert!(!event.is_allowed_at(status), "{event:?} {status}");
            }
        }
    }

    #[test]
    fn every_run_that_is_not_final_can_be_cancelled() {
        assert!(Event::Cancel.allowed_at().eq(RunStatus::ALL.into_iter().filter(|status| !status.is_final())));
    }
}
