//! The real process, started and killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The command line, its outputs caught.
pub(crate) fn oncekey(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncekey"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that is killed when the test ends, however it ends.
pub(crate) struct Running {
    pub child: Child,
    pub url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stack on a data folder. Its worker's lease lasts two seconds.
pub(crate) fn start(data: &Path) -> Running {
    let data = data.to_str().unwrap();
    let mut command = oncekey(&["dev", "--port", "0", "--timeout", "2", "--data", data]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let url = first.trim().strip_prefix("Oncekey is listening on ").unwrap().to_owned();
    Running { child, url }
}
