//! What is known of a run's calls.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use axum::http::StatusCode;
use oncekey_core::TokenId;
use oncekey_core::payload::Payload;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::family::Started;
use crate::gate::Pass;
use crate::host::api::Reply;
use crate::host::process::Process;
use crate::host::traces::Traces;
use crate::invocation::Invocation;
use crate::invocation::begin::Begun;
use crate::timer::Timer;

/// The verbs of one run.
pub(crate) struct Verbs<'a> {
    pub(super) inv: &'a Invocation,
    pub(super) process: &'a Process,
    pub(super) traces: &'a Traces,
    /// Whether the child has not heard yet that it is not a replay any more.
    pub(super) replaying: AtomicBool,
    /// Answers that the child has had.
    pub(super) answers: AtomicU64,
    pub(super) state: Mutex<State<'a>>,
}

#[derive(Default)]
pub(super) struct State<'a> {
    /// Children that will be waited for, by run.
    pub(super) runs: HashMap<String, VecDeque<(String, Started<'a>)>>,
    /// Batches whose items have not come.
    pub(super) created: HashMap<String, Batch<'a>>,
    /// Batches that will be waited for.
    pub(super) batches: HashMap<String, (Vec<String>, Started<'a>)>,
    pub(super) timers: HashMap<String, Timer<'a>>,
    /// Waits for tokens that are about to begin.
    pub(super) tokens: HashMap<TokenId, VecDeque<Begun<'a>>>,
    /// What is too large for a body, by its path.
    pub(super) packets: HashMap<String, Payload>,
    /// Steps under way.
    pub(super) steps: HashMap<String, Pass<'a>>,
    /// The run's metadata as the replay has it: what the task says of itself on the way here has been stored.
    pub(super) metadata: Map<String, Value>,
    /// Calls that have come, by their name: the client sends one again that it has no answer to.
    pub(super) known: HashMap<String, Known>,
}

pub(super) enum Known {
    Answered(StatusCode, Value),
    UnderWay(Vec<oneshot::Sender<Reply>>),
}

/// A batch whose items have not come.
pub(super) struct Batch<'a> {
    pub(super) call: Begun<'a>,
    pub(super) waits: bool,
    /// Of items that have none.
    pub(super) key: Option<String>,
    pub(super) ttl: Option<String>,
}

impl<'a> Verbs<'a> {
    pub(crate) fn new(
        inv: &'a Invocation,
        process: &'a Process,
        traces: &'a Traces,
        replaying: bool,
        metadata: Map<String, Value>,
    ) -> Self {
        let state = Mutex::new(State { metadata, ..State::default() });
        Self { inv, process, traces, replaying: replaying.into(), answers: AtomicU64::new(0), state }
    }
}
