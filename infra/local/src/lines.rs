//! What tasks write, kept on this machine for the pages and the command line: the newest lines, in memory and in the data
//! folder.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oncekey_core::runs::logs::{LogLine, RunLogs};
use oncekey_core::{Clock, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::private;

/// Lines of a run that are kept: the newest.
const OF_A_RUN: usize = 1_000;
/// Bytes of a line that are kept.
const OF_A_LINE: usize = 4 * 1024;
/// Bytes that are kept in all, of the runs that wrote last.
const IN_ALL: usize = 16 * 1024 * 1024;
/// Runs whose lines are forgotten and whose places are not.
const FORGOTTEN: usize = 10_000;
/// What a line is counted for beside its text.
const AROUND: usize = 128;

/// What tasks write. Clones share it. As a layer of `tracing` it takes the events of tasks in Rust; the console of tasks in
/// TypeScript is written to it.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Kept>>);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl oncekey_core::telemetry::lines::Lines for Lines {
    fn of(&self, run: &RunId, after: u64) -> RunLogs {
        self.lock().of.get(run).map_or_else(RunLogs::default, |of_run| of_run.after(after))
    }
}

impl Lines {
    /// Notes a line of a run.
    pub fn write(&self, run: &RunId, stream: &str, text: &str) {
        let line = LogLine::new(Clock::system().now(), stream, cut(text));
        self.lock().write(run, line);
    }

    /// Takes up the lines in a file, and keeps those that come there too.
    ///
    /// # Errors
    /// The system's. Then lines are kept in memory alone.
    pub(crate) fn keep_in(&self, path: &Path) -> io::Result<()> {
        self.lock().keep_in(path)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a line that is too long.
fn cut(text: &str) -> String {
    match text.len() > OF_A_LINE {
        true => format!("{}…", &text[..text.floor_char_boundary(OF_A_LINE)]),
        false => text.to_owned(),
    }
}

#[derive(Default)]
struct Kept {
    of: HashMap<RunId, OfRun>,
    /// The runs that have lines, those first that have not written for longest.
    order: BTreeMap<u64, RunId>,
    writes: u64,
    bytes: usize,
    file: Option<OnDisk>,
}

#[derive(Default)]
struct OfRun {
    lines: VecDeque<LogLine>,
    left_out: u64,
    bytes: usize,
    /// Its place in the order.
    place: u64,
}

struct OnDisk {
    file: File,
    path: PathBuf,
    /// What was written since the file was written anew.
    bytes: usize,
}

/// A line in the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    run: RunId,
    at: Timestamp,
    stream: String,
    text: String,
    /// How many lines of this run came before and are not kept.
    #[serde(skip_serializing_if = "is_zero", default)]
    left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl OfRun {
    fn after(&self, after: u64) -> RunLogs {
        let next = self.left_out.saturating_add(self.lines.len() as u64);
        let skipped = after.saturating_sub(self.left_out).min(self.lines.len() as u64);
        let data = self.lines.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)).cloned().collect();
        RunLogs::new(data, self.left_out.saturating_sub(after), next.max(after))
    }
}

impl Kept {
    fn write(&mut self, run: &RunId, line: LogLine) {
        if let Some(on_disk) = &mut self.file {
            on_disk.append(&Entry::of(run, &line, 0));
        }
        self.take(run, line);
        if self.file.as_ref().is_some_and(|on_disk| on_disk.bytes > IN_ALL) {
            self.write_anew();
        }
    }

    fn take(&mut self, run: &RunId, line: LogLine) {
        let bytes = line.text.len() + AROUND;
        self.writes += 1;
        let of_run = self.of.entry(run.clone()).or_default();
        self.order.remove(&of_run.place);
        self.order.insert(self.writes, run.clone());
        of_run.place = self.writes;
        of_run.lines.push_back(line);
        of_run.bytes += bytes;
        self.bytes += bytes;
        if of_run.lines.len() > OF_A_RUN
            && let Some(oldest) = of_run.lines.pop_front()
        {
            let bytes = oldest.text.len() + AROUND;
            of_run.left_out = of_run.left_out.saturating_add(1);
            of_run.bytes -= bytes;
            self.bytes -= bytes;
        }
        while self.bytes > IN_ALL && self.order.len() > 1 {
            self.forget_the_oldest();
        }
    }

    /// Of a run whose lines are forgotten is kept how many there were, so that places go on; of so many runs.
    fn forget_the_oldest(&mut self) {
        let Some((_, run)) = self.order.pop_first() else { return };
        if let Some(of_run) = self.of.get_mut(&run) {
            self.bytes -= std::mem::take(&mut of_run.bytes);
            of_run.left_out = of_run.left_out.saturating_add(of_run.lines.len() as u64);
            of_run.lines = VecDeque::new();
        }
        if self.of.len() > FORGOTTEN + self.order.len() {
            self.of.retain(|_, of_run| !of_run.lines.is_empty());
        }
    }

