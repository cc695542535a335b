//! Metrics, in CloudWatch's embedded metric format: a line of JSON on standard output, which CloudWatch Logs makes a metric
//! of. It costs no call. Only where `ONCEKEY_STACK` names the deployment; elsewhere nothing is written.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::run::status::RunStatus;

/// The metrics' namespace in CloudWatch.
const NAMESPACE: &str = "Oncekey";
/// The environment variable that names the deployment, which is the dimension of every metric.
pub const STACK: &str = "ONCEKEY_STACK";

/// Something that is counted or measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Metric {
    /// A trigger was answered.
    Trigger,
    /// It was answered with a run that was there already: counted beside it.
    CachedHit,
    /// A failed run gave its key up.
    KeyCleared,
    /// A key was reset.
    KeyReset,
    /// A run reached a final status.
    RunEnded(RunStatus),
    /// How long a run message that was due had waited when a worker took it up.
    QueueLatency(Duration),
}

impl Metric {
    /// Its name, unit and value, and the status that is a dimension of it.
    fn datum(self) -> (&'static str, &'static str, u64, Option<RunStatus>) {
        match self {
            Self::Trigger => ("Triggers", "Count", 1, None),
            Self::CachedHit => ("CachedHits", "Count", 1, None),
            Self::KeyCleared => ("KeysCleared", "Count", 1, None),
            Self::KeyReset => ("KeysReset", "Count", 1, None),
            Self::RunEnded(status) => ("RunsEnded", "Count", 1, Some(status)),
            Self::QueueLatency(waited) => {
                ("QueueLatency", "Milliseconds", u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), None)
            }
        }
    }

    fn line(self, stack: &str, now: Timestamp) -> Value {
        let (name, unit, value, status) = self.datum();
        let dimensions = if status.is_some() { json!([["Stack"], ["Stack", "Status"]]) } else { json!([["Stack"]]) };
        let mut line = json!({
            "_aws": {
                "Timestamp": now.millis(),
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": dimensions,
                    "Metrics": [{ "Name": name, "Unit": unit }],
                }],
            },
            "Stack": stack,
        });
        line[name] = json!(value);
        if let Some(status) = status {
            line["Status"] = json!(status);
        }
        line
    }
}

/// Tells CloudWatch of it, if this is a deployment.
pub(crate) fn record(metric: Metric, now: Timestamp) {
    static DEPLOYMENT: OnceLock<Option<String>> = OnceLock::new();
    let deployment = DEPLOYMENT.get_or_init(|| std::env::var(STACK).ok().filter(|name| !name.is_empty()));
    if let Some(stack) = deployment {
        // A metric that cannot be told is no reason for anything to fail.
        let _ = writeln!(std::io::stdout(), "{}", metric.line(stack, now));
    }
}

/// Records how long a message had waited, by SQS's account of when it was sent, or since it was due.
pub fn record_queue_latency(sent_at: Option<Timestamp>, due_at: Option<Timestamp>, now: Timestamp) {
    if let Some(since) = sent_at.max(due_at) {
        record(Metric::QueueLatency(now.since(since)), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_a_line_that_cloudwatch_reads() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        assert_eq!(
            Metric::RunEnded(RunStatus::Failed).line("oncekey", now),
            json!({
                "_aws": {
                    "Timestamp": 1_790_000_000_000_u64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Oncekey",
                        "Dimensions": [["Stack"], ["Stack", "Status"]],
                        "Metrics": [{ "Name": "RunsEnded", "Unit": "Count" }],
                    }],
                },
                "Stack": "oncekey",
                "RunsEnded": 1,
                "Status": "FAILED",
            })
        );
        let waited = Metric::QueueLatency(Duration::from_millis(1_500)).line("oncekey", now);
        assert_eq!(
            (&waited["QueueLatency"], &waited["_aws"]["CloudWatchMetrics"][0]["Dimensions"]),
            (&json!(1_500), &json!([["Stack"]]))
        );
    }
}
