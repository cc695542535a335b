//! The scheduler: from one seed, who goes next and what becomes of it.

mod bench;
mod delivery;
mod people;
mod rest;
mod sweep;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aws_lambda_events::sqs::SqsBatchResponse;
use dynoxide::Database;
use fastrand::Rng;
use oncekey_core::protocol::trigger::Triggered;
use oncekey_core::queue::QueueUrls;
use oncekey_core::queue::name::QueueName;
use oncekey_core::store::TableNames;
use oncekey_core::{App, Clock, Error, Timestamp, blobs::Blobs};
use oncekey_worker::Worker;
use serde_json::Value;

pub use self::bench::Bench;
use self::people::Caller;
pub use self::rest::Outcome;
use crate::history::{Position, Recorder};
use crate::network::{Pending, Process, at_work};
use crate::queue::{COMPLETIONS, COMPLETIONS_DEAD, Queues, RUNS, RUNS_DEAD};
use crate::tasks::worker;

/// Moves with faults, before everything is let come to rest.
const MOVES: u32 = 350;
/// Moves without, by which it must have.
const MAX_QUIET_MOVES: u32 = 30_000;
/// Invocations at a time.
const MAX_AT_WORK: usize = 6;
/// When the simulation begins.
const BEGINNING: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// A fault planted below the handlers: a condition, or a part of an answer, that gets lost on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutant {
    /// Keys are claimed whoever holds them.
    Claim,
    /// A failed run's key is deleted whoever holds it.
    Clear,
    /// A run suspends whatever its counter of wake-ups says.
    Suspend,
    /// An attempt is started whoever holds its lease.
    Start,
    /// Who is refused by its own lease, because its call was sent again, is not told that it is its own.
    Lease,
    /// A run expires though it has not ended.
    Expire,
    /// What a step gave expires though its run has not ended.
    ExpireSteps,
    /// A run's payload expires though the run has not ended.
    ExpirePayloads,
    /// A run is written before its payload.
    LatePayloads,
}

/// What a process was for.
enum Work {
    Trigger(usize),
    Invocation { queue: &'static str, handle: String, id: String },
    Reset,
    Cancel,
}

enum End {
    Trigger(Result<Triggered, Error>),
    Invocation(SqsBatchResponse),
    Person,
}

struct AtWork {
    process: Process,
    work: Work,
    asked: Position,
    future: Pin<Box<dyn Future<Output = End>>>,
    /// Whether it may have something to do.
    ready: bool,
}

/// One schedule.
pub struct World<'a> {
    bench: &'a Bench,
    database: &'a Database,
    random: Rng,
    clock: Clock,
    app: App,
    worker: Arc<Worker>,
    queues: Queues,
    /// The keys' items, as they were written.
    keys: BTreeMap<String, Value>,
    /// When each run was created.
    created_at: BTreeMap<String, Timestamp>,
    recorder: Recorder,
    callers: Vec<Caller>,
    at_work: Vec<AtWork>,
    waiting: Vec<Pending>,
    /// Processes that are slow: their calls go when no others are there.
    slow: BTreeSet<Process>,
    processes: Process,
    /// Processes that took an attempt up.
    holders: BTreeSet<Process>,
    /// Who is at each run, by its id, and until when its lease lasts: taken up, and not reported yet.
    held: BTreeMap<String, (Process, Timestamp)>,
    /// Processes of which a call failed, for all they know.
    failed: BTreeSet<Process>,
    resets: u32,
    cancels: u32,
    /// Payloads that are not written yet, and whose run they are of: the planted fault.
    late: Vec<(String, String)>,
    /// How often nobody is at work for days.
    absences: u32,
    faults: bool,
    mutant: Option<Mutant>,
}

/// Runs the schedule of a seed.
pub async fn simulate(bench: &Bench, database: &Database, seed: u64, trace: bool, mutant: Option<Mutant>) -> Outcome {
    fastrand::seed(seed);
    let mut world = World::new(bench, database, seed, trace, mutant);
    let mut calls = 0;
    for _ in 0..MOVES {
        calls += u32::from(world.wild_move().await);
    }
    world.faults = false;
    let mut settled = false;
    for _ in 0..MAX_QUIET_MOVES {
        if world.quiet_move().await {
            settled = true;
            break;
        }
    }
    world.outcome(settled, calls)
}