    fn keep_in(&mut self, path: &Path) -> io::Result<()> {
        remove_drafts(path);
        if path.symlink_metadata().is_ok_and(|there| !there.is_file() && !there.is_symlink()) {
            return Err(io::Error::other("it is not a file"));
        }
        let mut file = private::open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last may be cut off: its process died.
        for entry in bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Entry>(line).ok()) {
            let Entry { run, at, stream, text, left_out } = entry;
            self.take(&run, LogLine::new(at, stream, cut(&text)));
            if let Some(of_run) = self.of.get_mut(&run) {
                of_run.left_out = of_run.left_out.saturating_add(left_out);
            }
        }
        self.file = Some(OnDisk { file, path: path.to_owned(), bytes: 0 });
        self.write_anew();
        Ok(())
    }

    /// Keeps the file from growing for ever. What cannot be written is in memory, and is tried again after as many lines.
    fn write_anew(&mut self) {
        let written = self.try_write_anew();
        if let Some(on_disk) = &mut self.file {
            on_disk.bytes = 0;
            if let Err(error) = written {
                tracing::warn!("{}: {error}", on_disk.path.display());
            }
        }
    }

    /// Writes a file of what is kept, in the place of that to which lines were added.
    fn try_write_anew(&mut self) -> io::Result<()> {
        let Some(on_disk) = &mut self.file else { return Ok(()) };
        let mut text = Vec::new();
        for run in self.order.values() {
            let Some(of_run) = self.of.get(run) else { continue };
            for (place, line) in of_run.lines.iter().enumerate() {
                let left_out = if place == 0 { of_run.left_out } else { 0 };
                serde_json::to_writer(&mut text, &Entry::of(run, line, left_out))?;
                text.push(b'\n');
            }
        }
        private::write(&on_disk.path, &text)?;
        on_disk.file = private::open(&on_disk.path)?;
        on_disk.file.seek(SeekFrom::End(0))?;
        Ok(())
    }
}

/// Removes what a process left that was killed while it wrote a file anew.
fn remove_drafts(path: &Path) {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let other = entry.path();
        if other != path && other.file_stem() == Some(stem) && other.is_file() {
            let _ = std::fs::remove_file(other);
        }
    }
}

impl Entry {
    fn of(run: &RunId, line: &LogLine, left_out: u64) -> Self {
        Self { run: run.clone(), at: line.at, stream: line.stream.clone(), text: line.text.clone(), left_out }
    }
}

impl OnDisk {
    fn append(&mut self, entry: &Entry) {
        let Ok(mut line) = serde_json::to_vec(entry) else { return };
        line.push(b'\n');
        self.bytes += line.len();
        // What cannot be written is in memory.
        let _ = self.file.write_all(&line);
    }
}

/// The run that a span is of.
#[derive(Default)]
struct Whose(Option<RunId>);

impl Visit for Whose {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "run_id" {
            self.0 = RunId::parse(&format!("{value:?}")).ok();
        }
    }
}

/// An event in one line: its message, then its fields.
#[derive(Default)]
struct InWords {
    message: String,
    fields: String,
}

impl Visit for InWords {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format_args!("{value:?}"));
    }
}

