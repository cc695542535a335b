//! Deterministic simulation: the real trigger, worker, completion, reset and cancel handlers on the embedded DynamoDB, under
//! one scheduler that decides, from one seed, whose call goes next and what becomes of it.
//!
//! - [`network`] is what stands under the AWS SDKs: a call waits there until the scheduler lets it through, lets it fail
//!   without effect, lets it take effect and then fail, or has its process die before or after it.
//! - [`queue`] is SQS at its worst: messages come twice, late, in any order, and land in dead-letter queues.
//! - [`world`] is the scheduler: processes, people, time. When it has had its fun it stops the faults, lets everything that
//!   is left come to rest, and looks at what is there.
//! - [`history`] is what a caller and an onlooker saw, and the invariants it is held against: [`debounces`] has those of
//!   debounced triggers, [`tokens`] those of wait tokens.
//! - [`tasks`] is the work: tasks that succeed, fail, retry, wait for a child, a time or a token.
//!
//! The same seed gives the same schedule. `cargo run --release -p oncekey-simulation -- --from 7 --schedules 1 --trace`.

#![allow(clippy::expect_used, missing_debug_implementations, reason = "a test that cannot go on should say where")]

pub mod debounces;
pub mod history;
pub mod network;
pub mod payloads;
pub mod queue;
pub mod schedules;
pub mod seen;
pub mod tasks;
pub mod tokens;
pub mod world;

use std::ops::Range;
use std::sync::Mutex;

use crate::world::{Bench, Mutant, simulate};

/// Schedules that share a database, so that not each of them has to make one.
const A_DATABASE: u64 = 100;

/// What schedules came to.
#[derive(Debug, Default)]
pub struct Report {
    /// What was broken, by seed.
    pub violations: Vec<(u64, String)>,
    /// One line a step, if they were wanted.
    pub trace: Vec<String>,
    /// Runs that were made.
    pub runs: usize,
    /// Calls that were made while there were faults.
    pub calls: u64,
}

/// Runs the schedules of these seeds, on all cores.
///
/// # Panics
/// When a schedule does: with its seed in the message.
#[must_use]
pub fn run(seeds: Range<u64>, trace: bool, mutant: Option<Mutant>) -> Report {
    let report = Mutex::new(Report::default());
    let left = Mutex::new(seeds.clone().step_by(A_DATABASE as usize));
    let next = || left.lock().ok()?.next();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
                runtime.expect("a runtime").block_on(async {
                    let bench = Bench::new().await;
                    while let Some(from) = next() {
                        let database = Bench::database();
                        for seed in from..seeds.end.min(from + A_DATABASE) {
                            let outcome = simulate(&bench, &database, seed, trace, mutant).await;
                            let Ok(mut report) = report.lock() else { return };
                            report.violations.extend(outcome.violations.into_iter().map(|violation| (seed, violation)));
                            report.trace.extend(outcome.trace);
                            report.runs += outcome.runs;
                            report.calls += u64::from(outcome.calls);
                        }
                    }
                });
            });
        }
    });
    let mut report = report.into_inner().expect("no schedule panicked");
    report.violations.sort();
    report
}
