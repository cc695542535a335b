//! Tasks in TypeScript on this machine: a folder of files is bundled, its tasks run in child processes, and a change of the
//! files is taken up without a run being dropped.

mod bundler;
mod harness;
mod node;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oncekey_core::RunId;
use oncekey_worker::Worker;
use oncekey_worker::host::{Code, Host, Node, Options, Setting, Stream};
use serde::Deserialize;
use tokio::sync::Semaphore;

use bundler::{Bundler, Notice};

use crate::lines::Lines;
use crate::stack::Deployments;

/// How often a run is looked at: its store is in this process.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A folder of task files whose tasks run here.
pub(crate) struct Tasks {
    host: Host,
    worker: Worker,
    bundler: Bundler,
    folder: PathBuf,
    slots: Arc<Semaphore>,
}

/// What the bundler writes about a bundle.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    project: PathBuf,
}

impl Tasks {
    /// Bundles a folder and starts a process with its tasks, of which `workers` will run at a time. What they write is shown,
    /// and noted in `lines`.
    ///
    /// # Errors
    /// In words that say what to do.
    pub(crate) async fn start(folder: &Path, workers: usize, lines: &Lines) -> Result<Self, String> {
        let (waits, fetches) = (Setting::from_env()?, Setting::from_env()?);
        let node = node::find().await?;
        let cache = harness::cache();
        // For those who work on the harness.
        let harness = match std::env::var_os("ONCEKEY_HARNESS") {
            Some(folder) => PathBuf::from(folder),
            None => harness::folder(&cache).map_err(|error| format!("{}: {error}", cache.display()))?,
        };
        let folder = folder.canonicalize().map_err(|error| format!("--tasks {}: {error}", folder.display()))?;
        let out = bundles(&cache);
        let bundler = Bundler::start(&node, &harness, &folder, &out, &cache)?;
        let slots = Arc::new(Semaphore::new(workers));
        let lines = lines.clone();
        let options = Options {
            node: Node {
                program: node,
                arguments: vec![
                    "--enable-source-maps".to_owned(),
                    harness.join("harness.mjs").to_string_lossy().into_owned(),
                ],
                environment: Vec::new(),
            },
            waits,
            fetches,
            look_every: LOOK_EVERY,
            console: Arc::new(move |run, stream, line| show(&lines, run, stream, line)),
            slots: Arc::clone(&slots),
        };
        let host = Host::start(options).await.map_err(|error| format!("no port on this machine: {error}"))?;
        let mut tasks = Self { host, worker: Worker::new(), bundler, folder, slots };
        while !tasks.take_up().await? {}
        Ok(tasks)
    }

    /// A worker that has the tasks, whatever they are.
    pub(crate) fn worker(&self) -> Worker {
        self.worker.clone()
    }

    /// How many runs may have a process at a time.
    pub(crate) fn slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.slots)
    }

    /// The tasks, for the console.
    pub(crate) fn listed(&self) -> String {
        self.worker.ids().iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Serves the processes and takes changes up, for as long as it is awaited: whoever wants to know is told of each.
    pub(crate) async fn run(mut self, routes: axum::Router, deployments: Deployments) {
        let host = self.host.clone();
        let watch = async {
            loop {
                match self.take_up().await {
                    Ok(true) => deployments.next().await,
                    Ok(false) => {}
                    Err(why) => {
                        eprintln!("{why}; the tasks stay as they are");
                        std::future::pending::<()>().await;
                    }
                }
            }
        };
        tokio::join!(host.serve(routes), watch);
    }

    /// Hears the bundler out: whether there are other tasks now.
    async fn take_up(&mut self) -> Result<bool, String> {
        let folder = self.folder.display().to_string();
        match self.bundler.next().await? {
            Notice::Built { folder: bundle, content_hash } => {
                let text = std::fs::read_to_string(bundle.join("tasks.json")).map_err(|error| error.to_string())?;
                let told: Bundle = serde_json::from_str(&text).map_err(|error| format!("tasks.json: {error}"))?;
                let code = Code { bundle, project: told.project, version: content_hash };
                match self.host.load_if_declarable(code).await {
                    Ok(declared) => {
                        let anew = !self.worker.ids().is_empty();
                        self.worker.replace(declared);
                        if anew {
                            eprintln!("{folder}: taken up: {}", self.listed());
                        }
                        return Ok(true);
                    }
                    Err(why) => eprintln!("{folder}: {why}{}", self.still()),
                }
            }
            Notice::Failed { errors } => {
                for error in errors {
                    eprintln!("{error}");
                }
                eprintln!("{folder} does not compile{}", self.still());
            }
            Notice::Note { message } => eprintln!("{message}"),
            Notice::Fatal { message } => return Err(message),
        }
        Ok(false)
    }

    /// What happens after a mistake.
    fn still(&self) -> &'static str {
        if self.worker.ids().is_empty() { "\nwaiting for a change…" } else { "\nthe code before goes on" }
    }
}

/// A folder for the bundles of this process. Those of processes that have ended are removed.
fn bundles(cache: &Path) -> PathBuf {
    const PREFIX: &str = "bundles-";
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ended = name.strip_prefix(PREFIX).is_some_and(|process| !is_running(process));
        if ended {
            // One that cannot be removed is in nobody's way.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    cache.join(format!("{PREFIX}{}", std::process::id()))
}

/// Whether there is a process of this number, as far as the system tells.
fn is_running(process: &str) -> bool {
    #[cfg(unix)]
    {
        let pid = process.parse().ok().and_then(rustix::process::Pid::from_raw);
        pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }
    #[cfg(not(unix))]
    {
        let _ = process;
        true
    }
}

/// Shows a line that a task wrote, with its run.
fn show(lines: &Lines, run: Option<&RunId>, stream: Stream, line: &str) {
    if let Some(run) = run {
        lines.write(run, if stream == Stream::Out { "stdout" } else { "stderr" }, line);
    }
    let run = run.map(|run| format!("{run} ")).unwrap_or_default();
    match stream {
        Stream::Out => {
            use std::io::Write;
            // A reader that has gone away is no reason to end.
            let _ = writeln!(std::io::stdout(), "{run}{line}");
        }
        Stream::Err => eprintln!("{run}{line}"),
    }
}
