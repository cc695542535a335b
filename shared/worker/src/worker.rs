//! A worker: a set of tasks, and what it does with the messages of a run queue.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{LambdaEvent, service_fn};
use oncekey_core::protocol::admit::leave;
use oncekey_core::protocol::declare::declare;
use oncekey_core::protocol::keep::keep_for_retry;
use oncekey_core::protocol::start::{Start, start};
use oncekey_core::queue::batch::{self, Disposition};
use oncekey_core::queue::message::{CompletionEvent, Outcome, RunMessage};
use oncekey_core::queue::name::QueueName;
use oncekey_core::run::RunError;
use oncekey_core::run::retry::RetryPolicy;
use oncekey_core::telemetry::logs;
use oncekey_core::telemetry::metrics::record_queue_latency;
use oncekey_core::{App, Error, Run, RunId, TaskId, Timestamp};
use oncekey_wire::{DeclaredQueue, DeployedTask, EnvironmentId, Manifest, QueueLabel, RequestId, WorkerName};
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::Instrument;

use crate::deployment::ResourceRequest;
use crate::execute::{crashed, execute};
use crate::task::Task;

/// Kept back of an invocation's time to report an attempt that would outlast it.
const TO_REPORT: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Known {
    tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Queues that its code declares beside those of its tasks.
    queues: Vec<DeclaredQueue>,
    /// Why there are none.
    missing: Option<String>,
}

/// What code declares.
#[derive(Debug, Default)]
pub struct Declared {
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// Queues beside those of its tasks.
    pub queues: Vec<DeclaredQueue>,
}

impl<const N: usize> From<[Task; N]> for Declared {
    fn from(tasks: [Task; N]) -> Self {
        Self { tasks: tasks.into(), queues: Vec::new() }
    }
}

/// A set of tasks. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    known: Arc<RwLock<Known>>,
}

impl Worker {
    /// A worker without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task; one of the same id is replaced.
    #[must_use]
    pub fn task(self, task: Task) -> Self {
        self.write().tasks.insert(task.id.clone(), Arc::new(task));
        self
    }

    /// Takes this in place of all that it has, for the runs that it takes up from now on.
    pub fn replace(&self, declared: impl Into<Declared>) {
        let declared = declared.into();
        let tasks = declared.tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect();
        *self.write() = Known { tasks, queues: declared.queues, missing: None };
    }

    /// Has no tasks, for this reason: the runs that it takes up until [`Worker::replace`] fail with it, and are tried again.
    pub fn lose(&self, why: String) {
        *self.write() = Known { missing: Some(why), ..Known::default() };
    }

    /// The tasks that it has.
    #[must_use]
    pub fn ids(&self) -> Vec<TaskId> {
        self.read().tasks.keys().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, task: &TaskId) -> Option<Arc<Task>> {
        self.read().tasks.get(task).cloned()
    }

    /// The queue that carries the runs of each task whose queue may be one that carries runs: what triggers need to know of this worker.
    #[must_use]
    pub fn queues(&self) -> BTreeMap<TaskId, QueueName> {
        let carrier = |task: &Arc<Task>| QueueName::parse(task.queue.as_ref()?.name.as_str());
        self.read().tasks.values().filter_map(|task| Some((task.id.clone(), carrier(task)?))).collect()
    }

