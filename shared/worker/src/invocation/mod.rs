//! One invocation of a task's attempt: what earlier invocations journalled of it, its calls, and how it is given up.

mod suspension;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
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

use crate::call::{Answer, Call, CallError, Refusal, Said};
use crate::calls::{Beside, Calls, Open};
use crate::gate::{Gate, Pass};
use crate::standstill::Standstill;

/// How long a call that the journal does not have waits for those that it has to be made again, beyond the time that the
/// attempt has needed to make them.
const UNTIL_MADE_AGAIN: Duration = Duration::from_secs(1);

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
    /// Steps that ended in this invocation.
    pub steps: Mutex<HashMap<String, String>>,
    /// When each item of the journal expires.
    expiries: Mutex<BTreeMap<String, Timestamp>>,
    /// Wake-ups that this invocation knows of.
    wakes: AtomicU32,
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

/// A call that has its number.
pub(crate) struct Begun<'a> {
    pub number: u32,
    /// What the journal knows of it.
    pub before: Call,
    /// Whether the task had its answer before the run was suspended.
    pub given: bool,
    /// Keeps the run from being suspended.
    pub pass: Pass<'a>,
    /// Tells others that they are not alone.
    pub pending: Pending<'a>,
}

/// A call whose answer the task does not have yet, as long as this lives.
pub(crate) struct Pending<'a>(&'a Invocation, u32);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.calls().pending.remove(&self.1);
    }
}

/// A wait in which the run may be suspended, as long as this lives.
pub(crate) struct Waiting<'a>(&'a Invocation, u32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.calls().open.remove(&self.1);
    }
}

