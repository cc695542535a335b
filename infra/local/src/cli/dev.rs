//! `oncekey dev`: the local stack in the foreground.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use oncekey_core::queue::name::Queue;
use oncekey_core::telemetry::logs::without_payloads;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::StackError;
use crate::lines::Lines;
use crate::stack::{ENVIRONMENTS, Options, Stack, Storage};
use crate::tasks::Tasks;

/// What `oncekey dev` can be told.
#[derive(Args, Debug)]
pub(super) struct Dev {
    /// The HTTP port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 3030)]
    port: u16,
    /// The folder that keeps runs, keys and messages
    #[arg(long, value_name = "DIR", default_value = ".oncekey", conflicts_with = "memory")]
    data: PathBuf,
    /// Keep everything in memory: it ends with the process
    #[arg(long)]
    memory: bool,
    /// Seconds one invocation of the worker may take, and so how long a killed one's runs wait to go on
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=900))]
    timeout: u64,
    /// A queue for runs beside `default`, and how many of its runs execute at a time (100 if left out); may be given again
    #[arg(long = "queue", value_name = "NAME[:N]")]
    queues: Vec<Queue>,
    /// Run the tasks in this folder of TypeScript files, instead of the demo tasks; changes are taken up
    #[arg(long, value_name = "DIR", conflicts_with = "functions")]
    tasks: Option<PathBuf>,
    /// How many of those tasks run at a time, in a process each; as many as there are cores, 2 to 4, if left out
    #[arg(long, value_name = "N", requires = "tasks", value_parser = clap::value_parser!(u16).range(2..=64))]
    workers: Option<u16>,
    /// Have the SQS functions invoked at this Lambda API, such as that of `cargo lambda watch`, instead of in this process
    #[arg(long, value_name = "URL", conflicts_with = "memory")]
    functions: Option<String>,
}

/// Runs the stack until Ctrl-C or SIGTERM.
///
/// # Errors
/// [`StackError`] when it cannot start.
pub(super) async fn dev(dev: Dev) -> Result<(), StackError> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,dynoxide=error,oncekey=info,oncekey_core=info,oncekey_worker=info"));
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
    let kept_lines = Lines::default();
    tracing_subscriber::registry().with(lines).with(kept_lines.clone()).with(filter).with(without_payloads()).init();
    let storage = if dev.memory { Storage::Memory } else { Storage::Folder(dev.data) };
    let kept = match &storage {
        Storage::Memory => "in memory".to_owned(),
        Storage::Folder(path) => path.display().to_string(),
    };
    let functions = dev.functions.clone();
    let tasks = match &dev.tasks {
        Some(folder) => {
            Some(Tasks::start(folder, workers(dev.workers), &kept_lines).await.map_err(StackError::TaskFiles)?)
        }
        None => None,
    };
    let worker = tasks.as_ref().map_or_else(oncekey_function_worker::worker, Tasks::worker);
    let options = Options {
        port: dev.port,
        storage,
        worker_timeout: Duration::from_secs(dev.timeout),
        queues: dev.queues,
        // The AWS SDKs' own settings, so that the stack can run on DynamoDB Local, ElasticMQ or the like.
        dynamodb_endpoint: endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
        sqs_endpoint: endpoint("AWS_ENDPOINT_URL_SQS"),
        functions: dev.functions,
        slots: tasks.as_ref().map(Tasks::slots),
        lines: kept_lines,
        ..Options::default()
    };
    let ids = worker.ids();
    let stack = Stack::start_with(options, worker).await?;
    // Listening from here on, so that whoever has read the banner can stop us.
    let mut asked_to_stop = Box::pin(stop_signal());
    let _ = futures_util::poll!(&mut asked_to_stop);
    // A reader that has gone away is no reason to end.
    let _ = writeln!(std::io::stdout(), "{}", banner(&stack, &kept, oncekey_function_dashboard::example(&ids)));
    let tasks = tasks.map(|tasks| {
        let _ = writeln!(std::io::stdout(), "Tasks: {}\n", tasks.listed());
        tokio::spawn(tasks.run(stack.routes(), stack.deployments()))
    });
    if let Some(url) = functions {
        let _ = writeln!(
            std::io::stdout(),
            "The SQS functions are invoked at {url}. Start them with:\n  cargo lambda watch --env-file {kept}/functions.env\n"
        );
    }
    asked_to_stop.await;
    eprintln!("stopping…");
    stack.stop().await;
    if let Some(tasks) = tasks {
        tasks.abort();
    }
    Ok(())
}

/// How many tasks run at a time. Two at least: one may be held while it waits for another.
fn workers(asked: Option<u16>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4));
    asked.map_or_else(cores, usize::from)
}

fn endpoint(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|url| !url.is_empty())
}

fn banner(stack: &Stack, kept: &str, task: &str) -> String {
    let url = stack.url();
    let (dynamodb, sqs) = (stack.dynamodb().0, stack.sqs().0);
    let keys: Vec<String> = ENVIRONMENTS.iter().map(|(name, key)| format!("  {name:<11} {key}")).collect();
    let (_, key) = ENVIRONMENTS[0];
    format!(
        "Oncekey is listening on {url}
  data        {kept}
  dynamodb    {dynamodb}
  sqs         {sqs}

API keys, for clients and for the dashboard at {url}
{}

Try it, twice:
  curl {url}/api/v1/tasks/{task}/trigger -H 'Authorization: Bearer {key}' -H 'Idempotency-Key: order-42' -d '{{\"payload\": {{\"hello\": \"world\"}}}}'
",
        keys.join("\n")
    )
}

async fn stop_signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}
