//! Who triggers, and sends a request again.

use fastrand::Rng;
use oncekey_core::{EnvironmentId, KeyHash, RequestId, RunId, TaskId};

use crate::history::Position;
use crate::tasks::TASKS;

/// How often a caller sends a request that fails.
const TRIES: u32 = 6;

/// Somebody who triggers, and sends the same request again if it fails.
pub(super) struct Caller {
    pub(super) environment: EnvironmentId,
    pub(super) task: TaskId,
    pub(super) key: Option<String>,
    /// The number of the payload that it sends: its own, but for schedules in which all send the same.
    pub(super) payload: usize,
    pub(super) ttl: &'static str,
    /// What it says of its key: which ends free it, and what to do if another run holds it.
    pub(super) release: &'static str,
    pub(super) on_key_held: &'static str,
    pub(super) request: String,
    pub(super) first_asked: Option<Position>,
    pub(super) tries: u32,
    /// How often it asks again although it was answered.
    pub(super) again: u32,
    pub(super) at_work: bool,
    /// How it misuses its request's id, which it sends with something else now and then.
    pub(super) misuse: Option<Misuse>,
    pub(super) misused: bool,
    /// What it sent last: the number of the payload, and the key.
    pub(super) sent: (usize, Option<String>),
}

/// What a caller sends otherwise, under the same request id.
#[derive(Clone, Copy)]
pub(super) enum Misuse {
    Payload,
    Key,
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
            payload: if seed.is_multiple_of(3) { 0 } else { number as usize },
            // One of its own for each schedule: they share a database.
            environment: EnvironmentId::parse(&format!("s{seed}/{environment}")).expect("an environment"),
            task: TaskId::parse(task).expect("a task"),
            key: (pick(random, 10) != 0).then(|| "k".to_owned()),
            ttl: ["30d", "30d", "5s", "60s"][pick(random, 4)],
            release: ["on-failure", "on-failure", "on-end", "never"][pick(random, 4)],
            on_key_held: ["return", "return", "return", "error", "replace"][pick(random, 5)],
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
    pub(super) fn own(&self) -> RunId {
        RunId::named(&self.environment, &self.task, &request_id(&self.request))
    }

    pub(super) fn pk(&self, key: &str) -> String {
        let hash = KeyHash::from_wire("key", key).expect("a key");
        format!("{}#{}#{hash}", self.environment, self.task)
    }
}
