//! The scheduler: from one seed, who goes next and what becomes of it.

mod bench;
mod caller;
mod callers;
mod calls;
mod crons;
mod delivery;
mod limited;
mod limits;
mod machine;
mod made;
mod mutant;
mod people;
mod plans;
mod rates;
mod resetter;
mod rest;
mod slots;
mod sweep;
mod tokens;
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
use oncekey_core::{App, Clock, Error, Timestamp};
use oncekey_worker::Worker;
use serde_json::Value;

pub use self::bench::Bench;
use self::caller::{Caller, has_tokens};
use self::limited::Limits;
use self::machine::{Machine, SLOWEST, machines};
use self::made::Made;
pub use self::mutant::Mutant;
use self::plans::Crons;
use self::resetter::Resetter;
pub use self::rest::Outcome;
use crate::history::{Position, Recorder};
use crate::network::{Pending, Process, at_work};
use crate::queue::{Queues, Receives};
use crate::tasks::worker;

/// Moves with faults, before everything is let come to rest.
const MOVES: u32 = 350;
/// Moves without, by which it must have.
const MAX_QUIET_MOVES: u32 = 30_000;
/// Invocations at a time.
const MAX_AT_WORK: usize = 6;
/// When the simulation begins.
const BEGINNING: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// What a process was for.
enum Work {
    Trigger(usize),
    Invocation { queue: &'static str, handle: String, id: String },
    Reset(usize),
    Cancel,
    Complete,
    Declare(usize),
    Schedule,
    Change,
}

enum End {
    Trigger(Result<Triggered, Error>),
    Invocation(SqsBatchResponse),
    Reset(Result<(), Error>),
    Cancelled,
    Complete(Result<(), Error>),
    Declared(Result<(), Error>),
    Scheduled,
    Changed,
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
    /// Machines that processes run on.
    machines: Vec<Machine>,
    /// Which of them each process runs on.
    runs_on: BTreeMap<Process, usize>,
    worker: Arc<Worker>,
    queues: Queues,
    /// The keys' items, as they were written.
    keys: BTreeMap<String, Value>,
    /// When each run was created.
    created_at: BTreeMap<String, Timestamp>,
    /// When the first wait for a time is over in which each run was suspended last.
    waits_until: BTreeMap<String, Timestamp>,
    /// Runs of which something was written: the database has those of other schedules, too.
    partitions: Vec<String>,
    recorder: Recorder,
    callers: Vec<Caller>,
    at_work: Vec<AtWork>,
    waiting: Vec<Pending>,
    /// Calls that nobody answers, and when their callers take that for a failure.
    silent: Vec<(Pending, Timestamp)>,
    /// Processes that are slow: their calls go when no others are there.
    slow: BTreeSet<Process>,
    processes: Process,
    /// Processes that took an attempt up.
    holders: BTreeSet<Process>,
    /// Who is at each run, by its id, and until when its lease lasts: taken up, and not reported yet.
    held: BTreeMap<String, (Process, Timestamp)>,
    /// Processes of which a call failed, for all they know.
    failed: BTreeSet<Process>,
    resetters: Vec<Resetter>,
    cancels: u32,
    /// Wait tokens, in the order in which they were made.
    tokens: Vec<Made>,
    /// How often one of them is completed yet.
    completions: u32,
    /// Cron schedules, if there are any.
    crons: Option<Crons>,
    /// How many runs may execute, if that is limited.
    limits: Option<Limits>,
    /// Payloads that are not written yet, and whose run they are of: the planted fault.
    late: Vec<(String, String)>,
    /// How often nobody is at work for days.
    absences: u32,
    /// Until when DynamoDB throttles every call.
    throttled_until: Timestamp,
    /// Whether throttling is all that ever fails: then nothing may be given up.
    only_throttled: bool,
    /// Runs of one attempt, which a worker can take up and then not be able to read.
    fragile: BTreeSet<String>,
    faults: bool,
    mutant: Option<Mutant>,
}

/// Runs the schedule of a seed.
pub async fn simulate(bench: &Bench, database: &Database, seed: u64, trace: bool, mutant: Option<Mutant>) -> Outcome {
    fastrand::seed(seed);
    let mut world = World::new(bench, database, seed, trace, mutant);
    world.open_environment();
    world.declare_limits();
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
        let recorder = Recorder::default();
        recorder.lock().trace = trace.then(Vec::new);
        let callers: Vec<Caller> =
            (0..random.u32(2..=8)).map(|number| Caller::new(seed, number, &mut random)).collect();
        let limits = Limits::of(seed, &callers);
        let resetters = (0..random.u32(0..=3)).map(|number| Resetter::new(seed, number, &mut random)).collect();
        let only_throttled = random.u8(..12) == 0;
        let receives = if only_throttled { Receives::IN_EARNEST } else { Receives::FEW };
        Self {
            bench,
            database,
            machines: machines(bench, &clock, &mut random),
            runs_on: BTreeMap::new(),
            clock,
            worker: Arc::new(worker(&recorder)),
            queues: Queues::new(
                mutant.and_then(Mutant::receives).unwrap_or(receives),
                mutant != Some(Mutant::Impatience),
            ),
            keys: BTreeMap::new(),
            created_at: BTreeMap::new(),
            waits_until: BTreeMap::new(),
            partitions: Vec::new(),
            callers,
            at_work: Vec::new(),
            waiting: Vec::new(),
            silent: Vec::new(),
            slow: BTreeSet::new(),
            processes: 0,
            holders: BTreeSet::new(),
            held: BTreeMap::new(),
            failed: BTreeSet::new(),
            resetters,
            cancels: random.u32(0..=2),
            tokens: Vec::new(),
            completions: if has_tokens(seed) { Rng::with_seed(seed).u32(2..=12) } else { 0 },
            crons: Crons::of(seed),
            limits,
            late: Vec::new(),
            absences: if only_throttled || random.bool() { 0 } else { 5 },
            throttled_until: BEGINNING,
            only_throttled,
            fragile: BTreeSet::new(),
            faults: !only_throttled,
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

    /// Starts a process on any of the machines.
    fn start<F: Future<Output = End> + 'static>(&mut self, work: Work, begin: impl FnOnce(App) -> F) {
        self.processes += 1;
        let machine = self.random.usize(..self.machines.len());
        self.runs_on.insert(self.processes, machine);
        let asked = self.recorder.begin();
        let future = Box::pin(begin(self.machines[machine].app.clone()));
        self.at_work.push(AtWork { process: self.processes, work, asked, future, ready: true });
    }

    /// What a process takes for the present moment.
    fn now_of(&self, process: Process) -> Timestamp {
        let machine = self.runs_on.get(&process).map(|machine| &self.machines[*machine]);
        machine.map_or(self.clock.now(), |machine| machine.app.clock.now())
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
            (Work::Reset(resetter), End::Reset(result)) => self.reset_answered(resetter, result),
            (Work::Complete, End::Complete(result)) => self.completion_answered(result),
            (Work::Declare(number), End::Declared(result)) => self.declared(number, &result),
            _ => {}
        }
    }

