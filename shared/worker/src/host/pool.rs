//! The children of a host: started when they are needed, kept for the next run, one run at a time each.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use oncekey_core::EnvironmentId;
use oncekey_wire::DeclaredQueue;
use tokio::sync::{mpsc, oneshot};

use crate::host::api::{ChildCall, Tokens};
use crate::host::process::{Console, Process, Program};
use crate::host::protocol::{FromChild, Manifest, PROTOCOL};
use crate::invocation::lock;

/// How long a child may need to import its files.
const UNTIL_READY: Duration = Duration::from_secs(60);
/// How long one is kept that has nothing to do.
const IDLE: Duration = Duration::from_secs(60);

/// The code that children run: a folder that the bundler wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The bundle.
    pub bundle: PathBuf,
    /// The folder in which the processes are started: that of the project.
    pub project: PathBuf,
    /// What tells this code from other code.
    pub version: String,
}

/// How Node and the harness are started.
#[derive(Clone, Debug)]
pub struct Node {
    /// The program.
    pub program: PathBuf,
    /// Its own arguments, and the harness.
    pub arguments: Vec<String>,
    /// Variables beside those that the host sets.
    pub environment: Vec<(String, String)>,
}

/// A child that has nothing to do, or carries a run out.
pub(crate) struct Hand {
    pub process: Arc<Process>,
    /// What it asks of the host.
    pub calls: Option<mpsc::Receiver<ChildCall>>,
    pub code: Arc<Loaded>,
    /// Of which environment its runs are: what one leaves in its process is no other environment's.
    environment: Option<EnvironmentId>,
    token: String,
    tokens: Tokens,
    since: Instant,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.process.kill();
        self.tokens.forget(&self.token);
    }
}

/// Code, and the tasks in it.
pub(crate) struct Loaded {
    pub code: Code,
    pub tasks: Vec<Manifest>,
    pub queues: Vec<DeclaredQueue>,
    generation: u64,
}

/// The children.
pub(crate) struct Pool {
    node: Node,
    url: String,
    tokens: Tokens,
    console: Console,
    starter: Starter,
    idle: Mutex<Vec<Hand>>,
    current: RwLock<Option<Arc<Loaded>>>,
    generations: AtomicU64,
}

impl Pool {
    pub(crate) fn new(node: Node, url: String, tokens: Tokens, console: Console) -> std::io::Result<Self> {
        Ok(Self {
            node,
            url,
            tokens,
            console,
            starter: Starter::new()?,
            idle: Mutex::default(),
            current: RwLock::default(),
            generations: AtomicU64::default(),
        })
    }

    /// Starts a child with this code, and has others follow once its files are imported.
    ///
    /// # Errors
    /// In words; then the code before stays.
    pub(crate) async fn load(
        &self,
        code: Code,
        is_good: impl Fn(&[Manifest]) -> Result<(), String>,
    ) -> Result<Arc<Loaded>, String> {
        let generation = self.generations.fetch_add(1, Ordering::SeqCst) + 1;
        let (process, calls, token) = self.start(&code).await?;
        let (tasks, queues) = self.ready(&process).await?;
        is_good(&tasks)?;
        let loaded = Arc::new(Loaded { code, tasks, queues, generation });
        let old: Vec<Hand> = {
            let mut current = self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            *current = Some(Arc::clone(&loaded));
            std::mem::take(&mut *lock(&self.idle))
        };
        drop(old);
        self.give_back(self.hand(process, calls, token, Arc::clone(&loaded)));
        Ok(loaded)
    }

    fn hand(&self, process: Arc<Process>, calls: mpsc::Receiver<ChildCall>, token: String, code: Arc<Loaded>) -> Hand {
        let (environment, tokens) = (None, self.tokens.clone());
        Hand { process, calls: Some(calls), code, environment, token, tokens, since: Instant::now() }
    }

    fn current(&self) -> Option<Arc<Loaded>> {
        self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// A child for a run of this environment.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn take(&self, environment: &EnvironmentId) -> Result<Hand, String> {
        let mut hand = match self.idle_one(environment) {
            Some(hand) => hand,
            None => {
                let loaded = self.current().ok_or("no code is loaded yet")?;
                let (process, calls, token) = self.start(&loaded.code).await?;
                self.ready(&process).await?;
                self.hand(process, calls, token, loaded)
            }
        };
        hand.environment = Some(environment.clone());
        Ok(hand)
    }

