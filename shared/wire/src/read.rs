//! A run as a client reads it: one type for every view.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::attempt::Attempt;
use crate::error::RunError;
use crate::json::Json;
use crate::queues::QueueLabel;
use crate::reported::Reported;
use crate::run::{Env, RelatedRuns, RunFields, TriggerFunction};
use crate::schedule::RunSchedule;
use crate::waiting::WaitingFor;

/// A run. What only a retrieved run has, from `depth` on, a list leaves out. What every view has stands in
/// [`Run::fields`] and is read as if it stood here: `run.status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Run {
    /// What every view has.
    #[serde(flatten)]
    pub fields: RunFields,
    /// Its environment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub env: Option<Env>,
    /// Generations between it and its root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub depth: Option<u32>,
    /// The call that triggered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trigger_function: Option<Reported<TriggerFunction>>,
    /// Its attempts, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub attempts: Vec<Attempt>,
    /// What it waits for, if it is suspended or has yet to start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting_for: Option<WaitingFor>,
    /// The queue that its trigger named, or in which it has, or had, a place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<QueueLabel>,
    /// The key that it was given: the limit of its queue holds for the runs of each such key by themselves.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub concurrency_key: Option<String>,
    /// By how many seconds it counts as older than it is, among those that wait for a place, if it was given that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub priority: Option<Number>,
    /// Attempts that have started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt_count: Option<u32>,
    /// Where its family stands.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub related_runs: Option<RelatedRuns>,
    /// The schedule whose tick triggered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schedule: Option<RunSchedule>,
    /// What the task is given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<Json>,
    /// Where that can be got for fifteen minutes, if it is large.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload_presigned_url: Option<String>,
    /// What the task returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<Json>,
    /// Where that can be got for fifteen minutes, if it is large.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_presigned_url: Option<String>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<RunError>,
}

impl Deref for Run {
    type Target = RunFields;

    fn deref(&self) -> &RunFields {
        &self.fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::run::{Family, RelatedRun, RetrievedRun, RunItem};
    use crate::{
        AttemptError, AwaitedPlace, AwaitedRun, BatchId, Generator, RunId, RunStatus, ScheduleId, TaskId, Timestamp,
    };

    /// A run of which everything is said.
    fn full() -> RetrievedRun {
        let id = RunId::parse("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").expect("id");
        let moment = Timestamp::from_millis(1_790_000_000_120);
        let fields = RunFields {
            id,
            status: RunStatus::Expired.into(),
            task_identifier: TaskId::parse("t").expect("task"),
            is_queued: true,
            is_executing: true,
            is_waiting: true,
            is_completed: true,
            is_success: true,
            is_failed: true,
            is_cancelled: true,
            is_test: true,
            created_at: moment,
            updated_at: moment,
            tags: vec!["a".to_owned()],
            cost_in_cents: 0,
            base_cost_in_cents: 0,
            duration_ms: 7,
            idempotency_key: Some("k".to_owned()),
            idempotency_key_expires_at: Some(moment),
            freed_idempotency_key: Some("j".to_owned()),
            batch_id: BatchId::parse("batch_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").ok(),
            started_at: Some(moment),
            finished_at: Some(moment),
            delayed_until: Some(moment),
            ttl: Some("60s".to_owned()),
            expired_at: Some(moment),
            metadata: Some(json!({ "m": 1 })),
            replaced_by: RunId::parse("run_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb").ok(),
            region: Some("r".to_owned()),
        };
        let family = Family { depth: 2, trigger_function: TriggerFunction::TriggerAndWait.into() };
        let related = RelatedRun { run: fields.clone(), family: family.clone() };
        let mut attempt = Attempt::new(1);
        attempt.error = Some(AttemptError::of(&RunError::new("Error", "wrong")));
        (attempt.started_at, attempt.completed_at) = (Some(moment), Some(moment));
        let mut waiting = WaitingFor::default();
        (waiting.until, waiting.run_count) = (Some(moment), 1);
        let queue = QueueLabel::parse("mail").expect("a queue");
        (waiting.worker, waiting.place) = (true, Some(AwaitedPlace::new(queue.clone())));
        waiting.runs = vec![AwaitedRun::new(fields.id.clone(), Some(fields.task_identifier.clone()))];
        RetrievedRun {
            run: fields,
            env: Env::new(crate::EnvironmentId::parse("a/b").expect("environment")),
            family,
            attempts: vec![attempt],
            attempt_count: 3,
            waiting_for: Some(waiting),
            queue: Some(queue),
            concurrency_key: Some("c".to_owned()),
            priority: Some(60.into()),
            related_runs: RelatedRuns {
                root: Some(related.clone()),
                parent: Some(related.clone()),
                children: vec![related],
            },
            schedule: Some(RunSchedule {
                id: ScheduleId::parse(&format!("sched_{}", "a".repeat(32))).expect("a schedule id"),
                external_id: Some("user".to_owned()),
                deduplication_key: Some("k".to_owned()),
                generator: Generator::cron("@daily".to_owned(), "At 00:00.".to_owned()),
            }),
            payload: Json::of(&[1u128 << 100]).ok(),
            payload_presigned_url: Some("https://a".to_owned()),
            output: Json::of(&[2]).ok(),
            output_presigned_url: Some("https://b".to_owned()),
            error: Some(RunError::new("Error", "wrong")),
        }
    }

    fn written(run: &impl Serialize) -> Value {
        serde_json::to_value(run).expect("json")
    }

    #[test]
    fn everything_that_is_written_of_a_run_is_read() {
        let full = full();
        let text = serde_json::to_string(&full).expect("json");
        let read: Run = serde_json::from_str(&text).expect("a run");
        assert_eq!((serde_json::to_value(&read).expect("json"), &read.payload), (written(&full), &full.payload));
        let json = written(&RunItem { run: full.run, env: full.env });
        let read: Run = serde_json::from_value(json.clone()).expect("a run of a list");
        assert_eq!(serde_json::to_value(&read).expect("json"), json);
    }

    #[test]
    fn a_run_of_a_newer_server_is_read() {
        let mut json = written(&full());
        json["status"] = json!("HIBERNATING");
        json["triggerFunction"] = json!("schedule");
        json["isHibernating"] = json!(true);
        let read: Run = serde_json::from_value(json).expect("a run");
        assert_eq!((read.status.known(), read.status.to_string().as_str()), (None, "HIBERNATING"));
    }
}