    /// What a process is at.
    fn work_of(&self, process: Process) -> Option<&Work> {
        self.at_work.iter().find(|busy| busy.process == process).map(|busy| &busy.work)
    }

    /// One move with faults. Whether it was a call.
    async fn wild_move(&mut self) -> bool {
        self.let_work().await;
        self.recorder.lock().end_windows(self.clock.ahead_by(SLOWEST).now());
        self.give_up_silent_calls();
        match self.random.u8(..100) {
            0..62 if !self.waiting.is_empty() => {
                self.next_call();
                return true;
            }
            // Whoever is at work waits for others. So long, and a claimer is taken for dead whose run is not there.
            0..40 if !self.at_work.is_empty() => self.pass(Duration::from_millis(250)).await,
            0..72 if self.crons.is_some() && self.random.bool() && self.change_schedules() => {}
            0..42 if self.change_limits() => {}
            0..72 => self.call_in(),
            72..88 => self.deliver(),
            88 if self.absences > 0 => {
                self.absences -= 1;
                self.days_pass();
            }
            89 => self.sweep(),
            90..92 => self.pass(Duration::from_millis(60)).await,
            92..97 => {
                let spans = [50, 900, 2_500, 6_000, 31_000, 61_000, 181_000];
                // Who is slower than its lease crashes, whatever fails.
                let most = if self.only_throttled { 3 } else { spans.len() };
                let span = Duration::from_millis(spans[self.random.usize(..most)]);
                self.clock.advance(span);
                self.wake_all();
                self.recorder.lock().note(|| format!("{span:?} pass"));
            }
            97 => self.reset(),
            98 => self.cancel(),
            _ if self.only_throttled => self.throttle(Duration::from_secs(30 * 60)),
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
