//! `oncekey runs`.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use oncekey_client::{BulkActionType, Client, Run};
use serde_json::json;

use super::bulk::{BulkCommand, ManyArgs, bulk, one_or_many};
use super::failure::{Failure, end_of};
use super::output;
use super::remote::Remote;

/// How often `watch` looks.
const LOOK: Duration = Duration::from_millis(500);

/// How long a run may write after its end: its process is told of a cancellation, and killed a second later.
const LAST_LINES: Duration = Duration::from_millis(1_500);

#[derive(Subcommand)]
pub(crate) enum RunsCommand {
    /// List runs, newest first
    List(ListArgs),
    /// Show a run with its payload, output and error
    Get(OneArgs),
    /// Cancel a run, or many; their keys stay
    Cancel(ManyArgs),
    /// Trigger a run's task again with what it was given, without its key; or those of many
    Replay(ManyArgs),
    /// List, show and stop what cancels or replays many runs
    #[command(subcommand)]
    Bulk(BulkCommand),
    /// Follow a run to its end
    Watch(OneArgs),
    /// Show what a run's task has written
    Logs(LogsArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Of this task
    #[arg(long)]
    task: Option<String>,
    /// In this status, like failed; several with commas between
    #[arg(long)]
    status: Option<String>,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// Triggered with this idempotency key, whoever holds it now: its text or its hash
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// In this queue; `task/ID` is the one of a task that names none
    #[arg(long)]
    queue: Option<String>,
    /// Of this batch
    #[arg(long)]
    batch: Option<String>,
    /// Triggered by this schedule
    #[arg(long)]
    schedule: Option<String>,
    /// Created within this span, like 7d
    #[arg(long)]
    period: Option<String>,
    /// How many at most
    #[arg(long, short = 'n', default_value_t = 25)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct OneArgs {
    /// The run's id
    run: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct LogsArgs {
    /// The run's id
    run: String,
    /// Go on until the run has ended
    #[arg(long, short = 'f')]
    follow: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn runs(command: RunsCommand) -> Result<(), Failure> {
    match command {
        RunsCommand::List(args) => list(args).await,
        RunsCommand::Get(args) => {
            let run = args.remote.client()?.runs().retrieve(&args.run).await?;
            show(&run, args.remote.json);
            Ok(())
        }
        RunsCommand::Cancel(args) => {
            let Some(run) = one_or_many(BulkActionType::Cancel, &args).await? else { return Ok(()) };
            let client = args.remote.client()?;
            client.runs().cancel(run).await?;
            let run = client.runs().retrieve(run).await?;
            match args.remote.json {
                true => output::print_json(&run),
                false => output::print(format_args!("{}  {}", run.id, run.status)),
            }
            Ok(())
        }
        RunsCommand::Replay(args) => {
            let Some(run) = one_or_many(BulkActionType::Replay, &args).await? else { return Ok(()) };
            let id = args.remote.client()?.runs().replay(run).await?;
            match args.remote.json {
                true => output::print_json(&json!({ "id": id })),
                false => output::print(id),
            }
            Ok(())
        }
        RunsCommand::Bulk(command) => bulk(command).await,
        RunsCommand::Watch(args) => watch(&args.remote.client()?, &args.run, args.remote.json).await,
        RunsCommand::Logs(args) => logs(&args).await,
    }
}

fn show(run: &Run, json: bool) {
    match json {
        true => output::print_json(run),
        false => output::print_run(run),
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let mut list = client.runs().list().page_size(args.limit.clamp(1, 100));
    if let Some(task) = &args.task {
        list = list.task(task);
    }
    if let Some(status) = &args.status {
        list = list.status(&status.to_uppercase());
    }
    if let Some(tag) = &args.tag {
        list = list.tag(tag);
    }
    if let Some(key) = &args.key {
        list = list.idempotency_key(key);
    }
    if let Some(queue) = &args.queue {
        list = list.queue(queue);
    }
    if let Some(batch) = &args.batch {
        list = list.batch(batch);
    }
    if let Some(schedule) = &args.schedule {
        list = list.schedule(schedule);
    }
    if let Some(period) = &args.period {
        list = list.period(period);
    }
    let mut runs = Vec::new();
    let mut found = std::pin::pin!(list.stream());
    while runs.len() < args.limit
        && let Some(run) = found.try_next().await?
    {
        runs.push(run);
    }
    match args.remote.json {
        true => runs.iter().for_each(output::print_json),
        false if runs.is_empty() => output::print("no runs"),
        false => output::print_runs(&runs),
    }
    Ok(())
}

/// A line each time the run has changed.
async fn watch(client: &Client, id: &str, json: bool) -> Result<(), Failure> {
    let mut before = None;
    loop {
        let run = client.runs().retrieve(id).await?;
        let stands = Some((run.status.clone(), run.attempt_count));
        if run.is_completed {
            show(&run, json);
            return end_of(run);
        }
        if stands != before {
            match json {
                true => output::print_json(&run),
                false => output::print(format_args!(
                    "{}  {}  attempt {}",
                    run.updated_at,
                    run.status,
                    run.attempt_count.unwrap_or(1)
                )),
            }
            before = stands;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The lines, and with `--follow` those that come, until there are no more.
async fn logs(LogsArgs { run, follow, remote }: &LogsArgs) -> Result<(), Failure> {
    let client = remote.client()?;
    let mut next = 0;
    loop {
        // Looked at first: what it wrote to its end is there afterwards. One that was cancelled writes a moment longer.
        let is_over = *follow && client.runs().retrieve(run).await?.is_completed;
        if is_over {
            tokio::time::sleep(LAST_LINES).await;
        }
        let found = client.runs().logs(run, next).await?;
        if found.left_out > 0 && !remote.json {
            eprintln!("{} earlier lines are not kept", found.left_out);
        }
        for line in &found.data {
            match remote.json {
                true => output::print_json(line),
                false => {
                    output::print(format_args!("{}  {:<6}  {}", line.at, line.stream, output::visible(&line.text)))
                }
            }
        }
        if is_over || !follow {
            return Ok(());
        }
        next = found.next;
        tokio::time::sleep(LOOK).await;
    }
}
