//! The measured process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Clock ticks a second in `/proc`: 100 on every Linux since long.
const TICKS: f64 = 100.0;

/// A stack in memory, in a process of its own.
pub struct Server {
    child: Child,
    /// The API's URL.
    pub url: String,
    /// The SQS endpoint's URL.
    pub sqs: String,
}

impl Server {
    /// Starts this very program as a server.
    pub fn start() -> Self {
        let mut child =
            Command::new(std::env::current_exe().unwrap()).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (url, sqs) = line.trim().split_once(' ').unwrap();
        Self { url: url.to_owned(), sqs: sqs.to_owned(), child }
    }

    /// CPU time used so far, in user and kernel mode.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name, which may hold spaces: user time is the 12th field, system time the 13th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
        Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS)
    }

    /// Resident memory, in megabytes.
    pub fn memory_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
