//! A run's attempts, as far as its record tells them. For people to look at: nothing is decided by it.

use oncekey_wire::{AttemptError, AttemptStatus};

use crate::run::Run;
use crate::run::history::Happening;
use crate::run::status::RunStatus;

impl Run {
    /// Its attempts, oldest first. Of a run with more moments than are noted, the first ones and the present one.
    #[must_use]
    pub fn attempts(&self) -> Vec<oncekey_wire::Attempt> {
        let mut attempts = vec![oncekey_wire::Attempt::new(1)];
        for moment in &self.history {
            let Some(attempt) = attempts.last_mut() else { continue };
            match moment.what {
                Happening::Started => {
                    attempt.started_at.get_or_insert(moment.at);
                    attempt.status = AttemptStatus::Executing.into();
                }
                Happening::Suspended => attempt.status = AttemptStatus::Paused.into(),
                Happening::Retried => {
                    attempt.status = AttemptStatus::Failed.into();
                    attempt.completed_at = Some(moment.at);
                    let failure = self.failures.iter().find(|failure| failure.attempt == attempt.number);
                    attempt.error = failure.map(|failure| failure.error.clone());
                    let next = attempt.number + 1;
                    attempts.push(oncekey_wire::Attempt::new(next));
                }
            }
        }
        if attempts.last().is_some_and(|last| last.number < self.turn.attempt) {
            attempts.push(oncekey_wire::Attempt::new(self.turn.attempt));
        }
        if let Some(last) = attempts.last_mut() {
            let status = match self.status {
                RunStatus::Delayed | RunStatus::Queued if last.started_at.is_none() => AttemptStatus::Pending,
                RunStatus::Delayed | RunStatus::Queued | RunStatus::Waiting => AttemptStatus::Paused,
                RunStatus::Executing => AttemptStatus::Executing,
                RunStatus::Completed => AttemptStatus::Completed,
                RunStatus::Canceled => AttemptStatus::Canceled,
                _ => AttemptStatus::Failed,
            };
            last.status = status.into();
            last.completed_at = self.finished_at;
            last.error = self.error.as_ref().filter(|_| self.status.is_final()).map(AttemptError::of);
        }
        // One that no worker ever took up is none.
        attempts.retain(|attempt| attempt.started_at.is_some() || attempt.number == self.turn.attempt);
        if self.started_at.is_none() { Vec::new() } else { attempts }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oncekey_wire::{EnvironmentId, RequestId, RunError, RunId, TaskId};

    use super::*;
    use crate::clock::Timestamp;
    use crate::run::RunSpec;
    use crate::run::failure::Failure;
    use crate::run::history::Moment;
    use crate::run::turn::Turn;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn each_attempt_says_when_it_was_and_why_it_failed() {
        let environment = EnvironmentId::parse("a/b").expect("environment");
        let task = TaskId::parse("t").expect("task");
        let id = RunId::named(&environment, &task, &RequestId::fresh());
        let new = Run::new(id, RunSpec::new(environment, task, at(0)), None);
        assert_eq!(new.attempts(), []);

        let error = RunError::new("Timeout", "too slow");
        let moments = [(Happening::Started, 5), (Happening::Retried, 7), (Happening::Started, 9)];
        let history = moments.map(|(what, millis)| Moment { what, at: at(millis) }).to_vec();
        let run = Run {
            history,
            failures: vec![Failure::of(1, &error, at(7), Duration::from_millis(1))],
            turn: Turn { attempt: 2, resume: 0 },
            status: RunStatus::Completed,
            started_at: Some(at(5)),
            finished_at: Some(at(30)),
            ..new
        };
        let [first, second] = run.attempts().try_into().expect("two");
        assert_eq!((first.started_at, first.completed_at), (Some(at(5)), Some(at(7))));
        assert_eq!(first.error.map(|error| error.message).as_deref(), Some("too slow"));
        assert_eq!(
            (second.status, second.started_at, second.completed_at),
            (AttemptStatus::Completed.into(), Some(at(9)), Some(at(30)))
        );
        assert_eq!(second.error, None);
    }
}