    /// What it has, as Oncekey is told.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] when its tasks could not be loaded.
    pub fn manifest(&self) -> Result<Manifest, Error> {
        let Known { tasks, queues, missing } = &*self.read();
        if let Some(why) = missing {
            return Err(Error::Unprocessable(format!("this worker's tasks could not be loaded: {why}")));
        }
        let deployed = |task: &Arc<Task>| {
            let Task { id, queue, cron, .. } = &**task;
            DeployedTask { id: id.clone(), queue: queue.as_ref().map(|queue| queue.name.clone()), cron: cron.clone() }
        };
        let of_tasks = tasks.values().filter_map(|task| task.queue.as_ref()?.declared());
        let mut declared: BTreeMap<QueueLabel, DeclaredQueue> = BTreeMap::new();
        for queue in queues.iter().cloned().chain(of_tasks) {
            let there = declared.entry(queue.name.clone()).or_insert_with(|| queue.clone());
            if there.rate_limit != queue.rate_limit {
                let text = format!("the queue {} has two rates: give it one", queue.name);
                return Err(Error::Unprocessable(text));
            }
            if there.concurrency_limit != queue.concurrency_limit {
                let text = format!(
                    "the queue {} has two limits, {} and {}: give it one",
                    queue.name,
                    told(there.concurrency_limit),
                    told(queue.concurrency_limit)
                );
                return Err(Error::Unprocessable(text));
            }
        }
        Ok(Manifest { tasks: tasks.values().map(deployed).collect(), queues: declared.into_values().collect() })
    }

    /// Tells an environment what it has, as a worker of this name: the schedules that its tasks declare are there from then on.
    /// The same request counts once, and never over a later one.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] and [`Error::Invalid`] for what cannot be declared, [`Error::Aws`] and its like.
    pub async fn declare(
        &self,
        app: &App,
        environment: &EnvironmentId,
        name: &WorkerName,
        request: &RequestId,
    ) -> Result<(), Error> {
        declare(app, environment, name, &self.manifest()?, request).await.map(drop)
    }

    /// Runs as a Lambda function whose event source is a run queue, set up by the environment variables that
    /// [`App::from_env`] names.
    ///
    /// # Errors
    /// What the environment lacks, or what the Lambda runtime reports.
    pub async fn run(self) -> Result<(), lambda_runtime::Error> {
        logs::init();
        self.run_on(&App::from_env().await?).await
    }

    /// The same where logging and the environment have been set up.
    ///
    /// # Errors
    /// What the Lambda runtime reports.
    pub async fn run_on(&self, app: &App) -> Result<(), lambda_runtime::Error> {
        self.run_with(async || app.clone()).await
    }

    /// The same, with what `prepare` gives at the beginning of each invocation.
    ///
    /// # Errors
    /// What the Lambda runtime reports.
    pub async fn run_with(&self, prepare: impl AsyncFn() -> App) -> Result<(), lambda_runtime::Error> {
        let (worker, prepare) = (self, &prepare);
        let handle = |event: LambdaEvent<Box<RawValue>>| async move {
            let app = prepare().await;
            let deadline = deadline(event.context.deadline, app.clock.now());
            Ok::<_, lambda_runtime::Error>(worker.invoke(&app, event.payload.get(), deadline).await?)
        };
        lambda_runtime::run(service_fn(handle)).await
    }

    /// Handles whatever a function is invoked with: run messages, or CloudFormation's question for what it has.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for what is neither, and what keeps it from answering CloudFormation: to be done again.
    pub async fn invoke(&self, app: &App, event: &str, deadline: Timestamp) -> Result<Invoked, Error> {
        if let Some(asked) = ResourceRequest::parse(event) {
            // On the heap: the future of an invocation is large enough without that of what happens once a deployment.
            return Box::pin(asked.carry_out(app, self.manifest())).await.map(Invoked::Deployment);
        }
        let runs = serde_json::from_str(event).map_err(|error| Error::unreadable("an event", error))?;
        Ok(Invoked::Runs(self.handle(app, runs, deadline).await))
    }

    /// Handles one batch of run messages in an invocation that ends at `deadline`.
    pub async fn handle(&self, app: &App, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        batch::each(&app.queues, event, |message| self.attempt(app, message, deadline)).await
    }

