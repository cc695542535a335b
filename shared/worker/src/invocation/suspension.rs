//! How an invocation gives its run up to wait, or holds it in place.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oncekey_core::flow::Lane;
use oncekey_core::payload::PayloadType;
use oncekey_core::protocol::keep::expiry;
use oncekey_core::protocol::wait::{Suspension, suspend};
use oncekey_core::queue::message::RunMessage;
use oncekey_core::store::Progress;
use oncekey_core::{QueueLabel, RunId, RunStatus, Timestamp};

use crate::call::CallError;
use crate::calls::Open;
use crate::gate::Pass;
use crate::invocation::Invocation;
use crate::patience::until_read;
use crate::standstill::Findings;

/// A wait's message is sent again with a suspension that is so near its end: clocks differ, and the message may have come.
const NEARLY_DUE: Duration = Duration::from_secs(5 * 60);
/// How often whoever suspends the run lets others go first, that they look whether their wait is over.
const UNTIL_ALL_LOOK: u32 = 16;
/// How often a run that is held in place looks for wake-ups.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Children of a held wait that are looked at whether they wait for its run.
const LOOKED_AT: usize = 10;
/// Milliseconds before the end of an invocation in which a task can hear that it cannot be held any longer.
const TO_REFUSE_MS: i64 = 500;

/// A wait that the run is held in, as long as this is there.
struct Held<'a>(&'a AtomicU32);

