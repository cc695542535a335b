//! One invocation of a task's attempt: its numbered calls, what earlier invocations recorded of them, and how it is given
//! up. A resumed run starts from the top, so a call is known by its number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oncekey_core::key::Parent;
use oncekey_core::protocol::wait::{Suspension, suspend};
use oncekey_core::run::turn::Turn;
use oncekey_core::run::waiter::Waiter;
use oncekey_core::store::Journal;
use oncekey_core::{App, Error, Run, RunStatus, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use crate::call::{Call, CallError};

/// How long a run that waits for a moment, or took a step, is kept beyond that.
pub(crate) const KEPT_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What one invocation knows of the run that it executes.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub app: App,
    pub run: Run,
    pub journal: Journal,
    /// The calls of this attempt before it was suspended last.
    recorded: Vec<Call>,
    /// The calls made since this invocation started.
    pub calls: Mutex<Vec<Call>>,
    /// Steps that ended in this invocation.
    pub steps: Mutex<HashMap<String, String>>,
    /// Wake-ups that this invocation knows of.
    wakes: AtomicU32,
    /// Tells the worker that this invocation is over without an outcome.
    halt: UnboundedSender<()>,
    started: Instant,
}

impl Invocation {
    /// The invocation of a run that starts or resumes now.
    pub(crate) async fn of(app: &App, run: &Run, halt: UnboundedSender<()>) -> Result<Self, Error> {
        // On its first way a run has no journal.
        let journal = match run.turn {
            Turn::FIRST => Journal::default(),
            turn => app.store.journal(&run.id, turn.attempt).await?,
        };
        let last_wait = journal.waits.iter().max_by_key(|(call, _)| **call).map(|(_, wait)| wait.calls.as_str());
        let recorded = serde_json::from_str(last_wait.unwrap_or("[]"))
            .map_err(|error| Error::Unreadable { what: "a wait's calls".to_owned(), why: error.to_string() })?;
        Ok(Self {
            app: app.clone(),
            run: run.clone(),
            journal,
            recorded,
            calls: Mutex::default(),
            steps: Mutex::default(),
            wakes: AtomicU32::new(run.wakes),
            halt,
            started: Instant::now(),
        })
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

    pub(crate) fn kept_until(&self, after: Duration) -> Timestamp {
        self.app.clock.now().plus(after).max(self.run.spec.kept_until())
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
    pub(crate) async fn next_call(&self, what: String) -> Result<(u32, Option<Call>), CallError> {
        let (number, before) = {
            let mut calls = lock(&self.calls);
            let before = self.recorded.get(calls.len()).cloned();
            calls.push(before.clone().unwrap_or_else(|| Call { what: what.clone(), children: Vec::new() }));
            (u32::try_from(calls.len()).unwrap_or(u32::MAX), before)
        };
        if let Some(before) = before.as_ref().filter(|before| before.what != what) {
            return Err(CallError::OtherCall { number, now: what, before: before.what.clone() });
        }
        self.still_ours().await?;
        Ok((number, before))
    }

    /// Suspends the run, or returns because there was a wake-up meanwhile.
    pub(crate) async fn suspend(&self, waiter: &Waiter, until: Timestamp) -> Result<(), CallError> {
        let seen = self.wakes.load(Ordering::SeqCst);
        match suspend(&self.app, &self.run, waiter, seen, self.run.spent() + self.started.elapsed(), until).await? {
            Suspension::LookAgain { wakes } => self.wakes.store(wakes, Ordering::SeqCst),
            Suspension::Suspended | Suspension::Lost => self.halt().await,
        }
        Ok(())
    }

    /// The calls up to this one, as the journal keeps them.
    pub(crate) fn calls_so_far(&self, number: u32) -> Result<String, CallError> {
        let calls = lock(&self.calls);
        let calls = calls.get(..number as usize).unwrap_or(&calls);
        serde_json::to_string(calls).map_err(|source| CallError::Type { what: "the journal".to_owned(), source })
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