    /// Takes a message up. It is acknowledged only after the completion event was accepted.
    async fn attempt(&self, app: &App, message: SqsMessage, deadline: Timestamp) -> Result<Disposition, Error> {
        let asked = RunMessage::parse(message.body.as_deref().unwrap_or_default())?;
        let sent_at = message.attributes.get("SentTimestamp").and_then(|millis| millis.parse().ok());
        record_queue_latency(sent_at.map(Timestamp::from_millis), asked.due_at, app.clock.now());
        let granted = |spec: &_| self.attempts_of(spec);
        let (run, (outcome, children)) = match start(app, &asked, deadline, granted).await? {
            Start::Nothing(disposition) => return Ok(disposition),
            Start::Expired(run) => (run, (Outcome::Expired, Vec::new())),
            Start::Crashed(run) => {
                let outcome = match self.find(&run.spec.task) {
                    Some(task) => crashed(&task, &run, "its worker died, or was stopped, before the attempt ended"),
                    None => self.unknown(&run),
                };
                (run, (outcome, Vec::new()))
            }
            Start::Execute(run) => match self.execute(app, &run, deadline).await? {
                Some(ended) => (run, ended),
                None => {
                    leave(app, &run).await?;
                    return Ok(Disposition::Done);
                }
            },
        };
        if let Some(pause) = outcome.retry_after() {
            keep_for_retry(app, &run, pause).await?;
        }
        let event = CompletionEvent { children, ..CompletionEvent::new(&run, outcome) };
        app.queues.send_completion(&event).await?;
        Ok(Disposition::Done)
    }

    async fn execute(&self, app: &App, run: &Run, deadline: Timestamp) -> Result<Option<(Outcome, Vec<RunId>)>, Error> {
        let Some(task) = self.find(&run.spec.task) else {
            return Ok(Some((self.unknown(run), Vec::new())));
        };
        let left = deadline.since(app.clock.now());
        let stop_at = app.clock.now().plus(left.saturating_sub(TO_REPORT));
        // What the task's own code logs says whose it is. Named as ours, or a filter by crate would leave it out.
        let span = tracing::error_span!(
            target: "oncekey",
            "attempt",
            run_id = %run.id,
            task = %run.spec.task,
            attempt = run.turn.attempt,
            environment = %run.spec.environment,
        );
        execute(app, &task, run, stop_at).instrument(span).await
    }

    fn attempts_of(&self, spec: &oncekey_core::run::RunSpec) -> u32 {
        let default = || spec.options.max_attempts.unwrap_or(RetryPolicy::default().max_attempts);
        self.find(&spec.task).map_or_else(default, |task| task.attempts_of(spec))
    }

    /// A task that is not here may be with the next attempt: a worker that has it may be on its way.
    fn unknown(&self, run: &Run) -> Outcome {
        let pause = RetryPolicy::default().pause_after(run.turn.attempt, self.attempts_of(&run.spec));
        let retry_after_ms = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let Known { tasks, missing, .. } = &*self.read();
        let known = tasks.keys().map(TaskId::as_str).collect::<Vec<_>>().join(", ");
        let error = match missing {
            Some(why) => RunError::new("TasksNotLoaded", &format!("this worker's tasks could not be loaded: {why}")),
            None => {
                let message = format!("this worker has no task {:?}; it has: {known}", run.spec.task.as_str());
                RunError::new("UnknownTask", &message)
            }
        };
        Outcome::Failed { error, retry_after_ms }
    }
}

/// A limit in words.
fn told(limit: Option<u32>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}

/// What an invocation answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Invoked {
    /// Which messages are to come again.
    Runs(SqsBatchResponse),
    /// Nothing: CloudFormation was told.
    Deployment(()),
}

/// When the invocation ends: Lambda tells milliseconds since 1970. `cargo lambda watch` tells ten minutes, from now.
fn deadline(told: u64, now: Timestamp) -> Timestamp {
    /// No invocation lasts longer, so less than this since 1970 is not a moment but a duration.
    const DAY: u64 = 24 * 60 * 60 * 1000;
    if told < DAY {
        return now.plus(Duration::from_millis(told));
    }
    Timestamp::from_millis(i64::try_from(told).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_moment_on_lambda_and_a_duration_at_cargo_lambda() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        assert_eq!(deadline(1_790_000_300_000, now).millis(), 1_790_000_300_000);
        assert_eq!(deadline(600_000, now).millis(), 1_790_000_600_000);
    }
}
