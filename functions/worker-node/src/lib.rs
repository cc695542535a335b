//! Tasks in TypeScript on Lambda: the host of a package that `oncekey build` makes. It speaks to Lambda's runtime, and the
//! tasks run in a child process beside it.
//!
//! The package has this binary as `bootstrap`, so `provided.al2023` starts it as it is. A managed Node runtime starts it by
//! `AWS_LAMBDA_EXEC_WRAPPER=/var/task/bootstrap`, and tells it which Node and which arguments it would have run itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use oncekey_core::App;
use oncekey_core::queue::name::QueueName;
use oncekey_core::telemetry::logs;
use oncekey_worker::host::{Code, Host, Node, Options, Setting};
use oncekey_worker::{LambdaError, Worker};
use tokio::sync::{Mutex, Semaphore};

/// How often a run is looked at that a child carries out: whether it was cancelled, and whether what it waits for has come.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Names the queue that this function takes runs from. Its tasks trigger each other into that, unless they name another.
const OWN_QUEUE: &str = "ONCEKEY_OWN_QUEUE";

/// Runs as a Lambda function. `arguments` are those that a managed runtime starts its wrapper with; none elsewhere.
///
/// # Errors
/// What the environment lacks, or what the Lambda runtime reports. Why the task files cannot be imported is told in the runs.
pub async fn run(arguments: Vec<OsString>) -> Result<(), LambdaError> {
    logs::init();
    let mut app = App::from_env().await?;
    let root = variable("LAMBDA_TASK_ROOT").map_or_else(|| PathBuf::from("/var/task"), PathBuf::from);
    let host = Host::start(Options {
        node: node(arguments, variable("ONCEKEY_NODE"), &root),
        waits: Setting::from_env()?,
        fetches: Setting::from_env()?,
        look_every: LOOK_EVERY,
        console: Arc::new(|run, _, line| match run {
            Some(run) => println!("{run} {line}"),
            None => println!("{line}"),
        }),
        // An invocation has one run.
        slots: Arc::new(Semaphore::new(1)),
    })
    .await?;
    let code = Code { bundle: root.join("tasks"), project: root, version: String::new() };
    let (worker, queue) = (Worker::new(), own_queue(&text(OWN_QUEUE))?);
    let load = async |app: &mut App| match host.load(code.clone()).await {
        Ok(declared) => {
            worker.replace(declared);
            if let Some(queue) = &queue {
                app.queues.adopt(worker.ids(), queue);
            }
        }
        // Each run says so. A process that ended here would leave them to the dead-letter queue, without a reason.
        Err(why) => {
            tracing::error!("the tasks could not be loaded: {why}");
            worker.lose(why);
        }
    };
    // Before the first event, so that the import falls into the function's initialisation.
    load(&mut app).await;
    let routes = routes(&app);
    let app = Mutex::new(app);
    let prepare = async || {
        let mut app = app.lock().await;
        if worker.ids().is_empty() {
            load(&mut app).await;
        }
        app.clone()
    };
    tokio::select! {
        ended = worker.run_with(prepare) => ended,
        () = host.serve(routes) => Err("the API for task processes has ended".into()),
    }
}

/// What tasks may ask for that is no business of their own runs'.
fn routes(app: &App) -> Router {
    let routes = Router::new()
        .merge(oncekey_function_trigger::router(app.clone()))
        .merge(oncekey_function_reset::router(app.clone()))
        .merge(oncekey_function_runs::router(app.clone()));
    oncekey_http::finish(routes, oncekey_http::Origins::none())
}

/// How Node is started: as the managed runtime would have started it, with the harness in the place of its own program; or
/// the one that is named, or that of the PATH.
fn node(mut arguments: Vec<OsString>, named: Option<OsString>, root: &Path) -> Node {
    let own = arguments.pop().is_some() && !arguments.is_empty();
    let program = if own { Some(arguments.remove(0)) } else { None };
    let kept = arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned());
    let harness = root.join("harness.mjs").to_string_lossy().into_owned();
    let program = program.or(named).unwrap_or_else(|| OsString::from("node"));
    let arguments = kept.chain(["--enable-source-maps".to_owned(), harness]).collect();
    Node { program: PathBuf::from(program), arguments, environment: Vec::new() }
}

/// The queue that is named, if one is.
fn own_queue(name: &str) -> Result<Option<QueueName>, String> {
    let read = |name: &str| name.parse().map_err(|error| format!("{OWN_QUEUE}: {error}"));
    Some(name).filter(|name| !name.is_empty()).map(read).transpose()
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(arguments: &[&str], named: Option<&str>) -> (String, Vec<String>) {
        let arguments = arguments.iter().map(OsString::from).collect();
        let node = node(arguments, named.map(OsString::from), Path::new("/var/task"));
        (node.program.to_string_lossy().into_owned(), node.arguments)
    }

    #[test]
    fn a_managed_runtimes_node_and_its_arguments_are_kept() {
        let arguments = ["/var/lang/bin/node", "--max-old-space-size=460", "/var/runtime/index.mjs"];
        let (program, arguments) = started(&arguments, None);
        assert_eq!(program, "/var/lang/bin/node");
        assert_eq!(arguments, ["--max-old-space-size=460", "--enable-source-maps", "/var/task/harness.mjs"]);
    }

    #[test]
    fn a_queue_of_its_own_is_named_or_there_is_none() {
        assert_eq!(own_queue(""), Ok(None));
        assert_eq!(own_queue("mail").map(|queue| queue.map(String::from)), Ok(Some("mail".to_owned())));
        assert!(own_queue("a b").is_err_and(|error| error.starts_with("ONCEKEY_OWN_QUEUE: \"a b\" names no queue")));
    }

    #[test]
    fn without_one_the_named_node_or_that_of_the_path_is_taken() {
        assert_eq!(started(&[], None).0, "node");
        assert_eq!(started(&[], Some("/opt/node")), ("/opt/node".to_owned(), started(&[], None).1));
    }
}