impl<'a> World<'a> {
    fn new(bench: &'a Bench, database: &'a Database, seed: u64, trace: bool, mutant: Option<Mutant>) -> Self {
        let mut random = Rng::with_seed(seed);
        let clock = Clock::frozen(BEGINNING);
        let tables =
            TableNames { keys: "keys".to_owned(), runs: "runs".to_owned(), environments: "environments".to_owned() };
        let url = |queue: &str| format!("http://simulation/000000000000/{queue}");
        let urls = QueueUrls {
            runs: [(QueueName::default(), url(RUNS))].into(),
            of_task: Default::default(),
            runs_dead_letter: url(RUNS_DEAD),
            triggers: url("none"),
            triggers_dead_letter: url("none"),
            completions: url(COMPLETIONS),
            completions_dead_letter: url(COMPLETIONS_DEAD),
        };
        let blobs = Blobs::new(&bench.sdk, Some("http://simulation"), "none", clock.clone()).expect("a bucket");
        let app = App::new(bench.dynamodb.clone(), bench.sqs.clone(), tables, urls, blobs, clock.clone());
        let recorder = Recorder::default();
        recorder.lock().trace = trace.then(Vec::new);
        let callers = (0..random.u32(2..=8)).map(|number| Caller::new(seed, number, &mut random)).collect();
        Self {
            bench,
            database,
            clock,
            app,
            worker: Arc::new(worker(&recorder)),
            queues: Queues::default(),
            keys: BTreeMap::new(),
            created_at: BTreeMap::new(),
            callers,
            at_work: Vec::new(),
            waiting: Vec::new(),
            slow: BTreeSet::new(),
            processes: 0,
            holders: BTreeSet::new(),
            held: BTreeMap::new(),
            failed: BTreeSet::new(),
            resets: random.u32(0..=3),
            cancels: random.u32(0..=2),
            late: Vec::new(),
            absences: if random.bool() { 0 } else { 5 },
            faults: true,
            mutant,
            recorder,
            random,
        }
    }

    /// Lets everybody who can go on until they wait for a call or for time.
    async fn let_work(&mut self) {
        // A pause for the runtime, whose budget would else run out in one long poll.
        tokio::task::yield_now().await;
        let mut index = 0;
        while index < self.at_work.len() {
            let busy = &mut self.at_work[index];
            if !std::mem::take(&mut busy.ready) {
                index += 1;
                continue;
            }
            at_work(busy.process);
            let polled = std::future::poll_fn(|context| Poll::Ready(busy.future.as_mut().poll(context))).await;
            self.waiting.extend(self.bench.network.take());
            match polled {
                Poll::Pending => index += 1,
                Poll::Ready(ended) => {
                    let done = self.at_work.swap_remove(index);
                    self.ended(done, ended);
                }
            }
        }
    }

    fn start(&mut self, work: Work, future: impl Future<Output = End> + 'static) {
        self.processes += 1;
        let asked = self.recorder.begin();
        self.at_work.push(AtWork { process: self.processes, work, asked, future: Box::pin(future), ready: true });
    }

    fn ended(&mut self, done: AtWork, ended: End) {
        let process = done.process;
        self.let_go(process);
        match (done.work, ended) {
            (Work::Trigger(caller), End::Trigger(result)) => self.answered(caller, done.asked, result),
            (Work::Invocation { queue, handle, id }, End::Invocation(response)) => {
                let left = response.batch_item_failures.iter().any(|failure| failure.item_identifier == id);
                if left && self.holders.contains(&process) && !self.failed.contains(&process) {
                    let broken =
                        format!("I8: process {process} took an attempt up, no call of it failed, and it left {handle}");
                    self.recorder.lock().broken.push(broken);
                }
                // The acknowledgement may get lost too.
                let lost = !left && self.faults && self.random.u8(..100) < 5;
                if !left && !lost {
                    self.queues.delete(&handle);
                }
                self.recorder.lock().note(|| format!("{queue} {handle} {}", if left { "is left" } else { "is done" }));
            }
            _ => {}
        }
    }

    /// One move with faults. Whether it was a call.
    async fn wild_move(&mut self) -> bool {
        self.let_work().await;
        self.recorder.lock().end_windows(self.clock.now());
        match self.random.u8(..100) {
            0..62 if !self.waiting.is_empty() => {
                self.next_call();
                return true;
            }
            0..72 => self.call_in(),
            72..88 => self.deliver(),
            88 if self.absences > 0 => {
                self.absences -= 1;
                self.days_pass();
            }
            88..92 => self.pass(Duration::from_millis(60)).await,
            92..97 => {
                let spans = [50, 900, 2_500, 6_000, 31_000, 61_000, 181_000];
                let span = Duration::from_millis(spans[self.random.usize(..spans.len())]);
                self.clock.advance(span);
                self.wake_all();
                self.recorder.lock().note(|| format!("{span:?} pass"));
            }
            97 => self.reset(),
            98 => self.cancel(),
            _ if !self.at_work.is_empty() => {
                let process = self.at_work[self.random.usize(..self.at_work.len())].process;
                self.kill(process);
            }
            _ => {}
        }
        false
    }

    fn wake_all(&mut self) {
        self.at_work.iter_mut().for_each(|busy| busy.ready = true);
    }

    /// Lets real time pass, by which processes wait for each other.
    async fn pass(&mut self, span: Duration) {
        tokio::time::advance(span).await;
        self.wake_all();
    }
}
