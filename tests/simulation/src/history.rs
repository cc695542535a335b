//! What was seen, in order, and the invariants it is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oncekey_core::key::KeyRelease;
use oncekey_core::{RunStatus, Timestamp};
use oncekey_worker::{CallError, Context, RunHandle};
use serde_json::Value;

use crate::payloads::{is_delayed, payload};
use crate::seen::{Debounces, Tokens};

/// A moment of the history: how many events came before.
pub type Position = usize;

/// An answered trigger.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it was asked.
    pub asked: Position,
    /// When its request was sent for the first time.
    pub first_asked: Position,
    /// When it was answered.
    pub answered: Position,
    /// Where.
    pub environment: String,
    /// Environment, task and key, if it had one.
    pub key: Option<String>,
    /// Whether it was debounced.
    pub debounced: bool,
    /// The number of the payload that it was asked with, where it has one.
    pub payload: Option<usize>,
    /// What names its request.
    pub request: String,
    /// Whether something else was asked for under that name, too.
    pub misused: bool,
    /// The run it was given.
    pub run: String,
    /// Whether that is the one which its request names, or which stands for it.
    pub own: bool,
    /// Whether it was told that the run was there already.
    pub cached: bool,
}

/// A claim of a key, as it was written.
#[derive(Clone, Debug)]
pub struct Claim {
    /// When it was written.
    pub at: Position,
    /// The key's item.
    pub key: String,
    /// Whom it names.
    pub run: String,
    /// When its window ends.
    pub window_ends_at: Timestamp,
    /// When it was over, and why: it was cleared, reset or taken over, its window ended, its run failed.
    pub gone: Option<(Position, &'static str)>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct History {
    now: Position,
    /// Triggers that were answered.
    pub answers: Vec<Answer>,
    /// Claims, in the order in which they were made.
    pub claims: Vec<Claim>,
    /// Ends that free, runs that made way, ends of windows and resets, by key.
    pub separators: Vec<(Position, String)>,
    /// Where each run stands.
    pub statuses: BTreeMap<String, RunStatus>,
    /// Runs that were cancelled to make way for others.
    pub replaced: BTreeSet<String>,
    /// Those of them that were put as cancelled ones, before anybody had made them.
    pub barred: BTreeSet<String>,
    /// What each run was given.
    pub given: BTreeMap<String, Value>,
    /// The key of each run that has one, and whether it starts later.
    pub made: BTreeMap<String, (Option<String>, bool)>,
    /// The environment of each run.
    pub environments: BTreeMap<String, String>,
    /// What was seen of debounced triggers.
    pub debounces: Debounces,
    /// What was seen of wait tokens.
    pub tokens: Tokens,
    /// How the child of each run and attempt ended.
    pub ends: BTreeMap<String, String>,
    /// What the step of each run gave.
    pub rolled: BTreeMap<String, u32>,
    /// What was broken as it happened.
    pub broken: Vec<String>,
    /// One line a step, if they are wanted.
    pub trace: Option<Vec<String>>,
}

impl History {
    /// The present moment, which is over with this.
    pub fn tick(&mut self) -> Position {
        self.now += 1;
        self.now
    }

    /// Whether a run has given up a key of this release.
    #[must_use]
    pub fn gave_up(&self, run: &str, release: KeyRelease) -> bool {
        let run = self.stands_for(run);
        self.replaced.contains(run) || self.statuses.get(run).is_some_and(|status| release.frees(*status))
    }

