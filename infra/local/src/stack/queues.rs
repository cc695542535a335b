//! The stack's queues: what they are called, how they are set up, and where they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName;
use oncekey_core::TaskId;
use oncekey_core::queue::QueueUrls;
use oncekey_core::queue::name::QueueName;
use oncekey_worker::Worker;
use serde_json::json;

use crate::aws::sqs::QueueSettings;
use crate::error::StackError;
use crate::stack::options::{FUNCTION_TIMEOUT, Options};

/// A queue's visibility timeout, as a multiple of its function's timeout: what AWS recommends.
pub(crate) const VISIBILITY_FACTOR: u32 = 6;
/// How often a message is received from a queue before it is dead-lettered.
const MAX_RECEIVES: u32 = 20;
/// The account of every SQS that is not AWS's.
const ACCOUNT: &str = "000000000000";

/// The queues of one stack.
pub(crate) struct StackQueues {
    prefix: String,
    /// The names of the queues for runs, as triggers give them.
    for_runs: BTreeSet<QueueName>,
    of_task: BTreeMap<TaskId, QueueName>,
    worker_timeout: Duration,
}

impl StackQueues {
    /// The default queue for runs, those that were asked for, and those that tasks have; and the others.
    pub(crate) fn of(options: &Options, worker: &Worker) -> Self {
        let of_task = worker.queues();
        let asked = options.queues.iter().map(|queue| queue.name.clone());
        let for_runs = [QueueName::default()].into_iter().chain(asked).chain(of_task.values().cloned());
        Self {
            prefix: options.prefix.clone(),
            for_runs: for_runs.collect(),
            of_task,
            worker_timeout: options.worker_timeout,
        }
    }

    /// The queue of completion events of the stack whose names begin so.
    pub(crate) fn completions_of(prefix: &str) -> String {
        format!("{prefix}-completions")
    }

    fn name(&self, end: &str) -> String {
        format!("{}-{end}", self.prefix)
    }

    fn run_queue(&self, name: &QueueName) -> String {
        if *name == QueueName::default() { self.name("runs") } else { self.name(&format!("runs-{name}")) }
    }

    /// The names of the queues for runs, as triggers give them.
    pub(crate) fn for_runs(&self) -> impl Iterator<Item = QueueName> {
        self.for_runs.iter().cloned()
    }

    /// How each is set up; dead-letter queues come before those that they serve.
    pub(crate) fn settings(&self) -> Vec<QueueSettings> {
        let queue = |name: String, timeout: Duration, redrive: Option<(u32, &str)>| QueueSettings {
            name,
            visibility_timeout: timeout * VISIBILITY_FACTOR,
            redrive: redrive.map(|(most, dead)| (most, self.name(dead))),
        };
        let mut settings = vec![
            queue(self.name("runs-dead"), self.worker_timeout, None),
            queue(self.name("triggers-dead"), FUNCTION_TIMEOUT, None),
            queue(self.name("completions-dead"), FUNCTION_TIMEOUT, None),
            queue(self.name("triggers"), FUNCTION_TIMEOUT, Some((MAX_RECEIVES, "triggers-dead"))),
            queue(Self::completions_of(&self.prefix), FUNCTION_TIMEOUT, Some((MAX_RECEIVES, "completions-dead"))),
        ];
        let of_runs =
            |name: &QueueName| queue(self.run_queue(name), self.worker_timeout, Some((MAX_RECEIVES, "runs-dead")));
        settings.extend(self.for_runs.iter().map(of_runs));
        settings
    }

    /// Makes those that are not there yet at an SQS API of somebody else's.
    pub(crate) async fn create(&self, sqs: &Client) -> Result<(), StackError> {
        for QueueSettings { name, visibility_timeout, redrive } in self.settings() {
            let mut attributes =
                HashMap::from([(QueueAttributeName::VisibilityTimeout, visibility_timeout.as_secs().to_string())]);
            if let Some((most, dead)) = redrive {
                let arn = format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{dead}");
                let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": most });
                attributes.insert(QueueAttributeName::RedrivePolicy, policy.to_string());
            }
            let created = sqs.create_queue().queue_name(&name).set_attributes(Some(attributes)).send().await;
            created.map_err(|error| StackError::Sqs(format!("{name}: {}", DisplayErrorContext(error))))?;
        }
        Ok(())
    }

    /// Where they are, at the SQS API at `sqs`.
    pub(crate) fn urls(&self, sqs: &str) -> QueueUrls {
        let url = |name: String| format!("{}/{ACCOUNT}/{name}", sqs.trim_end_matches('/'));
        QueueUrls {
            runs: self.for_runs.iter().map(|name| (name.clone(), url(self.run_queue(name)))).collect(),
            of_task: self.of_task.clone(),
            runs_dead_letter: url(self.name("runs-dead")),
            triggers: url(self.name("triggers")),
            triggers_dead_letter: url(self.name("triggers-dead")),
            completions: url(Self::completions_of(&self.prefix)),
            completions_dead_letter: url(self.name("completions-dead")),
        }
    }
}
