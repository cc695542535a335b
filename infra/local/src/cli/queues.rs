//! `oncekey queues`.

use clap::{Args, Subcommand};
use oncekey_client::{Queue, QueueLabel, QueueType};
use serde_json::json;

use super::failure::Failure;
use super::output;
use super::remote::Remote;

#[derive(Subcommand)]
pub(crate) enum QueuesCommand {
    /// List queues: their limits, how many of their runs execute, and how many wait for a place
    List(Remote),
    /// Show a queue
    Get(QueueArgs),
    /// Start nothing of a queue, or of all of them, until they are resumed
    Pause(OneOrAll),
    /// Let a queue, or all of them, go on
    Resume(OneOrAll),
    /// Give a queue another limit than its code declares, or that one again
    Limit(LimitArgs),
}

#[derive(Args)]
pub(crate) struct QueueArgs {
    /// The queue; `task/ID` is the one of a task that names none
    queue: QueueLabel,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct OneOrAll {
    /// The queue; `task/ID` is the one of a task that names none
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    queue: Option<QueueLabel>,
    /// All queues of the environment
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct LimitArgs {
    /// The queue; `task/ID` is the one of a task that names none
    queue: QueueLabel,
    /// Runs that execute at a time, of each concurrency key; 0 to 100000
    #[arg(required_unless_present = "reset", conflicts_with = "reset", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    limit: Option<u32>,
    /// As its code declares it
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn queues(command: QueuesCommand) -> Result<(), Failure> {
    match command {
        QueuesCommand::List(remote) => list(&remote).await,
        QueuesCommand::Get(QueueArgs { queue, remote }) => {
            tell(&remote, &remote.client()?.queues().get(&queue).await?);
            Ok(())
        }
        QueuesCommand::Pause(asked) => pause(asked, true).await,
        QueuesCommand::Resume(asked) => pause(asked, false).await,
        QueuesCommand::Limit(LimitArgs { queue, limit, remote, .. }) => {
            let client = remote.client()?;
            let told = match limit {
                Some(limit) => client.queues().override_limit(&queue, limit).await?,
                None => client.queues().reset_limit(&queue).await?,
            };
            tell(&remote, &told);
            Ok(())
        }
    }
}

async fn pause(OneOrAll { queue, remote, .. }: OneOrAll, paused: bool) -> Result<(), Failure> {
    let client = remote.client()?;
    let Some(queue) = queue else {
        let paused = client.queues().pause_all(paused).await?;
        match remote.json {
            true => output::print_json(&json!({ "paused": paused })),
            false if paused => output::print("all queues are paused: nothing starts from five seconds from now"),
            false => output::print("all queues go on, but for those that are paused themselves"),
        }
        return Ok(());
    };
    let queues = client.queues();
    tell(&remote, &if paused { queues.pause(&queue).await? } else { queues.resume(&queue).await? });
    Ok(())
}

/// A queue in one line.
fn tell(remote: &Remote, queue: &Queue) {
    if remote.json {
        return output::print_json(queue);
    }
    let [name, limit, rate, running, queued, state] = row(queue);
    let rate = if queue.rate_limit.is_some() { format!("rate {rate}  ") } else { String::new() };
    output::print(format_args!("{name}  limit {limit}  {rate}{running} execute, {queued} wait  {state}"));
}

async fn list(remote: &Remote) -> Result<(), Failure> {
    let queues = remote.client()?.queues().list().await?;
    if remote.json {
        queues.iter().for_each(output::print_json);
        return Ok(());
    }
    if queues.is_empty() {
        output::print("no queues: a task has one once its worker was deployed");
        return Ok(());
    }
    output::print(output::table(["QUEUE", "LIMIT", "RATE", "RUNNING", "WAITING", "STATE"], queues.iter().map(row)));
    Ok(())
}

fn row(queue: &Queue) -> [String; 6] {
    let name = output::visible(&queue.name);
    let limit = |limit: Option<u32>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let declared = queue.concurrency.overridden.map(|_| format!(" (declared {})", limit(queue.concurrency.base)));
    [
        if queue.kind == QueueType::Task { format!("task/{name}") } else { name },
        limit(queue.concurrency_limit) + &declared.unwrap_or_default(),
        queue.rate_limit.as_ref().map_or_else(|| "-".to_owned(), |rate| format!("{} a {}", rate.limit, rate.period)),
        // Of a queue without a limit nobody counts them.
        if queue.concurrency_limit.is_some() { queue.running.to_string() } else { "-".to_owned() },
        queue.queued.to_string(),
        if queue.paused { "paused".to_owned() } else { "active".to_owned() },
    ]
}