impl InWords {
    fn note(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        use fmt::Write;

        // A string takes all that is written to it.
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

/// Whether Oncekey says it, and not a task.
fn is_ours(target: &str) -> bool {
    target.starts_with("oncekey") && !target.starts_with("oncekey_function_worker")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut whose = Whose::default();
        attributes.record(&mut whose);
        if let (Some(run), Some(span)) = (whose.0, context.span(id)) {
            span.extensions_mut().insert(run);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if is_ours(event.metadata().target()) {
            return;
        }
        let mut scope = context.event_scope(event).into_iter().flatten();
        let Some(run) = scope.find_map(|span| span.extensions().get::<RunId>().cloned()) else { return };
        let mut words = InWords::default();
        event.record(&mut words);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        self.write(&run, &level, format!("{}{}", words.message, words.fields).trim_start());
    }
}

#[cfg(test)]
mod tests {
    use oncekey_core::telemetry::lines::Lines as _;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn run(letter: &str) -> RunId {
        RunId::parse(&format!("run_{}", letter.repeat(32))).expect("an id")
    }

    fn texts(logs: &RunLogs) -> Vec<&str> {
        logs.data.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_lines_of_a_run_are_given_in_their_order_and_from_a_place_on() {
        let lines = Lines::default();
        for (of, text) in [("a", "1"), ("b", "x"), ("a", "2")] {
            lines.write(&run(of), "stdout", text);
        }
        assert_eq!(texts(&lines.of(&run("a"), 0)), ["1", "2"]);
        assert_eq!((texts(&lines.of(&run("a"), 1)), lines.of(&run("a"), 1).next), (vec!["2"], 2));
        assert_eq!((texts(&lines.of(&run("a"), 9)), lines.of(&run("a"), 9).next), (vec![], 9));
        assert_eq!(lines.of(&run("c"), 0), RunLogs::default());
    }

    #[test]
    fn the_newest_thousand_lines_of_a_run_are_kept_and_it_is_told_how_many_are_not() {
        let lines = Lines::default();
        for number in 0..OF_A_RUN + 5 {
            lines.write(&run("a"), "stdout", &number.to_string());
        }
        let all = lines.of(&run("a"), 0);
        assert_eq!((all.data.len(), all.left_out, all.next), (OF_A_RUN, 5, 1_005));
        assert_eq!(all.data[0].text, "5");
        let later = lines.of(&run("a"), 1_004);
        assert_eq!((texts(&later), later.left_out), (vec!["1004"], 0));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let lines = Lines::default();
        lines.write(&run("a"), "stdout", &"ä".repeat(OF_A_LINE));
        let kept = &lines.of(&run("a"), 0).data[0].text;
        assert_eq!(kept.chars().filter(|letter| *letter == 'ä').count(), OF_A_LINE / 2);
        assert!(kept.ends_with('…'));
    }

    #[test]
    fn runs_that_have_not_written_for_longest_go_first() {
        let lines = Lines::default();
        let long = "x".repeat(OF_A_LINE);
        lines.write(&run("a"), "stdout", "first");
        lines.write(&run("b"), "stdout", "second");
        lines.write(&run("a"), "stdout", "again");
        for letter in ["c", "d", "e", "f"] {
            for _ in 0..OF_A_RUN {
                lines.write(&run(letter), "stdout", &long);
            }
        }
        assert!(lines.lock().bytes <= IN_ALL);
        let forgotten = lines.of(&run("b"), 0);
        assert_eq!((forgotten.data.len(), forgotten.left_out, forgotten.next), (0, 1, 1));
        // Whoever had asked goes on from there.
        lines.write(&run("b"), "stdout", "third");
        assert_eq!(texts(&lines.of(&run("b"), 1)), ["third"]);
        assert_eq!(lines.of(&run("f"), 0).data.len(), OF_A_RUN);
    }

    #[test]
    fn what_is_kept_in_a_file_is_there_for_the_next_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.jsonl");
        let before = Lines::default();
        before.keep_in(&path).expect("kept");
        for number in 0..OF_A_RUN + 5 {
            before.write(&run("a"), "stdout", &number.to_string());
        }
        for _ in 0..2 {
            let after = Lines::default();
            after.keep_in(&path).expect("kept");
            assert_eq!(after.of(&run("a"), 0), before.of(&run("a"), 0));
        }
        // A process died while it wrote.
        std::fs::write(&path, b"{\"run\": \"run_\xf0\x9f").expect("written");
        std::fs::write(folder.path().join("lines.0123456789abcdef"), "a draft").expect("written");
        let after = Lines::default();
        after.keep_in(&path).expect("kept");
        after.write(&run("b"), "stderr", "goes on");
        assert_eq!(texts(&after.of(&run("b"), 0)), ["goes on"]);
        assert!(
            std::fs::read_to_string(&path).expect("a file").lines().all(|line| line.starts_with("{\"run\":\"run_b"))
        );
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.jsonl");
        let lines = Lines::default();
        lines.keep_in(&path).expect("kept");
        let long = "x".repeat(OF_A_LINE);
        for _ in 0..9_000 {
            lines.write(&run("a"), "stdout", &long);
        }
        let bytes = std::fs::metadata(&path).expect("a file").len();
        assert!(bytes < 2 * IN_ALL as u64 + OF_A_LINE as u64, "{bytes}");
        assert_eq!(lines.of(&run("a"), 0).data.len(), OF_A_RUN);
    }

    #[test]
    fn events_of_a_runs_attempt_are_its_lines_and_no_others() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "shop", "nobody's");
            let id = run("a");
            let _attempt = tracing::error_span!("attempt", run_id = %id, task = "t").entered();
            let _inside = tracing::info_span!("inside").entered();
            tracing::info!(target: "shop", amount = 3, to = "ada", "charged");
            tracing::info!(target: "oncekey_core::protocol::trigger", "triggered");
        });
        let logs = lines.of(&run("a"), 0);
        assert_eq!(texts(&logs), ["charged amount=3 to=ada"]);
        assert_eq!(logs.data[0].stream, "info");
    }
}
