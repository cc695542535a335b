//! One line of the table.

use std::fmt;
use std::time::Duration;

/// What one load gave.
pub(crate) struct Row {
    name: &'static str,
    elapsed: Duration,
    cpu: Duration,
    latencies: Vec<Duration>,
}

impl Row {
    /// The head of the table.
    pub(crate) fn header() -> String {
        format!(
            "| {:<30} | {:>7} | {:>8} | {:>11} | {:>11} | {:>16} |\n|{:-<32}|{:->9}|{:->10}|{:->13}|{:->13}|{:->18}|",
            "load", "count", "per s", "p50 trigger", "p99 trigger", "stack CPU, each", "", ":", ":", ":", ":", ":"
        )
    }

    /// A row over the latencies of every request.
    pub(crate) fn new(name: &'static str, elapsed: Duration, cpu: Duration, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self { name, elapsed, cpu, latencies }
    }

    /// Requests a second, over all of the time.
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The row of one among several.
    pub(crate) fn named(&self, who: &str) -> String {
        self.line(&format!("{who}: {}", self.name.split(',').next().unwrap_or(self.name)))
    }

    fn line(&self, name: &str) -> String {
        let count = self.latencies.len();
        let cpu_each = self.cpu.as_secs_f64() * 1_000.0 / count as f64;
        format!(
            "| {name:<30} | {count:>7} | {:>8.0} | {:>8.2} ms | {:>8.2} ms | {cpu_each:>13.2} ms |",
            self.per_second(),
            self.percentile(50),
            self.percentile(99),
        )
    }

    fn percentile(&self, percent: usize) -> f64 {
        let index = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies[index].as_secs_f64() * 1_000.0
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(self.name))
    }
}