impl Invocation {
    /// The invocation of a run that starts or resumes now, with when each of what stands beside it expires. `None` if what it had journalled is not all there any more.
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
            turn => app.store.journal(&run.id, turn.attempt).await?,
        };
        if journal.segments.len() < run.segments as usize {
            return Ok(None);
        }
        journal.expiries.extend(beside);
        let last_wait = journal.waits.iter().filter(|(_, wait)| wait.calls.is_some()).max_by_key(|(call, _)| **call);
        let old = last_wait.and_then(|(_, wait)| wait.calls.as_deref());
        let waiting_on: Vec<u32> =
            run.waiting_on.iter().filter_map(|wait| wait.rsplit('#').next()?.parse().ok()).collect();
        let calls = Calls::of(old, &journal.segments, &waiting_on)?;
        let invocation = Self {
            app: app.clone(),
            run: run.clone(),
            gate: Gate::default(),
            calls: Mutex::new(calls),
            made_again: Notify::new(),
            given_up: Notify::new(),
            given: watch::Sender::new(0),
            steps: Mutex::default(),
            expiries: Mutex::new(std::mem::take(&mut journal.expiries)),
            journal,
            wakes: AtomicU32::new(run.wakes),
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

    /// Numbers a call; with what it gave before the run was suspended, if it was made then.
    pub(crate) async fn begin(&self, said: Said) -> Result<Begun<'_>, CallError> {
        self.begin_beside(said, Beside::Unknown, || ()).await
    }

    /// The same for a call whose maker knows what is pending beside it, and is told if it has to wait for the journal's calls
    /// to be made again.
    pub(crate) async fn begin_beside(
        &self,
        said: Said,
        beside: Beside,
        parked: impl Fn(),
    ) -> Result<Begun<'_>, CallError> {
        let pass = self.gate.pass().await;
        let (number, before, pending) = self.next(&said, beside, parked).await?;
        let given = self.calls().place(number).is_ok();
        let before = before.unwrap_or_default();
        // What was done before the suspension is not done again: nobody can be late for it.
        let is_done = given || before.answer.is_some() || before.due_at.is_some();
        if !is_done {
            self.still_ours().await?;
        }
        Ok(Begun { number, before, given, pass, pending })
    }

    async fn next(
        &self,
        said: &Said,
        beside: Beside,
        parked: impl Fn(),
    ) -> Result<(u32, Option<Call>, Pending<'_>), CallError> {
        let give_up = self.until_made_again();
        tokio::pin!(give_up);
        loop {
            let mut made_again = std::pin::pin!(self.made_again.notified());
            made_again.as_mut().enable();
            let next = self.calls().make(said, beside);
            if let Some((number, before)) = next {
                self.made_again.notify_waiters();
                return Ok((number, before, Pending(self, number)));
            }
            parked();
            tokio::select! {
                biased;
                () = made_again => {}
                () = &mut give_up => {
                    let last = self.calls().make_at_last(said, beside);
                    self.made_again.notify_waiters();
                    let (number, before) = last.map_err(|(number, before)| {
                        CallError::OtherCall { number, now: said.what.clone(), before }
                    })?;
                    return Ok((number, before, Pending(self, number)));
                }
            }
        }
    }

    /// Returns when there is no hope left that the calls of the journal are all made again.
    async fn until_made_again(&self) {
        match self.outside.get() {
            // Whoever watches the task from outside sees when it has come to its end.
            Some(_) => self.given_up.notified().await,
            None => tokio::time::sleep(self.run.spent() + UNTIL_MADE_AGAIN).await,
        }
    }

    /// Says that the task, in which calls wait for those of the journal to be made again, will not make them.
    #[cfg(feature = "host")]
    pub(crate) fn give_up(&self) {
        self.given_up.notify_waiters();
    }

    /// What the task exchanged with others before the run was suspended, as it was recorded.
    #[cfg(feature = "host")]
    pub(crate) async fn exchanges(&self) -> Result<Option<String>, Error> {
        let Some(path) = self.calls().exchanges() else { return Ok(None) };
        let gone = || Error::NotFound(format!("{} is not in the store any more", path.as_str()));
        let stored = self.app.blobs.get(&self.run.spec.environment, &path).await?;
        stored.and_then(|stored| stored.text).ok_or_else(gone).map(Some)
    }

    /// Whether the task has had an answer that the journal does not have, or none was there: whether it is no replay any more.
    #[cfg(feature = "host")]
    pub(crate) fn is_live(&self) -> bool {
        self.calls().is_live()
    }

    /// Whether the task has had an answer that the journal does not have.
    #[cfg(feature = "host")]
    pub(crate) fn has_gone_on(&self) -> bool {
        self.calls().has_gone_on()
    }

    async fn all_made_again(&self) {
        loop {
            let mut made_again = std::pin::pin!(self.made_again.notified());
            made_again.as_mut().enable();
            if self.calls().all_made_again() {
                return;
            }
            made_again.await;
        }
    }

    /// The answer of a call: the one that it had before the run was suspended, or the one that `make` gets now.
    pub(crate) async fn answer(
        &self,
        begun: &Begun<'_>,
        make: impl Future<Output = Result<Answer, CallError>>,
    ) -> Result<Answer, CallError> {
        if let Some(answer) = begun.before.answer.clone() {
            return answer.map_err(|refusal| Error::from(refusal).into());
        }
        if begun.given {
            return Ok(Answer::Done);
        }
        let answer = make.await;
        let noted = match &answer {
            Ok(answer) => Ok(answer.clone()),
            Err(CallError::Oncekey(error)) => Err(Refusal::of(error)),
            // What the task makes of its own values it makes of them again.
            Err(_) => return answer,
        };
        self.calls().note(begun.number, |call| call.answer = Some(noted));
        answer
    }

    /// Lets the task have the answer of a call: on a resume in the order in which it had them, so that whatever it does
    /// with several at once comes out as before. Until then the run cannot be suspended: the answer would have to wait for
    /// what the others wait for.
    ///
    /// What a step calls is part of the step: once that is journalled, nobody makes it again.
    pub(crate) async fn give(&self, number: u32, _pass: Option<Pass<'_>>) {
        if within_step() {
            return;
        }
        let place = self.calls().place(number);
        let mut given = self.given.subscribe();
        let (Ok(turn) | Err(turn)) = place;
        // The sender lives as long as this does.
        let _ = given.wait_for(|given| *given >= turn).await;
        if place.is_err() {
            // What stands beside this call makes its own again first: it was there before this answer.
            let _ = tokio::time::timeout(self.run.spent() + UNTIL_MADE_AGAIN, self.all_made_again()).await;
        }
        match place {
            Ok(turn) if *self.given.borrow() == turn => {
                self.calls().give(number);
                self.given.send_modify(|given| *given += 1);
            }
            Ok(_) => {}
            Err(_) => self.calls().give(number),
        }
        self.made_again.notify_waiters();
    }

    /// The same for what came of a call's wait: a failure is its answer from now on.
    pub(crate) async fn told<'a, T>(
        &'a self,
        number: u32,
        given: bool,
        waited: Result<(T, Pass<'a>), CallError>,
    ) -> Result<T, CallError> {
        if let Err(CallError::Oncekey(error)) = &waited
            && !given
        {
            self.calls().note(number, |call| call.answer = Some(Err(Refusal::of(error))));
        }
        let (told, pass) = match waited {
            Ok((told, pass)) => (Ok(told), Some(pass)),
            Err(error) => (Err(error), None),
        };
        self.give(number, pass).await;
        told
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
