//! `oncekey batch`: triggers from lines of JSON. A line's key is its content, so a file that is sent again, mended or longer,
//! finds the runs of the lines that ran and triggers the others.

use std::collections::HashMap;
use std::io::Read;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use data_encoding::HEXLOWER;
use indicatif::{ProgressBar, ProgressStyle};
use oncekey_client::{BatchId, BatchItem, BatchReport, Client, Json, Key, misnamed};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::failure::Failure;
use super::output;
use super::remote::Remote;

/// Items of one batch; a longer file is several.
const MAX_ITEMS: usize = 1_000;

#[derive(Args)]
pub(crate) struct BatchArgs {
    /// The file, or - for standard input: a line {"task", "payload"?, "options"?} for each trigger
    file: String,
    /// The task of lines that name none
    #[arg(long)]
    task: Option<String>,
    /// What the keys of lines begin with that have none of their own: with another one, all lines run again
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    task: Option<String>,
    #[serde(default)]
    payload: Option<Json>,
    #[serde(default)]
    options: Map<String, Value>,
}

/// What became of all batches of a file.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    batches: Vec<BatchId>,
    lines: usize,
    /// Lines that have a run, made now or before.
    triggered: usize,
    errors: Vec<LineError>,
}

#[derive(Serialize)]
struct LineError {
    /// From 1.
    line: usize,
    task: String,
    error: String,
}

pub(crate) async fn batch(args: BatchArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let text = read(&args.file)?;
    let lines = lines(&text, args.task.as_deref(), args.key.as_deref())?;
    let bar = ProgressBar::new(lines.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} lines, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let mut summary = Summary { lines: lines.len(), ..Summary::default() };
    for part in lines.chunks(MAX_ITEMS) {
        summary.add(send(&client, part, &bar).await?, part);
    }
    bar.finish_and_clear();
    match args.remote.json {
        true => output::print_json(&summary),
        false => print(&summary),
    }
    match summary.errors.len() {
        0 => Ok(()),
        count => Err(Failure::NotDone(format!("{count} of {} lines could not be triggered", summary.lines))),
    }
}

/// One batch of lines, and what became of them.
async fn send(client: &Client, part: &[(usize, BatchItem)], bar: &ProgressBar) -> Result<BatchReport, Failure> {
    let batch = client.create_batch(part.len(), None).await?;
    let items = part.iter().map(|(_, item)| item.clone()).enumerate();
    client.send_items(&batch.id, items, |count| bar.inc(count as u64)).await?;
    Ok(client.batch_report(&batch.id).await?)
}

impl Summary {
    fn add(&mut self, report: BatchReport, part: &[(usize, BatchItem)]) {
        self.batches.push(report.id);
        self.triggered += report.runs.len();
        self.errors.extend(report.processing.errors.into_iter().map(|error| LineError {
            line: part.get(error.index).map_or(0, |(line, _)| *line),
            task: error.task_identifier,
            error: error.error,
        }));
    }
}

fn print(summary: &Summary) {
    let Summary { batches, lines, triggered, errors } = summary;
    for error in errors {
        output::print(format_args!("line {}: {}: {}", error.line, error.task, error.error));
    }
    output::print(format_args!(
        "{lines} lines: {triggered} have their run, {} refused; {}",
        errors.len(),
        batches.iter().map(BatchId::as_str).collect::<Vec<_>>().join(", ")
    ));
}

fn read(file: &str) -> Result<String, Failure> {
    let read = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| Failure::Usage(format!("{file} cannot be read: {error}")))
}

/// The key of a line that names none: its content, and how many equal ones stand before it, which are runs of their own.
fn content_key(key: &str, task: &str, line: &str, before: usize) -> Key {
    let content = HEXLOWER.encode(&Sha256::digest(format!("{task}\n{}", line.trim())));
    Key::from([key.to_owned(), content, before.to_string()]).global()
}

/// Every line is read before any is sent: its number and its trigger.
fn lines(text: &str, task: Option<&str>, key: Option<&str>) -> Result<Vec<(usize, BatchItem)>, Failure> {
    let wrong = |number: usize, why: String| Failure::Usage(format!("line {number}: {why}"));
    let mut equal: HashMap<(String, &str), usize> = HashMap::new();
    let line = |(number, text)| {
        let line: Line = serde_json::from_str(text).map_err(|error| wrong(number, error.to_string()))?;
        let task = line.task.as_deref().or(task);
        let task =
            task.ok_or_else(|| wrong(number, "it names no task: give it one, or all of them with --task".into()))?;
        let misnamed = line.options.keys().find_map(|name| Some((name, misnamed(name)?)));
        if let Some((name, why)) = misnamed {
            return Err(wrong(number, format!("options.{name}: {why}")));
        }
        let item = BatchItem::new(task, &line.payload);
        let keyed = ["idempotencyKey", "idempotencyKeyFrom"].iter().any(|name| line.options.contains_key(*name));
        let item = if keyed {
            item
        } else {
            let before = equal.entry((task.to_owned(), str::trim(text))).or_default();
            *before += 1;
            item.idempotency_key(content_key(key.unwrap_or_default(), task, text, *before - 1))
        };
        let item = line.options.iter().fold(item, |item, (name, value)| item.option(name, value));
        Ok((number, item))
    };
    let all = text.lines().enumerate().map(|(index, text)| (index + 1, text));
    let lines: Vec<_> = all.filter(|(_, text)| !text.trim().is_empty()).map(line).collect::<Result<_, Failure>>()?;
    if lines.is_empty() {
        return Err(Failure::Usage("there is no line to send".to_owned()));
    }
    Ok(lines)
}