    /// One that has nothing to do; if all are another environment's, the one that has had nothing to do for longest makes
    /// room. Those that ended meanwhile, killed or by what an earlier run left going, are no run's fault.
    fn idle_one(&self, environment: &EnvironmentId) -> Option<Hand> {
        let mut idle = lock(&self.idle);
        idle.retain(|hand| hand.process.is_alive());
        let fits = |hand: &Hand| hand.environment.as_ref().is_none_or(|own| own == environment);
        let place = idle.iter().rposition(fits);
        if place.is_none() && !idle.is_empty() {
            idle.remove(0);
        }
        place.map(|place| idle.remove(place))
    }

    /// Takes a child back whose run is over.
    pub(crate) fn give_back(&self, mut hand: Hand) {
        let is_current = self.current().is_some_and(|current| current.generation == hand.code.generation);
        let mut idle = lock(&self.idle);
        // Those that were needed last are needed next; the others, longest idle, stand in front.
        let first_kept = idle.iter().position(|hand| hand.since.elapsed() < IDLE).unwrap_or(idle.len());
        let too_old: Vec<Hand> = idle.drain(..first_kept).collect();
        if is_current {
            hand.since = Instant::now();
            idle.push(hand);
        }
        drop(idle);
        drop(too_old);
    }

    async fn start(&self, code: &Code) -> Result<(Arc<Process>, mpsc::Receiver<ChildCall>, String), String> {
        let (token, calls) = self.tokens.issue();
        let mut environment: std::collections::HashMap<String, String> =
            self.node.environment.iter().cloned().collect();
        environment.insert("ONCEKEY_BUNDLE".to_owned(), code.bundle.to_string_lossy().into_owned());
        environment.insert("TRIGGER_API_URL".to_owned(), self.url.clone());
        environment.insert("TRIGGER_SECRET_KEY".to_owned(), token.clone());
        let program = Program {
            program: self.node.program.clone(),
            arguments: self.node.arguments.clone(),
            folder: code.project.clone(),
            environment,
        };
        let console = Arc::clone(&self.console);
        let started = self.starter.start(move || Process::start(&program, &console)).await;
        let program = self.node.program.display();
        let process = started.map_err(|error| format!("{program} cannot be started: {error}"))?;
        Ok((Arc::new(process), calls, token))
    }

    async fn ready(&self, process: &Process) -> Result<(Vec<Manifest>, Vec<DeclaredQueue>), String> {
        let message = match tokio::time::timeout(UNTIL_READY, process.hear()).await {
            Ok(message) => message?,
            Err(_) => {
                let most = UNTIL_READY.as_secs();
                return Err(format!("the task files were not imported within {most} s: does one wait for something?"));
            }
        };
        match message {
            Some(FromChild::Ready { protocol: PROTOCOL, tasks, queues }) => {
                tasks.iter().try_for_each(|task| task.id().map(drop))?;
                let queues =
                    queues.iter().filter_map(|queue| queue.declared().transpose()).collect::<Result<_, _>>()?;
                Ok((tasks, queues))
            }
            Some(FromChild::Ready { protocol, .. }) => Err(format!(
                "the harness speaks version {protocol} of the protocol, and this host {PROTOCOL}: take both from one version"
            )),
            Some(FromChild::Failed { error }) => Err(error.stack.filter(|s| !s.is_empty()).unwrap_or(error.message)),
            Some(FromChild::Died { error, .. }) => {
                Err(format!("importing the task files ended the process: {}", error.message))
            }
            Some(other) => Err(format!("the harness said something else than that it is ready: {other:?}")),
            None => {
                let how = process.end().await.map_or_else(|| "without a word".to_owned(), |status| status.to_string());
                Err(format!("Node ended before the task files were imported: {how}"))
            }
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that starts children, and lives as long as this: the system can kill what a thread started when the thread ends.
struct Starter(std::sync::mpsc::Sender<Job>);

impl Starter {
    fn new() -> std::io::Result<Self> {
        let (jobs, todo) = std::sync::mpsc::channel::<Job>();
        std::thread::Builder::new().name("oncekey-starter".to_owned()).spawn(move || {
            while let Ok(job) = todo.recv() {
                job();
            }
        })?;
        Ok(Self(jobs))
    }

    async fn start(
        &self,
        start: impl FnOnce() -> std::io::Result<Process> + Send + 'static,
    ) -> std::io::Result<Process> {
        let (answer, answered) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let job = move || {
            let _runtime = runtime.enter();
            let _ = answer.send(start());
        };
        let gone = || std::io::Error::other("the thread that starts processes has ended");
        self.0.send(Box::new(job)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
