//! `oncekey workers`.

use clap::{Args, Subcommand};
use oncekey_client::{DeclaredCron, DeployedTask, Deployment, Manifest, QueueLabel};
use serde_json::json;

use super::failure::Failure;
use super::input;
use super::output;
use super::remote::Remote;

#[derive(Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the tasks of each worker, and when they run by themselves
    List(Remote),
    /// Say what a worker has from now on: its schedules are there then, and those that it declares no longer are gone
    Declare(DeclareArgs),
    /// Remove a worker, and the schedules that its tasks declare
    Remove(RemoveArgs),
}

#[derive(Args)]
pub(crate) struct DeclareArgs {
    /// What the worker is called
    worker: String,
    /// What it has, JSON: `@FILE` is read from a file, such as the manifest.json that `npx oncekey build` writes; `-` from
    /// standard input
    manifest: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct RemoveArgs {
    /// What the worker is called
    worker: String,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn workers(command: WorkersCommand) -> Result<(), Failure> {
    match command {
        WorkersCommand::List(remote) => list(&remote).await,
        WorkersCommand::Declare(args) => {
            let json = input::json("the manifest", &args.manifest)?;
            let manifest: Manifest = serde_json::from_str(json.get())
                .map_err(|error| Failure::Usage(format!("this is no manifest: {error}")))?;
            let deployed = args.remote.client()?.workers().declare(&args.worker, &manifest).await?;
            match args.remote.json {
                true => output::print_json(&deployed),
                false => tell(&deployed),
            }
            Ok(())
        }
        WorkersCommand::Remove(RemoveArgs { worker, remote }) => {
            remote.client()?.workers().remove(&worker).await?;
            match remote.json {
                true => output::print_json(&json!({ "worker": worker })),
                false => output::print(format_args!("{worker} is removed")),
            }
            Ok(())
        }
    }
}

/// A deployment in one line.
fn tell(deployment: &Deployment) {
    let Deployment { worker, number, tasks, .. } = deployment;
    let scheduled = tasks.iter().filter(|task| task.cron.is_some()).count();
    output::print(format_args!("{worker}  deployment {number}  {} tasks, {scheduled} by a schedule", tasks.len()));
}

async fn list(remote: &Remote) -> Result<(), Failure> {
    let workers = remote.client()?.workers().list().await?;
    if remote.json {
        workers.iter().for_each(output::print_json);
        return Ok(());
    }
    if workers.is_empty() {
        output::print("no workers: one is there once it was deployed");
        return Ok(());
    }
    let rows = workers.iter().flat_map(|deployment| deployment.tasks.iter().map(move |task| row(deployment, task)));
    output::print(output::table(["WORKER", "TASK", "QUEUE", "CRON", "TIME ZONE", "DEPLOYED"], rows));
    Ok(())
}

fn row(deployment: &Deployment, task: &DeployedTask) -> [String; 6] {
    let none = || "-".to_owned();
    let shown = |text: Option<&str>| text.map_or_else(none, output::visible);
    let cron = task.cron.as_ref();
    let timezone = cron.map(|DeclaredCron { timezone, .. }| timezone.clone().unwrap_or_else(|| "UTC".to_owned()));
    [
        deployment.worker.to_string(),
        task.id.to_string(),
        shown(task.queue.as_ref().map(QueueLabel::as_str)),
        shown(cron.map(|cron| cron.pattern.as_str())),
        timezone.as_deref().map_or_else(none, output::visible),
        deployment.deployed_at.to_string(),
    ]
}
