//! `oncekey runs cancel` and `replay` of many runs at once, and `oncekey runs bulk`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use oncekey_client::{BulkAction, BulkActionId, BulkActionStatus, BulkActionType, BulkSelection, Client};

use super::failure::Failure;
use super::output;
use super::remote::Remote;

/// How often it is looked how far an action is.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Args)]
pub(crate) struct ManyArgs {
    /// The run's id; without one, all runs of which what is said below holds
    pub(crate) run: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// What to call it in `runs bulk list`
    #[arg(long)]
    name: Option<String>,
    /// Do not ask before many runs are meant
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Args)]
struct FilterArgs {
    /// Runs in this status, like failed; several with commas between
    #[arg(long)]
    status: Option<String>,
    /// Of this task; several with commas between
    #[arg(long)]
    task: Option<String>,
    /// With this tag; given several times, with one of them
    #[arg(long)]
    tag: Vec<String>,
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
}

impl FilterArgs {
    /// The runs that are meant, for Oncekey and in words; `None` if nothing is said.
    fn selection(&self) -> Option<(BulkSelection, String)> {
        let (mut selection, mut words) = (BulkSelection::filter(), Vec::new());
        for status in parts(self.status.as_deref()).map(str::to_uppercase) {
            selection = selection.status(&status);
        }
        for task in parts(self.task.as_deref()) {
            selection = selection.task(task);
        }
        for tag in &self.tag {
            selection = selection.tag(tag);
        }
        if let Some(queue) = &self.queue {
            selection = selection.queue(queue);
        }
        if let Some(batch) = &self.batch {
            selection = selection.batch(batch);
        }
        if let Some(schedule) = &self.schedule {
            selection = selection.schedule(schedule);
        }
        if let Some(period) = &self.period {
            selection = selection.period(period);
        }
        let said = [
            ("status", &self.status),
            ("task", &self.task),
            ("tag", &Some(self.tag.join(" or ")).filter(|tags| !tags.is_empty())),
            ("queue", &self.queue),
            ("batch", &self.batch),
            ("schedule", &self.schedule),
            ("period", &self.period),
        ];
        words.extend(
            said.iter().filter_map(|(name, value)| Some(format!("{name} {}", output::visible(value.as_ref()?)))),
        );
        (!words.is_empty()).then(|| (selection, words.join(", ")))
    }
}

fn parts(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// The run that is meant, if it is one. Several are done here.
pub(crate) async fn one_or_many(kind: BulkActionType, args: &ManyArgs) -> Result<Option<&str>, Failure> {
    let verb = kind.verb();
    match (&args.run, args.filter.selection()) {
        (Some(run), None) => Ok(Some(run)),
        (None, Some((selection, words))) => many(kind, args, selection, &words).await.map(|()| None),
        (Some(_), Some(_)) => {
            Err(Failure::Usage("give the id of a run, or say which runs are meant, and not both".to_owned()))
        }
        (None, None) => {
            let text = format!("say which run to {verb}, by its id, or which runs, like `--status failed --task echo`");
            Err(Failure::Usage(text))
        }
    }
}

async fn many(kind: BulkActionType, args: &ManyArgs, selection: BulkSelection, words: &str) -> Result<(), Failure> {
    let client = args.remote.client()?;
    if !args.yes {
        ask(&format!(
            "{} every run there is with {words}?",
            if kind == BulkActionType::Cancel { "Cancel" } else { "Replay" }
        ))?;
    }
    let selection = match &args.name {
        Some(name) => selection.called(name),
        None => selection,
    };
    let id = client.bulk_actions().create(kind, &selection).await?;
    eprintln!("{id}: `oncekey runs bulk abort {id}` stops it; it goes on without this command");
    let action = followed(&client, &id).await?;
    match args.remote.json {
        true => output::print_json(&action),
        false => output::print(told(&action)),
    }
    let counts = action.counts;
    match (action.status.known(), counts.failure) {
        (Some(BulkActionStatus::Aborted), _) => Err(Failure::NotDone(format!("{id} was stopped"))),
        (_, 0) => Ok(()),
        (_, count) => {
            let why = match kind {
                BulkActionType::Cancel => "had ended otherwise, or are not there",
                BulkActionType::Replay => "could not be triggered again",
            };
            Err(Failure::NotDone(format!("{count} of {} runs {why}", counts.total)))
        }
    }
}

/// Asks a person. Where there is none, `--yes` has to have said it.
fn ask(question: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{question} Say so by --yes")));
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        true => Ok(()),
        false => Err(Failure::NotDone("nothing was done".to_owned())),
    }
}

/// An action once it has ended, with a bar meanwhile.
async fn followed(client: &Client, id: &BulkActionId) -> Result<BulkAction, Failure> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {per_sec}") {
        bar.set_style(style);
    }
    loop {
        let action = client.bulk_actions().retrieve(id).await?;
        bar.set_length(action.counts.total);
        bar.set_position(action.counts.success + action.counts.failure);
        if action.status != BulkActionStatus::Pending {
            bar.finish_and_clear();
            return Ok(action);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn told(action: &BulkAction) -> String {
    let BulkAction { id, kind, status, counts, .. } = action;
    let done = if kind.known() == Some(BulkActionType::Cancel) { "cancelled" } else { "replayed" };
    format!("{id}  {status}  {} of {} runs {done}, {} not", counts.success, counts.total, counts.failure)
}

#[derive(Subcommand)]
pub(crate) enum BulkCommand {
    /// List bulk actions, newest first
    List(BulkListArgs),
    /// Show how far a bulk action is
    Get(BulkOneArgs),
    /// Stop a bulk action; what was done stays
    Abort(BulkOneArgs),
}

#[derive(Args)]
pub(crate) struct BulkListArgs {
    /// How many at most
    #[arg(long, short = 'n', default_value_t = 25)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct BulkOneArgs {
    /// The action's id
    action: String,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn bulk(command: BulkCommand) -> Result<(), Failure> {
    let (one, remote) = match command {
        BulkCommand::List(args) => return list(&args).await,
        BulkCommand::Get(BulkOneArgs { action, remote }) => (action, remote),
        BulkCommand::Abort(BulkOneArgs { action, remote }) => {
            remote.client()?.bulk_actions().abort(&action).await?;
            (action, remote)
        }
    };
    let action = remote.client()?.bulk_actions().retrieve(&one).await?;
    match remote.json {
        true => output::print_json(&action),
        false => output::print(told(&action)),
    }
    Ok(())
}

async fn list(BulkListArgs { limit, remote }: &BulkListArgs) -> Result<(), Failure> {
    let client = remote.client()?;
    let mut found = std::pin::pin!(client.bulk_actions().list().page_size((*limit).clamp(1, 100)).stream());
    let mut actions = Vec::new();
    while actions.len() < *limit
        && let Some(action) = found.try_next().await?
    {
        actions.push(action);
    }
    let row = |action: &BulkAction| {
        let BulkAction { id, kind, status, counts, name, created_at, .. } = action;
        let name = name.as_deref().map(output::visible).unwrap_or_default();
        let count = format!("{}/{}", counts.success, counts.total);
        [
            id.to_string(),
            kind.to_string(),
            status.to_string(),
            count,
            counts.failure.to_string(),
            name,
            created_at.to_string(),
        ]
    };
    match remote.json {
        true => actions.iter().for_each(output::print_json),
        false if actions.is_empty() => output::print("no bulk actions"),
        false => {
            let head = ["ACTION", "TYPE", "STATUS", "DONE", "NOT", "NAME", "CREATED"];
            output::print(output::table(head, actions.iter().map(row)));
        }
    }
    Ok(())
}
