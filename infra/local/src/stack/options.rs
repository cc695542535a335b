//! How a stack is started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oncekey_core::Clock;
use oncekey_core::queue::name::Queue;
use tokio::sync::Semaphore;

use crate::aws::iam::Permissions;
use crate::lines::Lines;

/// How long an invocation of any function but the worker may take.
pub(crate) const FUNCTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Where runs, keys and messages are kept.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In this folder: they survive the process.
    Folder(PathBuf),
    /// In memory: they end with it.
    Memory,
}

/// How to start a stack.
#[derive(Clone, Debug)]
pub struct Options {
    /// The HTTP port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Where things are kept.
    pub storage: Storage,
    /// How long one invocation of the worker may take, and so how long the lease of a killed one lasts.
    pub worker_timeout: Duration,
    /// Invocations of the worker at a time that a queue feeds, if it has no concurrency of its own.
    pub worker_concurrency: usize,
    /// What limits the runs that execute at a time, over all queues, if anything does beside the queues' own concurrency.
    pub slots: Option<Arc<Semaphore>>,
    /// Queues for runs beside `default` and those that the worker's tasks have.
    pub queues: Vec<Queue>,
    /// A DynamoDB API to use instead of the embedded one.
    pub dynamodb_endpoint: Option<String>,
    /// An SQS API to use instead of the embedded one.
    pub sqs_endpoint: Option<String>,
    /// Whether delays and waits beyond a quarter of an hour are schedules; otherwise they go in hops, as where Scheduler throttles.
    /// There are none where the queues are somebody else's.
    pub schedules: bool,
    /// A Lambda API at which the SQS functions run, such as that of `cargo lambda watch`, instead of running them in this
    /// process. They find everything else by the file `functions.env` in the data folder.
    pub functions: Option<String>,
    /// What the names of the tables and queues begin with, so that several stacks can share such APIs.
    pub prefix: String,
    /// What functions may ask of the embedded endpoints: anything, if nothing is said.
    pub permissions: Option<Permissions>,
    /// The time.
    pub clock: Clock,
    /// What tasks write: the pages and the API show it. Tasks in Rust write here if it is a layer of the process's `tracing`.
    pub lines: Lines,
}

impl Options {
    /// In memory, on a free port: for tests and examples.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { port: 0, storage: Storage::Memory, ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 3030,
            storage: Storage::Folder(PathBuf::from(".oncekey")),
            worker_timeout: Duration::from_secs(60),
            worker_concurrency: 100,
            slots: None,
            queues: Vec::new(),
            dynamodb_endpoint: None,
            sqs_endpoint: None,
            schedules: true,
            functions: None,
            prefix: "oncekey".to_owned(),
            permissions: None,
            clock: Clock::system(),
            lines: Lines::default(),
        }
    }
}