impl<'a> Held<'a> {
    fn of(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Invocation {
    /// Suspends the run in all its open waits, or returns because there was a wake-up since this one looked. What it holds
    /// then keeps the run from being suspended until it has looked again, and has its answer if it is over. A run that did
    /// what must not be done twice is held in place until then instead.
    pub(crate) async fn suspend(&self, number: u32) -> Result<Pass<'_>, CallError> {
        let mut rounds = 0;
        let mut next_look = self.next_look();
        loop {
            let shut = self.gate.shut().await;
            if self.is_over_or_behind(number) {
                break;
            }
            let wakes = self.wakes();
            let all_have = self.calls().open.values().all(|open| open.seen == wakes);
            // Another wait may not have looked yet. One that the task holds without awaiting it now never does, and is not
            // missed: it is looked at when it is awaited.
            if rounds < UNTIL_ALL_LOOK && !all_have {
                rounds += 1;
                continue;
            }
            match self.stand_still().await {
                Findings::Clean => self.suspend_standing(wakes).await?,
                // That may take as long as it likes, such as a fetch that is under way: what is waited for may be over before.
                Findings::More => {
                    drop(shut);
                    if self.app.clock.now() >= next_look {
                        self.look_for_wakes().await?;
                        next_look = self.next_look();
                    }
                }
                Findings::Effects(effects) => {
                    drop(shut);
                    self.hold(number, &effects).await?;
                    break;
                }
            }
        }
        Ok(self.gate.pass().await)
    }

    /// Whether the time of an open wait has come, or there was a wake-up since it looked.
    fn is_over_or_behind(&self, number: u32) -> bool {
        let now = self.app.clock.now();
        let is_over = |open: &Open| open.due_at.is_some_and(|due_at| now >= due_at);
        self.calls().open.get(&number).is_none_or(|open| is_over(open) || open.seen != self.wakes())
    }

    /// When wake-ups are looked for next, by who is not suspended meanwhile.
    fn next_look(&self) -> Timestamp {
        self.app.clock.now().plus(self.look_every.get().copied().unwrap_or(LOOK_EVERY))
    }

    async fn stand_still(&self) -> Findings {
        match self.outside.get() {
            Some(outside) => (outside.stop)().await,
            None => Findings::Clean,
        }
    }

    /// Suspends the run while what is outside stands still, and lets it go on if the run is still ours.
    async fn suspend_standing(&self, seen: u32) -> Result<(), CallError> {
        let suspended = self.suspend_now(seen).await;
        if let Some(outside) = self.outside.get() {
            // Whether it is suspended must be known before anything goes on: then somebody else may have it.
            if suspended.is_err() && self.still_ours().await.is_err() {
                self.app.clock.sleep_until(self.stop_at).await;
                std::future::pending::<()>().await;
            }
            (outside.go_on)();
        }
        suspended
    }

    /// Whether the run is held in one of its waits, whatever it does beside that.
    #[cfg_attr(not(feature = "host"), expect(dead_code, reason = "asked by the host alone"))]
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst) > 0
    }

    /// Holds the run in place until there is a wake-up, or this wait's time has come.
    async fn hold(&self, number: u32, effects: &[String]) -> Result<(), CallError> {
        let _held = Held::of(&self.held);
        let due_at = self.calls().open.get(&number).and_then(|open| open.due_at);
        let clock = &self.app.clock;
        let last = Timestamp::from_millis(self.stop_at.millis().saturating_sub(TO_REFUSE_MS));
        let refused = |ends_at, blocked| {
            let (stops_at, effects) = (self.stop_at, effects.to_vec());
            CallError::NotHeld { ends_at, stops_at, blocked, effects }
        };
        let refuse = |ends_at| refused(ends_at, None);
        if due_at.is_some_and(|due_at| due_at > last) {
            return Err(refuse(due_at));
        }
        loop {
            // Another wait that is held may have been told of the wake-up first.
            if self.is_over_or_behind(number) {
                return Ok(());
            }
            if clock.now() >= last {
                return Err(refuse(None));
            }
            if let Some(blocked) = self.blocked_by_itself(number).await? {
                return Err(refused(None, Some(blocked)));
            }
            let next = self.next_look().min(last);
            clock.sleep_until(due_at.map_or(next, |due_at| due_at.min(next))).await;
            self.look_for_wakes().await?;
        }
    }

    /// The child of a held wait that never ends: it waits for the place that this run has itself, and is the only one.
    async fn blocked_by_itself(&self, number: u32) -> Result<Option<(RunId, QueueLabel)>, CallError> {
        let Some(lane) = Lane::of(&self.run) else { return Ok(None) };
        let (app, waiter) = (&self.app, self.waiter(number));
        let pending = until_read(app, || app.store.wait(&waiter)).await?.pending;
        if pending.is_empty() {
            return Ok(None);
        }
        let bound = until_read(app, || app.store.bound(&lane.environment, &lane.queue)).await?;
        if bound.limit != Some(1) {
            return Ok(None);
        }
        let some: Vec<&RunId> = pending.iter().take(LOOKED_AT).collect();
        let children = until_read(app, || app.store.runs(&some)).await?;
        let blocked = children.into_iter().find(|child| child.parked && Lane::of(child).as_ref() == Some(&lane));
        Ok(blocked.map(|child| (child.id, lane.queue)))
    }

    /// Looks whether there were wake-ups. Ends the invocation if the run is not ours any more.
    async fn look_for_wakes(&self) -> Result<(), CallError> {
        let run = until_read(&self.app, || self.app.store.run(&self.run.id)).await?;
        match run.filter(|run| run.status == RunStatus::Executing && run.turn == self.run.turn) {
            Some(run) => self.wakes.store(run.wakes, Ordering::SeqCst),
            None => self.halt().await,
        }
        Ok(())
    }

    async fn suspend_now(&self, seen: u32) -> Result<(), CallError> {
        if let Some(exchanged) = self.outside.get().and_then(|outside| (outside.exchanged)()) {
            let environment = &self.run.spec.environment;
            let path = self.app.blobs.put_output(environment, PayloadType::Json, exchanged).await?;
            self.calls().note_exchanges(path);
        }
        let (segments, open) = {
            let calls = self.calls();
            (calls.pack()?, calls.open.clone())
        };
        let until = open.values().map(|open| open.until).max().unwrap_or_default();
        let due_at = open.values().filter_map(|open| open.due_at).min();
        self.keep_journal(until).await?;
        let app = &self.app;
        let known = self.journal.segments.len();
        let count = u32::try_from(known + segments.len()).unwrap_or(u32::MAX);
        let expiring = expiry(until);
        let (id, born) = (&self.run.id, self.run.spec.created_at);
        let items = app.store.put_segments(id, born, self.run.turn, segments, expiring).await?;
        self.note_expiry(items, expiring);
        let mut waits = Vec::with_capacity(open.len());
        for (number, open) in open {
            let waiter = self.waiter(number);
            if let Some(due_at) = open.due_at
                && (!open.sent || due_at.since(app.clock.now()) < NEARLY_DUE)
            {
                app.queues.send_run(&RunMessage::wake(&waiter, &self.run.spec.queue, Some(due_at))).await?;
                if let Some(open) = self.calls().open.get_mut(&number) {
                    open.sent = true;
                }
            }
            waits.push(waiter);
        }
        let spent = self.run.spent() + self.started.elapsed();
        let progress = Progress { spent, segments: count, children: &self.children() };
        match suspend(app, &self.run, &waits, due_at, seen, progress).await? {
            Suspension::LookAgain { wakes } => self.wakes.store(wakes, Ordering::SeqCst),
            Suspension::Suspended | Suspension::Lost => self.halt().await,
        }
        Ok(())
    }
}
