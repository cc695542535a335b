//! Who triggers, and sends a request again.

use fastrand::Rng;
use oncekey_core::{EnvironmentId, KeyHash, RequestId, RunId, TaskId};

use crate::history::Position;
use crate::payloads::DEBOUNCED;
use crate::tasks::{APPROVAL, TASKS};

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
    /// Whose start it pushes, if it is debounced.
    pub(super) debounce: Option<Debounce>,
    /// What it sent last: the number of the payload, and the key.
    pub(super) sent: (usize, Option<String>),
}

/// How a caller debounces.
#[derive(Clone, Copy)]
pub(super) struct Debounce {
    pub(super) key: &'static str,
    pub(super) delay: &'static str,
    pub(super) mode: &'static str,
    pub(super) max_delay: Option<&'static str>,
}

impl Debounce {
    fn new(random: &mut Rng) -> Self {
        Self {
            key: if random.u8(..8) == 0 { "b" } else { "a" },
            delay: ["5s", "31s", "90s"][random.usize(..3)],
            mode: ["leading", "trailing", "trailing"][random.usize(..3)],
            max_delay: [None, None, Some("100s")][random.usize(..3)],
        }
    }

    /// Whether its payload replaces the one that is there.
    pub(super) fn is_trailing(&self) -> bool {
        self.mode == "trailing"
    }
}

/// Whether there are wait tokens in the schedule of this seed.
pub(super) fn has_tokens(seed: u64) -> bool {
    seed % 4 == 3
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
            debounce: None,
            sent: (0, None),
        }
        .of_schedule(seed, number)
    }

    /// What else it does in some of the schedules. It draws from a source of its own, so that the others stay as they are.
    fn of_schedule(mut self, seed: u64, number: u32) -> Self {
        let mut random = Rng::with_seed(seed ^ (u64::from(number) << 32));
        if has_tokens(seed) && random.u8(..4) != 0 {
            self.task = TaskId::parse(APPROVAL).expect("a task");
        }
        if seed % 4 == 1 && random.u8(..8) != 0 {
            self.debounce = Some(Debounce::new(&mut random));
            self.payload = DEBOUNCED + number as usize;
            // A key that is shared with those who are not debounced would have them share their payloads.
            self.key = (random.u8(..3) == 0).then(|| "pushes".to_owned());
            self.misuse = None;
            // Most of one task: keys are of one.
            let mut shared = Rng::with_seed(seed);
            self.task = TaskId::parse(TASKS[shared.usize(..TASKS.len())]).expect("a task");
        }
        self
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
