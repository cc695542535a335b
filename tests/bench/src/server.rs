//! The measured process.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::{cpu, memory_kb};

/// A stack in memory, in a process of its own.
pub(crate) struct Server {
    child: Child,
    /// The API's URL.
    pub url: String,
    /// The SQS endpoint's URL.
    pub sqs: String,
    /// The DynamoDB endpoint's URL.
    pub dynamodb: String,
}

impl Server {
    /// Starts this very program as a server that keeps everything in memory.
    pub(crate) fn start() -> Self {
        Self::start_on(None)
    }

    /// The same on a folder, if there is one.
    pub(crate) fn start_on(data: Option<PathBuf>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg("serve").args(data).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut urls = line.split_whitespace().map(str::to_owned);
        let mut next = || urls.next().unwrap();
        Self { url: next(), sqs: next(), dynamodb: next(), child }
    }

    /// CPU time used so far, in user and kernel mode.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// Resident memory, in megabytes.
    pub(crate) fn memory_mb(&self) -> u64 {
        memory_kb(self.child.id(), "VmRSS:") / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
