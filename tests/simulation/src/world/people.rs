//! People: who triggers, sends a request again, resets a key, cancels a run.

use fastrand::Rng;
use oncekey_core::key::KeyPlace;
use oncekey_core::protocol::trigger::Triggered;
use oncekey_core::request::{Envelope, TriggerBody, parse_json};
use oncekey_core::store::KeyAddress;
use oncekey_core::{EnvironmentId, Error, KeyHash, RequestId, RunId, TaskId};
use serde_json::json;

use super::{End, Work, World};
use crate::history::{Answer, Position};
use crate::tasks::{TASKS, payload};

/// How often a caller sends a request that fails.
const TRIES: u32 = 6;

/// Somebody who triggers, and sends the same request again if it fails.
pub(super) struct Caller {
    environment: EnvironmentId,
    task: TaskId,
    pub(super) key: Option<String>,
    ttl: &'static str,
    /// What it says of its key: which ends free it, and what to do if another run holds it.
    release: &'static str,
    on_key_held: &'static str,
    request: String,
    first_asked: Option<Position>,
    pub(super) tries: u32,
    /// How often it asks again although it was answered.
    again: u32,
    pub(super) at_work: bool,
}

impl World<'_> {
    /// Has a caller send its request.
    pub(super) fn call_in(&mut self) {
        let idle: Vec<usize> = (0..self.callers.len())
            .filter(|caller| self.callers[*caller].tries > 0 && !self.callers[*caller].at_work)
            .collect();
        let Some(number) = idle.get(self.random.usize(..idle.len().max(1))).copied() else { return };
        let caller = &mut self.callers[number];
        caller.tries -= 1;
        caller.at_work = true;
        let position = self.recorder.begin();
        caller.first_asked.get_or_insert(position);
        let mut options = json!({ "idempotencyKey": caller.key, "idempotencyKeyTTL": caller.ttl,
            "idempotencyKeyRelease": caller.release, "onKeyHeld": caller.on_key_held });
        if number == 2 {
            options["metadata"] = json!({ "text": "m".repeat(1_100) });
        }
        let body = json!({ "payload": payload(number), "options": options });
        let request_id = request_id(&caller.request);
        let envelope = Envelope::new(caller.environment.clone(), caller.task.clone(), request_id, self.clock.now());
        self.recorder.lock().note(|| format!("{} triggers {} with {:?}", caller.request, caller.task, caller.key));
        let (app, body) = (self.app.clone(), body.to_string());
        self.start(Work::Trigger(number), async move {
            let request = parse_json::<TriggerBody<'_>>(body.as_bytes()).and_then(|body| body.check(envelope));
            End::Trigger(match request {
                Ok(request) => oncekey_core::protocol::trigger::trigger(&app, request).await,
                Err(error) => Err(error),
            })
        });
    }

    /// Whoever has asked asks no more.
    pub(super) fn give_up(&mut self) {
        self.callers.iter_mut().filter(|caller| caller.first_asked.is_some()).for_each(|caller| caller.tries = 0);
    }

    pub(super) fn answered(&mut self, caller: usize, asked: Position, result: Result<Triggered, Error>) {
        let caller = &mut self.callers[caller];
        caller.at_work = false;
        let mut history = self.recorder.lock();
        let answered = history.tick();
        match result {
            Ok(triggered) => {
                caller.tries = caller.again;
                caller.again = caller.again.saturating_sub(1);
                let (run, cached) = (triggered.handle.id.to_string(), triggered.handle.is_cached);
                let request = caller.request.clone();
                history.note(|| format!("{request} is answered {run}, cached: {cached}"));
                let first_asked = caller.first_asked.unwrap_or(asked);
                let key = caller.key.as_ref().map_or_else(|| request.clone(), |key| caller.pk(key));
                history.answers.push(Answer { asked, first_asked, answered, key, request, run, cached });
            }
            Err(error @ Error::Aws { .. }) => history.note(|| format!("{} fails: {error:.60}", caller.request)),
            Err(Error::KeyHeld { holder, .. }) => {
                // What it asks for is refused for good, unless it is asked for anew.
                caller.tries = 0;
                history.note(|| format!("{} is refused for {holder}", caller.request));
                let own = RunId::named(&caller.environment, &caller.task, &request_id(&caller.request));
                if holder == own {
                    history.broken.push(format!("I3: {} is refused for its own run", caller.request));
                }
            }
            Err(Error::Contended(_) | Error::BeingMade(_)) => {
                history.note(|| format!("{} is contended", caller.request))
            }
            Err(error) => history.broken.push(format!("{} is refused: {error}", caller.request)),
        }
    }

    pub(super) fn reset(&mut self) {
        let Some(caller) = self.callers.iter().find(|caller| caller.key.is_some()).filter(|_| self.resets > 0) else {
            return;
        };
        self.resets -= 1;
        let (app, environment, task) = (self.app.clone(), caller.environment.clone(), caller.task.clone());
        let hash = KeyHash::from_wire("key", caller.key.as_deref().unwrap_or_default()).expect("a key");
        self.start(Work::Reset, async move {
            let address = KeyAddress { environment: &environment, place: KeyPlace::Task(&task), hash: &hash };
            let _ = oncekey_core::protocol::reset::reset(&app, address, hash.as_str()).await;
            End::Person
        });
    }

    pub(super) fn cancel(&mut self) {
        let runs: Vec<String> = {
            let history = self.recorder.lock();
            history.statuses.iter().filter(|(_, status)| !status.is_final()).map(|(run, _)| run.clone()).collect()
        };
        let Some(run) = runs.get(self.random.usize(..runs.len().max(1))).filter(|_| self.cancels > 0) else { return };
        self.cancels -= 1;
        let id = RunId::parse(run).expect("a run id");
        self.recorder.lock().note(|| format!("{id} is to be cancelled"));
        let (app, environment) = (self.app.clone(), self.callers[0].environment.clone());
        self.start(Work::Cancel, async move {
            let _ = oncekey_core::protocol::cancel::cancel(&app, &environment, &id).await;
            End::Person
        });
    }
}

fn request_id(text: &str) -> RequestId {
    RequestId::from_caller(text).expect("a request id")
}

impl Caller {
    pub(super) fn new(seed: u64, number: u32, random: &mut Rng) -> Self {
        let pick = |random: &mut Rng, most: usize| random.usize(..most);
        // Most of one environment, task and key; who has none shares nothing.
        let environment = if pick(random, 10) == 0 { "other" } else { "dev" };
        let mut shared = Rng::with_seed(seed ^ 0x6f6e_6365);
        let task =
            if pick(random, 5) == 0 { TASKS[pick(random, TASKS.len())] } else { TASKS[shared.usize(..TASKS.len())] };
        Self {
            // One of its own for each schedule: they share a database.
            environment: EnvironmentId::parse(&format!("s{seed}/{environment}")).expect("an environment"),
            task: TaskId::parse(task).expect("a task"),
            key: (pick(random, 10) != 0).then(|| "k".to_owned()),
            ttl: ["30d", "30d", "5s", "60s"][pick(random, 4)],
            release: ["on-failure", "on-failure", "on-end", "never"][pick(random, 4)],
            on_key_held: ["return", "return", "return", "error"][pick(random, 4)],
            request: format!("s{seed}-r{number}"),
            first_asked: None,
            tries: TRIES,
            again: pick(random, 3) as u32,
            at_work: false,
        }
    }

    fn pk(&self, key: &str) -> String {
        let hash = KeyHash::from_wire("key", key).expect("a key");
        format!("{}#{}#{hash}", self.environment, self.task)
    }
}
