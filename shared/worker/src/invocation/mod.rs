//! One invocation of a task's attempt: what earlier invocations journalled of it, its calls, and how it is given up.

mod answer;
pub(crate) mod begin;
mod suspension;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use oncekey_core::key::Parent;
use oncekey_core::protocol::keep::SPARE;
use oncekey_core::run::CHILDREN_NOTED;
use oncekey_core::run::turn::Turn;
use oncekey_core::run::waiter::Waiter;
use oncekey_core::store::Journal;
use oncekey_core::{App, Error, Run, RunId, RunStatus, Timestamp};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};

use crate::call::CallError;
use crate::calls::{Calls, Open};
use crate::gate::Gate;
use crate::standstill::Standstill;

tokio::task_local! {
    static IN_STEP: ();
}

/// What one invocation knows of the run that it executes.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub app: App,
    pub run: Run,
    pub journal: Journal,
    pub gate: Gate,
    calls: Mutex<Calls>,
    /// Woken when a call of the journal was made again.
    made_again: Notify,
    /// Told when they will not all be.
    given_up: Notify,
    /// Answers of before the suspension that the task has got again.
    given: watch::Sender<usize>,
    /// Answers that wait for those which the task had before them.
    held_back: AtomicUsize,
    /// Steps that ended in this invocation.
    pub steps: Mutex<HashMap<String, String>>,
    /// When each item of the journal expires.
    expiries: Mutex<BTreeMap<String, Timestamp>>,
    /// Wake-ups that this invocation knows of.
    wakes: AtomicU32,
    /// In how many of its waits the run is held.
    held: AtomicU32,
    /// Tells the worker that this invocation is over without an outcome.
    halt: UnboundedSender<()>,
    started: Instant,
    /// When this invocation is over at the latest.
    pub stop_at: Timestamp,
    /// What of the run is outside this process.
    pub outside: OnceLock<Standstill>,
    /// Whether the run's latest wake-ups are known here at once, as its store is this machine's.
    pub look_every: OnceLock<Duration>,
}

/// A wait in which the run may be suspended, as long as this lives.
pub(crate) struct Waiting<'a>(&'a Invocation, u32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.calls().open.remove(&self.1);
    }
}

impl Invocation {
    /// The invocation of a run that starts or resumes now, with when each of what stands beside it expires.
    /// `None` if what it had journalled is not all there any more.
    pub(crate) async fn of(
        app: &App,
        run: &Run,
        beside: Vec<(String, Timestamp)>,
        stop_at: Timestamp,
        halt: UnboundedSender<()>,
    ) -> Result<Option<Self>, Error> {
        // On its first way a run has no journal.
        let mut journal = match run.turn {
            Turn::FIRST => Journal::default(),
            turn => app.store.journal(&run.id, run.spec.created_at, turn.attempt).await?,
        };
        if journal.segments.len() < run.segments as usize {
            return Ok(None);
        }
        journal.expiries.extend(beside);
        let last_wait = journal.waits.iter().filter(|(_, wait)| wait.calls.is_some()).max_by_key(|(call, _)| **call);
        let old = last_wait.and_then(|(_, wait)| wait.calls.as_deref());
        let waiting_on: Vec<u32> = run.waiting_on.iter().map(|wait| wait.call).collect();
        let calls = Calls::of(old, &journal.segments, &waiting_on)?;
        let invocation = Self {
            app: app.clone(),
            run: run.clone(),
            gate: Gate::default(),
            calls: Mutex::new(calls),
            made_again: Notify::new(),
            given_up: Notify::new(),
            given: watch::Sender::new(0),
            held_back: AtomicUsize::new(0),
            steps: Mutex::default(),
            expiries: Mutex::new(std::mem::take(&mut journal.expiries)),
            journal,
            wakes: AtomicU32::new(run.wakes),
            held: AtomicU32::new(0),
            halt,
            started: Instant::now(),
            stop_at,
            outside: OnceLock::new(),
            look_every: OnceLock::new(),
        };
        // Messages may have been under way for weeks, and may be again.
        invocation.keep_journal(app.clock.now()).await?;
        Ok(Some(invocation))
    }

