//! `oncekey schedules`.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use oncekey_client::{OnMissed, OnOverlap, Schedule, SchedulePlan};
use serde_json::json;

use super::failure::Failure;
use super::output;
use super::remote::Remote;

/// As many on a page as there may be: all are listed.
const PAGE_SIZE: usize = 100;

#[derive(Subcommand)]
pub(crate) enum SchedulesCommand {
    /// Create a schedule, or change the one of this key
    Create(CreateArgs),
    /// List schedules
    List(Remote),
    /// Show a schedule
    Get(OneArgs),
    /// Start a schedule that was stopped
    Activate(OneArgs),
    /// Stop a schedule; runs that it has made go on
    Deactivate(OneArgs),
    /// Delete a schedule; runs that it has made go on
    Delete(OneArgs),
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// The task
    task: String,
    /// When: minute hour day-of-month month day-of-week, like "0 9 * * 1-5", or @daily and its like
    cron: String,
    /// The deduplication key, of which there is one schedule
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    key: String,
    /// The time zone of these times, like Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Whom or what it is for: the task is told
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Make no run while the run of an earlier tick is under way
    #[arg(long)]
    skip_overlap: bool,
    /// Make no run for ticks that were missed
    #[arg(long)]
    skip_missed: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct OneArgs {
    /// The schedule's id
    schedule: String,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn schedules(command: SchedulesCommand) -> Result<(), Failure> {
    match command {
        SchedulesCommand::Create(args) => create(&args).await,
        SchedulesCommand::List(remote) => list(&remote).await,
        SchedulesCommand::Get(OneArgs { schedule, remote }) => {
            let schedule = remote.client()?.schedules().retrieve(&schedule).await?;
            match remote.json {
                true => output::print_json(&schedule),
                false => show(&schedule),
            }
            Ok(())
        }
        SchedulesCommand::Activate(OneArgs { schedule, remote }) => {
            let schedule = remote.client()?.schedules().activate(&schedule).await?;
            tell(&schedule, remote.json);
            Ok(())
        }
        SchedulesCommand::Deactivate(OneArgs { schedule, remote }) => {
            let schedule = remote.client()?.schedules().deactivate(&schedule).await?;
            tell(&schedule, remote.json);
            Ok(())
        }
        SchedulesCommand::Delete(OneArgs { schedule, remote }) => {
            remote.client()?.schedules().delete(&schedule).await?;
            match remote.json {
                true => output::print_json(&json!({ "id": schedule })),
                false => output::print(format_args!("{schedule} is deleted")),
            }
            Ok(())
        }
    }
}

async fn create(args: &CreateArgs) -> Result<(), Failure> {
    let mut plan = SchedulePlan::new(&args.task, &args.cron);
    if let Some(timezone) = &args.timezone {
        plan = plan.timezone(timezone);
    }
    if let Some(id) = &args.external_id {
        plan = plan.external_id(id);
    }
    if args.skip_overlap {
        plan = plan.on_overlap(OnOverlap::Skip);
    }
    if args.skip_missed {
        plan = plan.on_missed(OnMissed::Skip);
    }
    let schedule = args.remote.client()?.schedules().create(&args.key, &plan).await?;
    tell(&schedule, args.remote.json);
    Ok(())
}

/// A schedule in one line: which, and when it ticks.
fn tell(schedule: &Schedule, json: bool) {
    match json {
        true => output::print_json(schedule),
        false if schedule.active => output::print(format_args!("{}  next {}", schedule.id, next_of(schedule))),
        false => output::print(format_args!("{}  stopped", schedule.id)),
    }
}

/// When it ticks next.
fn next_of(schedule: &Schedule) -> String {
    schedule.next_run.map_or_else(|| "stopped".to_owned(), |next| next.to_string())
}

async fn list(remote: &Remote) -> Result<(), Failure> {
    let client = remote.client()?;
    let schedules: Vec<_> = client.schedules().list().page_size(PAGE_SIZE).stream().try_collect().await?;
    if remote.json {
        schedules.iter().for_each(output::print_json);
        return Ok(());
    }
    if schedules.is_empty() {
        output::print("no schedules");
        return Ok(());
    }
    let row = |schedule: &Schedule| {
        let cron = output::visible(&schedule.generator.expression);
        let key = schedule.deduplication_key.as_deref().map_or_else(|| "-".to_owned(), output::visible);
        let [id, task] = [schedule.id.to_string(), schedule.task.to_string()];
        [id, task, cron, schedule.timezone.clone(), key, next_of(schedule)]
    };
    let head = ["SCHEDULE", "TASK", "CRON", "TIME ZONE", "KEY", "NEXT"];
    output::print(output::table(head, schedules.iter().map(row)));
    Ok(())
}

/// All that is known of a schedule.
fn show(schedule: &Schedule) {
    let latest = schedule.last_run.map(|latest| latest.to_string());
    let lines = [
        ("schedule", Some(schedule.id.to_string())),
        ("task", Some(schedule.task.to_string())),
        ("cron", Some(output::visible(&schedule.generator.expression))),
        ("which means", Some(schedule.generator.description.clone())),
        ("time zone", Some(schedule.timezone.clone())),
        ("key", schedule.deduplication_key.as_deref().map(output::visible)),
        ("declared by", schedule.declared_by.as_ref().map(ToString::to_string)),
        ("external id", schedule.external_id.as_deref().map(output::visible)),
        ("on overlap", Some(schedule.on_overlap.to_string())),
        ("on missed", Some(schedule.on_missed.to_string())),
        ("latest", latest),
        ("next", Some(next_of(schedule))),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            output::print(format_args!("{name:<12} {value}"));
        }
    }
}
