//! What a host and its child say to each other: a line of JSON each, as `shared/node/PROTOCOL.md` has them.

use std::time::Duration;

use oncekey_core::TaskId;
use oncekey_core::run::retry::RetryPolicy;
use oncekey_wire::{DeclaredCron, DeclaredQueue, MAX_CONCURRENCY, QueueLabel, RateLimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::queue::{Limit, Queue};

/// The version of the protocol that this host speaks.
pub(crate) const PROTOCOL: u32 = 3;

/// What a child says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(crate) enum FromChild {
    /// Its files are imported.
    Ready {
        #[serde(default)]
        protocol: u32,
        tasks: Vec<Manifest>,
        /// The queues that its files declare.
        #[serde(default)]
        queues: Vec<QueueManifest>,
    },
    /// Nothing can run in it.
    Failed { error: Described },
    /// The task is about to do what would be done again by another execution; or a recorded fetch turned out to be that.
    Effect {
        what: String,
        #[serde(default)]
        fetching: Option<u64>,
    },
    /// A recorded fetch begins.
    Fetching { id: u64, what: String },
    /// It is over.
    Recorded { id: u64, record: Value },
    /// The task waits.
    Wait {
        id: u64,
        #[serde(flatten)]
        what: WaitFor,
    },
    /// Nothing but what is parked keeps it going.
    Stalled {
        #[serde(default)]
        calls: Vec<u64>,
        #[serde(default)]
        fetches: Vec<String>,
        #[serde(default)]
        unmade: Vec<String>,
        #[serde(default)]
        held: Vec<String>,
    },
    /// It was asked to look: so many answers and calls are on their way to or from it.
    Looked { look: u64, open: u64 },
    /// The run is over.
    Result { result: Ended },
    /// The process is.
    Died { event: String, error: Described },
}

/// What a task waits for.
#[derive(Debug, Deserialize)]
#[serde(tag = "for", rename_all = "lowercase")]
pub(crate) enum WaitFor {
    /// The end of a run.
    Run { run: String },
    /// The ends of a batch's runs.
    Batch { batch: String },
    /// A moment.
    Waitpoint { waitpoint: String },
}

/// A task, as its file registered it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub id: String,
    #[serde(default)]
    pub file_path: String,
    #[serde(default)]
    pub queue: Option<QueueManifest>,
    #[serde(default)]
    pub retry: Option<RetryManifest>,
    #[serde(default)]
    pub max_duration: Option<f64>,
    /// When the task's file declares it to run by itself.
    #[serde(default)]
    pub cron: Option<DeclaredCron>,
}

impl Manifest {
    /// Its id, if it is one.
    pub(crate) fn id(&self) -> Result<TaskId, String> {
        TaskId::parse(&self.id).map_err(|error| format!("{}: {:?}: {error}", self.file_path, self.id))
    }

    /// The queue of its runs.
    pub(crate) fn queue(&self, task: &TaskId) -> Result<Option<Queue>, String> {
        let Some(queue) = &self.queue else { return Ok(None) };
        let limit = queue.limit(&self.file_path)?;
        let Some(name) = &queue.name else {
            return Ok(Some(Queue { rate: queue.rate_limit.clone(), ..Queue::of_task(task, limit) }));
        };
        let name = QueueLabel::parse(name).map_err(|error| format!("{}: {name:?}: {error}", self.file_path))?;
        let limit = limit.map_or(Limit::Unsaid, |limit| Limit::Said(Some(limit)));
        Ok(Some(Queue { name, limit, rate: queue.rate_limit.clone() }))
    }

    /// How long an attempt may take; a part of a second counts as a whole one.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.max_duration.filter(|seconds| *seconds > 0.0).and_then(|s| Duration::try_from_secs_f64(s.ceil()).ok())
    }

    /// How often and how soon it is tried again when it could not say so itself.
    pub(crate) fn policy(&self) -> RetryPolicy {
        let default = RetryPolicy::default();
        let Some(retry) = &self.retry else { return default };
        let millis = |millis: f64| Duration::try_from_secs_f64(millis / 1000.0).ok();
        RetryPolicy {
            max_attempts: retry.max_attempts.unwrap_or(default.max_attempts).max(1),
            factor: retry.factor.filter(|factor| *factor >= 1.0).unwrap_or(default.factor),
            first_pause: retry.min_timeout_in_ms.and_then(millis).unwrap_or(default.first_pause),
            max_pause: retry.max_timeout_in_ms.and_then(millis).unwrap_or(default.max_pause),
            randomised: retry.randomize.unwrap_or(default.randomised),
        }
    }
}

