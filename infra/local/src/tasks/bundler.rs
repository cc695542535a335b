//! The bundler: a process of its own that bundles a folder of task files, and again after each change.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A line of the bundler.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(super) enum Notice {
    /// A bundle is ready.
    Built { folder: PathBuf, content_hash: String },
    /// The files do not compile.
    Failed { errors: Vec<Mistake> },
    /// Something for the console.
    Note { message: String },
    /// It cannot work at all.
    Fatal { message: String },
}

/// What does not compile, and where.
#[derive(Debug, Deserialize)]
pub(super) struct Mistake {
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    line: Option<u32>,
    #[serde(default)]
    column: Option<u32>,
    message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = [self.file.clone(), self.line.map(|n| n.to_string()), self.column.map(|n| n.to_string())];
        let place: Vec<String> = place.into_iter().flatten().collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(":"))?;
        }
        f.write_str(&self.message)
    }
}

/// A bundler that runs. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Bundler {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
    // It ends when this does.
    _input: Option<ChildStdin>,
}

impl Bundler {
    /// Starts it on a folder of task files; bundles go to `out`.
    ///
    /// # Errors
    /// In words.
    pub(super) fn start(node: &Path, harness: &Path, tasks: &Path, out: &Path, cache: &Path) -> Result<Self, String> {
        let mut command = Command::new(node);
        command.arg(harness.join("dev.mjs"));
        command.arg("--tasks").arg(tasks).arg("--out").arg(out).arg("--cache").arg(cache);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("the bundler cannot be started: {error}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("the bundler has no output")?;
        Ok(Self { lines: BufReader::new(output).lines(), child, _input: input })
    }

    /// What it tells next.
    ///
    /// # Errors
    /// In words, when it has ended.
    pub(super) async fn next(&mut self) -> Result<Notice, String> {
        loop {
            match self.lines.next_line().await {
                Ok(Some(line)) => match serde_json::from_str(&line) {
                    Ok(notice) => return Ok(notice),
                    Err(_) => eprintln!("{line}"),
                },
                _ => {
                    let status = self.child.wait().await.map_or_else(|error| error.to_string(), |s| s.to_string());
                    return Err(format!("the bundler ended: {status}"));
                }
            }
        }
    }
}
