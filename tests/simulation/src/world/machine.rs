//! The machines that processes run on, whose clocks differ.

use std::sync::Arc;

use fastrand::Rng;
use oncekey_core::blobs::Blobs;
use oncekey_core::queue::QueueUrls;
use oncekey_core::queue::name::QueueName;
use oncekey_core::store::TableNames;
use oncekey_core::{App, Clock};

use super::Bench;
use crate::queue::{COMPLETIONS, COMPLETIONS_DEAD, RUNS, RUNS_DEAD, TRIGGERS};
use crate::schedules::Schedules;

/// How many there are.
const MACHINES: usize = 3;
/// How far the clock of the slowest is ahead of the true time, in milliseconds: five seconds behind. None is further ahead.
pub(super) const SLOWEST: i64 = -5_000;

/// A machine.
pub(super) struct Machine {
    pub(super) app: App,
}

/// As many as there are: one has the true time.
pub(super) fn machines(bench: &Bench, clock: &Clock, random: &mut Rng) -> Vec<Machine> {
    // Without schedules, what is far away goes in hops.
    let scheduled = random.bool();
    let ahead = |number: usize| if number == 0 { 0 } else { random.i64(SLOWEST..=-SLOWEST) };
    let app = |clock| match app(bench, clock) {
        app if scheduled => app.scheduled_by(Arc::new(Schedules(bench.network.clone()))),
        app => app,
    };
    (0..MACHINES).map(ahead).map(|ahead| Machine { app: app(clock.ahead_by(ahead)) }).collect()
}

fn app(bench: &Bench, clock: Clock) -> App {
    let text = str::to_owned;
    let tables = TableNames { keys: text("keys"), runs: text("runs"), environments: text("environments") };
    let url = |queue: &str| format!("http://simulation/000000000000/{queue}");
    let urls = QueueUrls {
        runs: [(QueueName::default(), url(RUNS))].into(),
        of_task: Default::default(),
        runs_dead_letter: url(RUNS_DEAD),
        triggers: url(TRIGGERS),
        triggers_dead_letter: url("none"),
        completions: url(COMPLETIONS),
        completions_dead_letter: url(COMPLETIONS_DEAD),
    };
    let blobs = Blobs::new(&bench.sdk, Some("http://simulation"), "none", clock.clone()).expect("a bucket");
    let public_url = Some("http://simulation".to_owned());
    App { public_url, ..App::new(bench.dynamodb.clone(), bench.sqs.clone(), tables, urls, blobs, clock) }
}