    pub(crate) fn parent(&self) -> Parent<'_> {
        Parent { run: self.run.id.as_str(), attempt: self.run.turn.attempt }
    }

    /// The name of the trigger that call `number` makes for its child `index`: the same on a resume.
    pub(crate) fn request(&self, number: u32, index: usize) -> String {
        format!("{}/{}/{number}.{index}", &self.run.id, self.run.turn.attempt)
    }

    pub(crate) fn waiter(&self, call: u32) -> Waiter {
        Waiter { run: self.run.id.clone(), attempt: self.run.turn.attempt, call }
    }

    pub(crate) fn calls(&self) -> MutexGuard<'_, Calls> {
        lock(&self.calls)
    }

    /// The run's children that are to be noted of it: those that were, and those that the calls of this attempt triggered.
    pub(crate) fn children(&self) -> Vec<RunId> {
        let mut children = self.run.children.clone();
        let mut known: HashSet<RunId> = children.iter().cloned().collect();
        for child in self.calls().children() {
            if children.len() >= CHILDREN_NOTED {
                break;
            }
            if known.insert(child.clone()) {
                children.push(child.clone());
            }
        }
        children
    }

    /// Notes when the journal's new items expire, so that a later wait can renew them.
    pub(crate) fn note_expiry(&self, items: impl IntoIterator<Item = String>, at: Timestamp) {
        lock(&self.expiries).extend(items.into_iter().map(|item| (item, at)));
    }

    /// Ends this invocation here if the run is not ours any more: it was cancelled, or its lease ran out.
    pub(crate) async fn still_ours(&self) -> Result<(), Error> {
        let run = &self.run;
        let ours = Some((RunStatus::Executing, run.turn));
        if self.app.store.position(&run.id).await? != ours {
            self.halt().await;
        }
        Ok(())
    }

    /// Gives up this invocation: the worker drops the task where it stands.
    async fn halt(&self) {
        // The worker is listening as long as the task is polled.
        let _ = self.halt.send(());
        std::future::pending().await
    }

    /// Runs the effect of a step: what it calls is part of it.
    pub(crate) async fn within_step<T>(effect: impl Future<Output = T>) -> T {
        IN_STEP.scope((), effect).await
    }

    /// Opens a wait: the run may be suspended in it.
    pub(crate) fn open(&self, number: u32, open: Open) -> Result<Waiting<'_>, CallError> {
        if within_step() {
            let message = "a step cannot wait: it would begin again from its start. Wait before it or after it";
            return Err(Error::invalid("wait", message).into());
        }
        self.calls().open.insert(number, open);
        Ok(Waiting(self, number))
    }

    /// Wake-ups so far, to be told to [`Invocation::looked`] by who looks for what it waits for after this.
    pub(crate) fn wakes(&self) -> u32 {
        self.wakes.load(Ordering::SeqCst)
    }

    /// Notes that an open wait, when there had been `seen` wake-ups, began to look whether it is over, and is not.
    pub(crate) fn looked(&self, number: u32, seen: u32) {
        if let Some(open) = self.calls().open.get_mut(&number) {
            open.seen = seen;
        }
    }

    /// Sees that everything which the journal has lasts until `until` and somewhat longer.
    async fn keep_journal(&self, until: Timestamp) -> Result<(), Error> {
        let soon = until.plus(SPARE);
        let items: Vec<String> =
            lock(&self.expiries).iter().filter(|(_, at)| **at < soon).map(|(item, _)| item.clone()).collect();
        // Longer than it must, so that not every suspension has something to renew.
        let renewed = until.plus(SPARE * 3);
        self.app.store.renew(&self.run.id, &items, renewed).await?;
        self.note_expiry(items, renewed);
        Ok(())
    }
}

fn within_step() -> bool {
    IN_STEP.try_with(|()| ()).is_ok()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
