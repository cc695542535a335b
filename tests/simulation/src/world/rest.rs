//! How a schedule comes to rest when the faults stop, and what it came to.

use std::collections::BTreeSet;
use std::time::Duration;

use oncekey_core::RunStatus;

use super::machine::SLOWEST;
use super::{MAX_AT_WORK, World};

/// What a schedule came to.
pub struct Outcome {
    /// What it broke.
    pub violations: Vec<String>,
    /// One line a step, if they were wanted.
    pub trace: Vec<String>,
    /// Runs that were made.
    pub runs: usize,
    /// Calls that were made.
    pub calls: u32,
}

impl World<'_> {
    /// One move without faults. Whether there was nothing left to do.
    pub(super) async fn quiet_move(&mut self) -> bool {
        self.let_work().await;
        self.recorder.lock().end_windows(self.clock.ahead_by(SLOWEST).now());
        self.give_up_silent_calls();
        if !self.waiting.is_empty() {
            self.next_call();
        } else if self.at_work.len() < MAX_AT_WORK
            && self.queues.next_visible().is_some_and(|at| at <= self.clock.now())
        {
            self.deliver();
        } else if !self.at_work.is_empty() {
            // They wait for time: for a process, or for a moment of the clock.
            self.pass(Duration::from_millis(60)).await;
            self.clock.advance(Duration::from_millis(60));
        } else if self.callers.iter().any(|caller| caller.tries > 0) {
            self.call_in();
        } else if self.reset_again() || self.settle_schedules() || self.settle_limits() {
        } else {
            return !self.let_time_pass();
        }
        false
    }

    /// Lets time pass until there is something to do again. Whether there ever is.
    fn let_time_pass(&mut self) -> bool {
        self.look_for_forgotten();
        if let Some(span) = self.leisure() {
            self.rest_for(span);
        } else if let Some(at) = self.queues.next_visible() {
            self.clock.advance(at.since(self.clock.now()));
        } else {
            return false;
        }
        true
    }

    pub(super) fn outcome(self, settled: bool, calls: u32) -> Outcome {
        let mut history = self.recorder.lock();
        let mut violations = history.violations();
        if self.only_throttled {
            let given_up = |(run, status): &(&String, &RunStatus)| {
                let crashed = **status == RunStatus::Crashed && !self.fragile.contains(*run);
                crashed || **status == RunStatus::SystemFailure
            };
            for (run, status) in history.statuses.iter().filter(given_up) {
                violations.push(format!("I8: nothing failed but for a passing reason, and {run} is {status}"));
            }
            let dead = self.queues.dead_lettered;
            if dead > 0 {
                violations
                    .push(format!("I8: nothing failed but for a passing reason, and {dead} messages are dead letters"));
            }
        }
        if !settled {
            violations.push(format!(
                "I8: {} messages and {} processes never come to rest",
                self.queues.len(),
                self.at_work.len()
            ));
        }
        let acknowledged: BTreeSet<&String> = history.answers.iter().map(|answer| &answer.run).collect();
        for run in acknowledged {
            match history.statuses.get(run) {
                Some(status) if status.is_final() => {}
                status => violations.push(format!("I2: {run} was acknowledged and is {status:?}")),
            }
        }
        for (run, status) in history.statuses.iter().filter(|(_, status)| !status.is_final()) {
            violations.push(format!("I8 or I9: {run} is left {status}"));
        }
        let runs = history.statuses.len();
        Outcome { violations, trace: history.trace.take().unwrap_or_default(), runs, calls }
    }
}
