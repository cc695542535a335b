//! Callers: who triggers, and sends a request again.

use fastrand::Rng;
use oncekey_core::protocol::trigger::Triggered;
use oncekey_core::request::{Envelope, TriggerBody, parse_json};
use oncekey_core::{EnvironmentId, Error, KeyHash, RequestId, RunId, TaskId};
use serde_json::json;

use super::{End, Work, World};
use crate::history::{Answer, Position};
use crate::tasks::{TASKS, is_delayed, payload};

/// How often a caller sends a request that fails.
const TRIES: u32 = 6;

/// Somebody who triggers, and sends the same request again if it fails.
pub(super) struct Caller {
    pub(super) environment: EnvironmentId,
    pub(super) task: TaskId,
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
    /// How it misuses its request's id, which it sends with something else now and then.
    misuse: Option<Misuse>,
    misused: bool,
    /// What it sent last: the number of the payload, and the key.
    sent: (usize, Option<String>),
}

/// What a caller sends otherwise, under the same request id.
#[derive(Clone, Copy)]
enum Misuse {
    Payload,
    Key,
}

/// The number of the payload that a caller sends otherwise.
const OTHER_PAYLOAD: usize = 10;
/// The key that it sends otherwise.
const OTHER_KEY: &str = "k2";

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
        let misuse = caller.misuse.filter(|_| caller.first_asked.is_some() && self.random.bool());
        caller.misused |= misuse.is_some();
        caller.sent = match misuse {
            None => (number, caller.key.clone()),
            Some(Misuse::Payload) => (number + OTHER_PAYLOAD, caller.key.clone()),
            Some(Misuse::Key) => (number, Some(OTHER_KEY.to_owned())),
        };
        caller.first_asked.get_or_insert(position);
        let (sent, key) = &caller.sent;
        let mut options = json!({ "idempotencyKey": key, "idempotencyKeyTTL": caller.ttl,
            "idempotencyKeyRelease": caller.release, "onKeyHeld": caller.on_key_held });
        if number == 2 {
            options["metadata"] = json!({ "text": "m".repeat(1_100) });
        }
        if is_delayed(*sent) {
            options["delay"] = json!("30s");
        }
        let body = json!({ "payload": payload(*sent), "options": options });
        let request_id = request_id(&caller.request);
        let (environment, task) = (caller.environment.clone(), caller.task.clone());
        self.recorder.lock().note(|| format!("{} triggers {} with {:?}", caller.request, caller.task, caller.sent));
        let body = body.to_string();
        self.start(Work::Trigger(number), |app| async move {
            let envelope = Envelope::new(environment, task, request_id, app.clock.now());
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
        self.resetters.iter_mut().filter(|resetter| resetter.asked).for_each(|resetter| resetter.tries = 0);
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
                let own = triggered.handle.id == caller.own();
                let (run, cached) = (triggered.handle.id.to_string(), triggered.handle.is_cached);
                let (request, misused) = (caller.request.clone(), caller.misused);
                history.note(|| format!("{request} is answered {run}, cached: {cached}"));
                let first_asked = caller.first_asked.unwrap_or(asked);
                let (payload, key) = &caller.sent;
                let (payload, key) = (Some(*payload), key.as_ref().map(|key| caller.pk(key)));
                history.answers.push(Answer {
                    asked,
                    first_asked,
                    answered,
                    key,
                    payload,
                    request,
                    misused,
                    run,
                    own,
                    cached,
                });
            }
            Err(error @ Error::Aws { .. }) => history.note(|| format!("{} fails: {error:.60}", caller.request)),
            Err(Error::KeyHeld { holder, .. }) => {
                // What it asks for is refused for good, unless it is asked for anew.
                caller.tries = 0;
                history.note(|| format!("{} is refused for {holder}", caller.request));
                if holder == caller.own() && !caller.misused {
                    history.broken.push(format!("I3: {} is refused for its own run", caller.request));
                }
            }
            // Who misuses its request's id is refused, or was first with what it sends now.
            Err(Error::Unprocessable(why)) if caller.misused => {
                history.note(|| format!("{} is refused: {why:.60}", caller.request));
            }
            Err(Error::Contended(_) | Error::BeingMade(_)) => {
                history.note(|| format!("{} is contended", caller.request))
            }
            Err(error) => history.broken.push(format!("{} is refused: {error}", caller.request)),
        }
    }
}

pub(super) fn request_id(text: &str) -> RequestId {
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
            misuse: [Some(Misuse::Payload), Some(Misuse::Key), None, None, None, None, None, None][pick(random, 8)],
            misused: false,
            sent: (0, None),
        }
    }

    /// The run that its request names.
    fn own(&self) -> RunId {
        RunId::named(&self.environment, &self.task, &request_id(&self.request))
    }

    fn pk(&self, key: &str) -> String {
        let hash = KeyHash::from_wire("key", key).expect("a key");
        format!("{}#{}#{hash}", self.environment, self.task)
    }
}