/// A task's queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueManifest {
    #[serde(default)]
    pub name: Option<String>,
    /// How many of its runs execute at a time.
    #[serde(default)]
    pub concurrency_limit: Option<f64>,
    /// How often attempts of its runs start.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
}

impl QueueManifest {
    /// What is declared of it, if its limit is said.
    pub(crate) fn declared(&self) -> Result<Option<DeclaredQueue>, String> {
        let Some(name) = &self.name else { return Ok(None) };
        let label = QueueLabel::parse(name).map_err(|error| format!("queue {name:?}: {error}"))?;
        let limit = self.limit(&format!("queue {name:?}"))?;
        let is_said = limit.is_some() || self.rate_limit.is_some();
        let rate_limit = self.rate_limit.clone();
        Ok(is_said.then_some(DeclaredQueue { name: label, concurrency_limit: limit, rate_limit }))
    }

    /// Its limit; `file` says where.
    pub(crate) fn limit(&self, file: &str) -> Result<Option<u32>, String> {
        let Some(limit) = self.concurrency_limit else { return Ok(None) };
        if limit.fract() == 0.0 && (0.0..=f64::from(MAX_CONCURRENCY)).contains(&limit) {
            return Ok(Some(limit as u32));
        }
        Err(format!(
            "{file}: concurrencyLimit: {limit} is out of range: give a whole number from 0 to {MAX_CONCURRENCY}"
        ))
    }
}

/// A task's retries; what is left out is as for tasks in Rust.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RetryManifest {
    pub max_attempts: Option<u32>,
    pub factor: Option<f64>,
    pub min_timeout_in_ms: Option<f64>,
    pub max_timeout_in_ms: Option<f64>,
    pub randomize: Option<bool>,
}

/// An error in words.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Described {
    #[serde(default)]
    pub name: String,
    pub message: String,
    #[serde(default)]
    pub stack: Option<String>,
}

/// How a run ended.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    pub ok: bool,
    #[serde(default)]
    pub output: Option<String>,
    #[serde(default)]
    pub output_type: Option<String>,
    #[serde(default)]
    pub error: Option<TaskRunError>,
    #[serde(default)]
    pub retry: Option<RetryAfter>,
}

/// When it is tried again.
#[derive(Debug, Deserialize)]
pub(crate) struct RetryAfter {
    /// Milliseconds.
    pub delay: f64,
}

/// An error in one of the SDK's four shapes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskRunError {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub stack_trace: Option<String>,
    /// Of what was thrown and is not an error, its JSON or its text.
    #[serde(default)]
    pub raw: Option<String>,
    #[serde(default)]
    pub code: Option<String>,
}

/// What a host says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(crate) enum ToChild<'a> {
    /// Carry this run out.
    Run {
        execution: &'a Value,
        worker: &'a Value,
        retries: &'a Value,
        replaying: bool,
        record: bool,
        exchanges: &'a [Value],
    },
    /// A wait is over.
    Waited { id: u64, result: &'a Value },
    /// A wait cannot be had.
    #[serde(rename = "waited")]
    Refused { id: u64, refused: &'a str },
    /// From here on it is not a replay.
    Live,
    /// This call waits until those of the journal were made again.
    Parked { call: u64 },
    /// Say what is under way, once all that was told before is heard, and what follows from it has begun.
    Look { look: u64 },
    /// Let the run end.
    Cancel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_understood() {
        let wait: FromChild =
            serde_json::from_str(r#"{"type":"wait","id":1,"for":"batch","batch":"b","count":2}"#).expect("a wait");
        assert!(matches!(wait, FromChild::Wait { id: 1, what: WaitFor::Batch { batch } } if batch == "b"));
        let ended: FromChild = serde_json::from_str(
            r#"{"type":"result","run":"r","result":{"ok":false,"error":{"type":"STRING_ERROR","raw":"no"},"retry":{"timestamp":1,"delay":7}}}"#,
        )
        .expect("a result");
        assert!(
            matches!(ended, FromChild::Result { result: Ended { ok: false, retry: Some(RetryAfter { delay }), .. } } if delay == 7.0)
        );
    }

    #[test]
    fn a_refusal_is_a_wait_that_is_over() {
        let text = serde_json::to_string(&ToChild::Refused { id: 3, refused: "no" }).expect("json");
        assert_eq!(text, r#"{"type":"waited","id":3,"refused":"no"}"#);
    }
}