    /// Notes a step.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(self.tokens.named(format!("{now:>5} {}", line())));
        }
    }

    /// Ends the claim that holds a key. `why` it ended.
    pub fn end_claim(&mut self, key: &str, why: &'static str) {
        let at = self.tick();
        if let Some(claim) = self.claims.iter_mut().rev().find(|claim| claim.key == key)
            && claim.gone.is_none()
        {
            claim.gone = Some((at, why));
        }
    }

    /// Ends the claims whose window is over at `now`.
    pub fn end_windows(&mut self, now: Timestamp) {
        let over = |claim: &Claim| claim.gone.is_none() && claim.window_ends_at <= now;
        while let Some(index) = self.claims.iter().position(over) {
            let at = self.tick();
            let claim = &mut self.claims[index];
            claim.gone = Some((at, "its window ended"));
            let key = claim.key.clone();
            self.separators.push((at, key));
        }
    }

    /// What the answers and the rest break.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut found = self.broken.clone();
        let mut by_key: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
        for answer in &self.answers {
            by_key.entry(answer.key.as_ref().unwrap_or(&answer.request)).or_default().push(answer);
        }
        for (key, answers) in &by_key {
            for (index, one) in answers.iter().enumerate() {
                for other in &answers[index + 1..] {
                    let (from, to) = (one.first_asked.min(other.first_asked), one.answered.max(other.answered));
                    let between = |(at, of): &(Position, String)| of == key && (from..=to).contains(at);
                    if one.run != other.run && !self.separators.iter().any(between) {
                        found.push(format!("I1: {one:?} and {other:?} have nothing between them"));
                    }
                }
            }
        }
        let mut of_request: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for answer in self.answers.iter().filter(|answer| !answer.cached) {
            of_request.entry(&answer.request).or_default().insert(&answer.run);
        }
        for (request, runs) in &of_request {
            if runs.len() > 1 {
                found.push(format!("I3: request {request} made {runs:?}"));
            }
        }
        for answer in self.answers.iter().filter(|answer| answer.cached) {
            let is_its = |claim: &&Claim| {
                let stands = self.stands_for(&claim.run) == answer.run;
                stands && answer.key.as_ref() == Some(&claim.key) && claim.at < answer.answered
            };
            let claims = || self.claims.iter().filter(is_its);
            let stale = |claim: &Claim| claim.gone.is_some_and(|(at, _)| at < answer.asked);
            // A request that is sent again gets its own run, whatever became of its key since, and also if a helper made it.
            if !answer.own && claims().count() > 0 && claims().all(stale) {
                let why = claims().filter_map(|claim| claim.gone).map(|(_, why)| why).next_back().unwrap_or_default();
                found.push(format!("R23, R30, R40: {answer:?} is from before the key was free: {why}"));
            }
            if self.environments.get(&answer.run).is_some_and(|environment| *environment != answer.environment) {
                found.push(format!("I6: {answer:?} is another environment's"));
            }
        }
        found.extend(self.answers.iter().filter(|answer| !answer.cached).filter_map(|answer| self.unlike(answer)));
        found.extend(self.debounce_violations());
        found.extend(self.token_violations());
        found
    }

    /// What is unlike in a run that an answer said to be the caller's own: it is what the caller asked for.
    fn unlike(&self, answer: &Answer) -> Option<String> {
        // Of one that is debounced others may have the say.
        let number = answer.payload.filter(|_| !answer.debounced)?;
        let sent = payload(number);
        let how = if answer.misused { "I3: a request id of two requests" } else { "I3: a request of its own" };
        if let Some(given) = self.given.get(&answer.run).filter(|given| **given != sent) {
            return Some(format!("{how}: {answer:?}, and its run was given {:.60}", given.to_string()));
        }
        // Of a run that was replaced before it was made nobody knew what it was asked for with.
        if self.barred.contains(&answer.run) {
            return None;
        }
        let asked = (answer.key.clone(), is_delayed(number));
        let made = self.made.get(&answer.run).filter(|made| **made != asked)?;
        Some(format!("{how}: {answer:?}, and its run has the key and the delay of another: {made:?}"))
    }
}

/// A history that several may write to.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    /// The history.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment at which somebody begins something.
    #[must_use]
    pub fn begin(&self) -> Position {
        self.lock().tick()
    }

    /// A task was given this.
    pub fn given(&self, ctx: &Context, payload: &Value) {
        let mut history = self.lock();
        let run = ctx.run_id().to_string();
        let sent = payload["number"].as_u64().map(|number| crate::payloads::payload(number as usize));
        if sent.is_some_and(|sent| sent != *payload) {
            history.broken.push(format!("{run} was given what nobody sent"));
        }
        if *history.given.entry(run.clone()).or_insert_with(|| payload.clone()) != *payload {
            history.broken.push(format!("{run} was given one payload, and later another"));
        }
    }

    /// A task got what its only step gave.
    pub fn rolled(&self, ctx: &Context, value: u32) {
        let mut history = self.lock();
        let run = ctx.run_id().to_string();
        let first = *history.rolled.entry(run.clone()).or_insert(value);
        if first != value {
            history.broken.push(format!("{run}: its step gave {first}, and later {value}"));
        }
    }

    /// A task was told how its child ended. It was told so before if it waited since.
    pub fn child_ended(&self, ctx: &Context, ended: &Result<Value, CallError>) {
        let told = match ended {
            Ok(output) => output.to_string(),
            Err(error @ CallError::Child { .. }) => error.to_string(),
            Err(_) => return,
        };
        let attempt = format!("{}/{}", ctx.run_id(), ctx.attempt());
        let mut history = self.lock();
        if told.contains("its record was deleted") {
            history.broken.push(format!("{attempt}: nobody knows how its child ended"));
        }
        let first = history.ends.entry(attempt.clone()).or_insert_with(|| told.clone()).clone();
        if first != told {
            history.broken.push(format!("{attempt}: its child ended so: {first}, and later so: {told}"));
        }
    }

    /// A task triggered its child. A pass after a wait finds the child of the first, so only a first pass is noted.
    pub fn child_triggered(&self, asked: Position, ctx: &Context, handle: &RunHandle) {
        let request = format!("{}/{}", ctx.run_id(), ctx.attempt());
        let mut history = self.lock();
        if history.answers.iter().any(|answer| answer.request == request) {
            return;
        }
        let answered = history.tick();
        let key = oncekey_core::KeyHash::of(&["child"], oncekey_core::Scope::Global, None);
        let environment = ctx.environment().to_string();
        let key = format!("{environment}#ok#{key}");
        let (key, payload) = (Some(key), None);
        let (run, cached) = (handle.id.to_string(), handle.is_cached);
        history.note(|| format!("{request} has the child {run}"));
        history.answers.push(Answer {
            asked,
            first_asked: asked,
            answered,
            environment,
            key,
            debounced: false,
            payload,
            request,
            misused: false,
            run,
            own: false,
            cached,
        });
    }
}
