//! A host: a worker whose tasks are in child processes, such as those in TypeScript.
//!
//! What a task asks of its run is numbered, journalled and answered here, through the same doors as for a task in Rust; the
//! child has no key, no journal and no lease. It is the host's: it is killed whenever its run is not over by itself.

mod api;
mod execution;
mod inner;
mod over;
mod pool;
mod process;
mod protocol;
mod session;
mod settings;
mod traces;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use oncekey_core::Clock;
use oncekey_core::deployment::check_cron;
use tokio::net::TcpListener;

pub use axum::Router;
pub use pool::{Code, Node};
pub use process::{Console, Stream};
pub use settings::{Fetches, PerTask, Setting, Waits};
pub use tokio::sync::Semaphore;

use crate::host::api::Tokens;
use crate::host::inner::Inner;
use crate::host::pool::{Loaded, Pool};
use crate::host::protocol::Manifest;
use crate::host::session::{GRACE, carry_out};
use crate::task::Task;
use crate::worker::Declared;

/// How a host works.
pub struct Options {
    /// How Node is started.
    pub node: Node,
    /// How runs wait.
    pub waits: Setting<Waits>,
    /// What becomes of what they fetch.
    pub fetches: Setting<Fetches>,
    /// How often a run is looked at that a child carries out: whether it was cancelled, and whether what it waits for has come.
    pub look_every: Duration,
    /// Takes what tasks write.
    pub console: Console,
    /// What a run takes a place of that has a child. It gives it back while it is held in a wait.
    pub slots: Arc<Semaphore>,
}

/// A host that runs. Dropped, it ends its children.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
    listener: Arc<tokio::sync::Mutex<Option<TcpListener>>>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("node", &self.node).field("waits", &self.waits).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// A host without code.
    ///
    /// # Errors
    /// When no port on loopback can be had, or no thread.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let tokens = Tokens::default();
        let pool = Pool::new(options.node, url, tokens.clone(), options.console)?;
        let Options { waits, fetches, look_every, slots, .. } = options;
        let inner = Arc::new(Inner { pool, waits, fetches, look_every, slots, tokens });
        Ok(Self { inner, listener: Arc::new(tokio::sync::Mutex::new(Some(listener))) })
    }

    /// Serves the API that children call, until this is dropped. `routes` answer what is no business of a run's own.
    pub async fn serve(&self, routes: Router) {
        if let Some(listener) = self.listener.lock().await.take() {
            api::serve(listener, self.inner.tokens.clone(), routes).await;
        }
    }

    /// Takes up code: the tasks in it. Runs under way go on with what they have.
    ///
    /// # Errors
    /// In words, when its files cannot be imported; then the code before stays.
    pub async fn load(&self, code: Code) -> Result<Declared, String> {
        let loaded = self.inner.pool.load(code, |_| Ok(())).await?;
        self.declared(&loaded)
    }

    /// The same, unless its tasks declare what cannot be declared: where somebody is at hand who can mend that.
    ///
    /// # Errors
    /// In words, with the file; then the code before stays.
    pub async fn load_if_declarable(&self, code: Code) -> Result<Declared, String> {
        let is_good = |tasks: &[Manifest]| {
            tasks.iter().filter_map(|task| Some((task, task.cron.as_ref()?))).try_for_each(|(task, cron)| {
                let refused = |error| format!("{}: {error}", task.file_path);
                check_cron(&task.id()?, cron, Clock::system().now()).map_err(refused)
            })
        };
        let loaded = self.inner.pool.load(code, is_good).await?;
        self.declared(&loaded)
    }

    fn declared(&self, loaded: &Loaded) -> Result<Declared, String> {
        let tasks = loaded.tasks.iter().map(|manifest| self.task(manifest)).collect::<Result<_, _>>()?;
        Ok(Declared { tasks, queues: loaded.queues.clone() })
    }

    fn task(&self, manifest: &Manifest) -> Result<Task, String> {
        let id = manifest.id()?;
        let inner = Arc::clone(&self.inner);
        let body = move |context, payload| carry_out(Arc::clone(&inner), context, payload).boxed();
        let mut task = Task::of(id, Box::new(body)).retry(manifest.policy());
        task.max_duration = manifest.limit();
        // It is told first, and stopped when it does not listen.
        task.grace = GRACE * 2;
        task.cron.clone_from(&manifest.cron);
        task.queue = manifest.queue(&task.id)?;
        Ok(task)
    }
}
