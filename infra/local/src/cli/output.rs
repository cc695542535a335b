//! What is printed.

use std::fmt::Display;
use std::io::Write;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use oncekey_client::{AwaitedRun, Json, Run, Timestamp, WaitingFor};
use serde::Serialize;

/// Prints a line; a reader that has gone away is no reason to complain.
pub(crate) fn print(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A text of somebody's choice without what a terminal would obey, or read backwards.
pub(crate) fn visible(text: &str) -> String {
    let obeyed = |letter: char| {
        (letter.is_control() && letter != '\t') || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match obeyed(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// The same for a text of several lines.
pub(crate) fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => print(text),
        Err(error) => eprintln!("oncekey: {error}"),
    }
}

/// A table without lines: columns, aligned.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(head).add_rows(rows);
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Prints runs as a table.
pub(crate) fn print_runs(runs: &[Run]) {
    let row = |run: &Run| {
        let key = key(run).unwrap_or_default();
        let took = run.started_at.map(|_| milliseconds(run.duration_ms)).unwrap_or_default();
        let [id, task] = [run.id.to_string(), run.task_identifier.to_string()];
        [id, run.status.to_string(), task, key, run.created_at.to_string(), took]
    };
    print(table(["RUN", "STATUS", "TASK", "KEY", "CREATED", "TOOK"], runs.iter().map(row)));
}

/// The key that a run was triggered with, and whether it holds that no more.
fn key(run: &Run) -> Option<String> {
    let freed = || run.freed_idempotency_key.as_deref().map(|key| format!("{} (freed)", visible(key)));
    run.idempotency_key.as_deref().map(visible).or_else(freed)
}

/// Prints all that is known of a run.
pub(crate) fn print_run(run: &Run) {
    let shown = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let tags = Some(visible(&run.tags.join(", "))).filter(|tags| !tags.is_empty());
    let until = shown(run.idempotency_key_expires_at).map(|until| format!(", held until {until}")).unwrap_or_default();
    let lines = [
        ("run", Some(run.id.to_string())),
        ("status", Some(run.status.to_string())),
        ("task", Some(run.task_identifier.to_string())),
        ("key", key(run).map(|key| key + &until)),
        ("triggered by", Some(origin(run)).filter(|parts| !parts.is_empty())),
        ("tags", tags),
        ("queue", Some(placement(run)).filter(|parts| !parts.is_empty())),
        ("created", Some(run.created_at.to_string())),
        ("delayed until", shown(run.delayed_until)),
        ("started", shown(run.started_at)),
        ("finished", shown(run.finished_at)),
        ("took", run.started_at.map(|_| milliseconds(run.duration_ms))),
        ("attempts", run.attempt_count.map(|count| count.to_string())),
        ("waits", run.waiting_for.as_ref().map(waits)),
        ("children", Some(children(run)).filter(|lines| !lines.is_empty())),
        ("failed", Some(failures(run)).filter(|lines| !lines.is_empty())),
        ("error", run.error.as_ref().map(|error| visible_lines(&error.message))),
        ("payload", run.payload.as_ref().map(Json::pretty)),
        ("output", run.output.as_ref().map(Json::pretty)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            // What spans lines goes on under its first.
            print(format_args!("{name:<14} {}", value.replace('\n', &format!("\n{:15}", ""))));
        }
    }
}

/// The run, the schedule and the batch that it comes from, as far as there are any.
fn origin(run: &Run) -> String {
    let parent = run.related_runs.as_ref().and_then(|related| related.parent.as_ref()).map(|parent| &parent.run);
    let named = |key: &Option<String>| key.as_ref().map(|key| format!(" ({})", visible(key))).unwrap_or_default();
    let parts = [
        parent.map(|parent| format!("{} ({})", parent.task_identifier, parent.id)),
        run.schedule.as_ref().map(|of| format!("schedule {}{}", of.id, named(&of.deduplication_key))),
        run.batch_id.as_ref().map(|batch| format!("batch {batch}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Its queue, and what else decides when it is given a place there.
fn placement(run: &Run) -> String {
    let parts = [
        run.queue.as_ref().map(ToString::to_string),
        run.concurrency_key.as_ref().map(|key| format!("concurrency key {key}")),
        run.priority.as_ref().map(|seconds| format!("priority {seconds}")),
    ];
    visible(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// What a run waits for, and until when.
fn waits(waiting: &WaitingFor) -> String {
    if let Some(place) = &waiting.place {
        return visible(&place.to_string());
    }
    if waiting.worker {
        return "for a worker to take it up".to_owned();
    }
    let named = |awaited: &AwaitedRun| match &awaited.task_identifier {
        Some(task) => format!("{task} ({})", awaited.id),
        None => awaited.id.to_string(),
    };
    let mut parts: Vec<String> = waiting.runs.iter().map(named).collect();
    match waiting.run_count.saturating_sub(parts.len() as u64) {
        0 => {}
        more => parts.push(format!("{more} more")),
    }
    parts.extend(waiting.tokens.iter().map(ToString::to_string));
    let named = parts.join(", ");
    match (waiting.until, named.is_empty()) {
        (Some(until), true) => format!("until {until}"),
        (Some(until), false) => format!("for {named}, or until {until}"),
        (None, _) => format!("for {named}"),
    }
}

/// The runs that it triggered, a line each.
fn children(run: &Run) -> String {
    let children = run.related_runs.iter().flat_map(|related| &related.children).map(|child| &child.run);
    let lines = children.map(|child| format!("{} {} {}", child.id, child.task_identifier, child.status));
    lines.collect::<Vec<_>>().join("\n")
}

/// Why attempts failed that others followed, a line each.
fn failures(run: &Run) -> String {
    let followed = run.attempts.iter().filter(|attempt| Some(attempt.number) != run.attempt_count);
    let told = followed.filter_map(|attempt| {
        let error = attempt.error.as_ref()?;
        let name = error.name.as_deref().map(|name| format!("{name}: ")).unwrap_or_default();
        Some(visible_lines(&format!("attempt {}: {name}{}", attempt.number, error.message)))
    });
    told.collect::<Vec<_>>().join("\n")
}

fn milliseconds(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.1} s", millis as f64 / 1_000.0),
        _ => format!("{} min {} s", millis / 60_000, millis / 1_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_has_no_lines() {
        let rows = [["a".to_owned(), "long".to_owned()], ["longer".to_owned(), "b".to_owned()]];
        assert_eq!(table(["X", "Y"], rows), "X       Y\na       long\nlonger  b");
    }

    #[test]
    fn spans_are_told_in_their_own_units() {
        assert_eq!(["999 ms", "1.5 s", "2 min 3 s"], [999, 1_500, 123_456].map(milliseconds).map(String::leak));
    }
}
