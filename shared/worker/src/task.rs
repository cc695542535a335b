//! A task: an async function under an id, with how often it is tried and how long it may take.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oncekey_core::TaskId;
use oncekey_core::cron::Cron;
use oncekey_core::payload::{Payload, PayloadType};
use oncekey_core::run::RunSpec;
use oncekey_core::run::retry::RetryPolicy;
use oncekey_wire::{DeclaredCron, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::TaskError;
use crate::queue::Queue;

/// What a task does: from a context and a payload to what it returns.
pub(crate) type Body = Box<dyn Fn(Context, Payload) -> BoxFuture<'static, Result<Payload, TaskError>> + Send + Sync>;

/// A task that a worker can run.
pub struct Task {
    pub(crate) id: TaskId,
    pub(crate) retry: RetryPolicy,
    pub(crate) max_duration: Option<Duration>,
    pub(crate) queue: Option<Queue>,
    /// When it runs by itself. What its file says is read when it is declared.
    pub(crate) cron: Option<DeclaredCron>,
    /// How much longer than it may take it has, to end by itself.
    pub(crate) grace: Duration,
    body: Body,
}

impl Task {
    /// A task of the given id, whose input and output are JSON.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use oncekey_worker::{Context, Task, TaskError};
    ///
    /// async fn greet(_: Context, name: String) -> Result<String, TaskError> {
    ///     Ok(format!("hello {name}"))
    /// }
    ///
    /// let task = Task::new("greet", greet).max_attempts(5).max_duration(Duration::from_secs(60)).queue("mail");
    /// # let _ = task;
    /// ```
    ///
    /// # Panics
    /// When `id` is not 1 to 128 characters of `A-Z a-z 0-9 _ . : / -`: a worker is set up once, at its start.
    pub fn new<I, O, F>(id: &str, run: impl Fn(Context, I) -> F + Send + Sync + 'static) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Future<Output = Result<O, TaskError>> + Send + 'static,
    {
        let id = match TaskId::parse(id) {
            Ok(id) => id,
            Err(error) => panic!("Task::new({id:?}, …): {error}"),
        };
        let body: Body = Box::new(move |context, input| match typed(&input) {
            Ok(input) => {
                let running = run(context, input);
                async move {
                    let output = Json::of(&running.await?)?;
                    let text = (!output.is_null()).then(|| output.to_string());
                    Ok(Payload { text, kind: PayloadType::Json })
                }
                .boxed()
            }
            Err(refusal) => async move { Err(refusal) }.boxed(),
        });
        Self::of(id, body)
    }

    /// A task of this body.
    pub(crate) fn of(id: TaskId, body: Body) -> Self {
        Self {
            id,
            retry: RetryPolicy::default(),
            max_duration: None,
            queue: None,
            cron: None,
            grace: Duration::ZERO,
            body,
        }
    }

    /// How often and how soon it is tried again. The default is [`RetryPolicy::default`]: 3 attempts, 1 s first.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use oncekey_worker::{Context, RetryPolicy, Task, TaskError};
    /// # async fn greet(_: Context, name: String) -> Result<String, TaskError> {
    /// #     Ok(name)
    /// # }
    /// let policy = RetryPolicy { max_attempts: 10, first_pause: Duration::from_secs(5), ..RetryPolicy::default() };
    /// let task = Task::new("greet", greet).retry(policy);
    /// # let _ = task;
    /// ```
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Attempts in all, at least 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.retry.max_attempts = attempts.max(1);
        self
    }

    /// How long one attempt may take; a longer one ends the run as `TIMED_OUT`. As long as its worker lives by default.
    #[must_use]
    pub fn max_duration(mut self, longest: Duration) -> Self {
        self.max_duration = Some(longest);
        self
    }

    /// The queue of its runs unless their trigger names another: by its name, or with a limit. Where the stack has a queue of that
    /// name, it carries them, and they do not wait behind those of others.
    ///
    /// # Panics
    /// As [`Queue::new`].
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Queue>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// How many of its runs execute at a time, where it shares no [queue](Task::queue); of each concurrency key by itself, where runs
    /// have one. With 0, none starts.
    ///
    /// ```
    /// # use oncekey_worker::{Context, Task, TaskError};
    /// # async fn greet(_: Context, name: String) -> Result<String, TaskError> {
    /// #     Ok(name)
    /// # }
    /// let task = Task::new("greet", greet).concurrency(1);
    /// # let _ = task;
    /// ```
    #[must_use]
    pub fn concurrency(mut self, limit: u32) -> Self {
        self.queue = Some(Queue::of_task(&self.id, Some(limit)));
        self
    }

    /// When it runs by itself: a cron expression of five fields, and the time zone that it is meant in. Each time is one run,
    /// whose payload tells of it. Where it is deployed, or taken up by a local stack, the schedule is there; with the first
    /// deployment that has no such line it goes.
    ///
    /// ```
    /// use oncekey_worker::{Context, Task, TaskError};
    /// use serde_json::Value;
    ///
    /// async fn digest(_: Context, time: Value) -> Result<(), TaskError> {
    ///     println!("the digest of {}", time["timestamp"]);
    ///     Ok(())
    /// }
    ///
    /// let task = Task::new("digest", digest).cron("0 9 * * 1-5", "Europe/Berlin");
    /// # let _ = task;
    /// ```
    ///
    /// # Panics
    /// When `pattern` is no cron expression, or `timezone` no time zone.
    #[must_use]
    pub fn cron(mut self, pattern: &str, timezone: &str) -> Self {
        if let Err(error) = Cron::parse(pattern, timezone) {
            panic!("Task::cron({pattern:?}, {timezone:?}): {error}");
        }
        let timezone = Some(timezone.to_owned());
        self.cron = Some(DeclaredCron { pattern: pattern.to_owned(), timezone, environments: None, window: None });
        self
    }

    /// Attempts that a run of this task has: its trigger's word wins.
    pub(crate) fn attempts_of(&self, spec: &RunSpec) -> u32 {
        spec.options.max_attempts.unwrap_or(self.retry.max_attempts)
    }

    /// How long one attempt of a run may take: its trigger's word wins.
    pub(crate) fn limit_of(&self, spec: &RunSpec) -> Option<Duration> {
        spec.options.max_duration.map(|seconds| Duration::from_secs(seconds.into())).or(self.max_duration)
    }

    pub(crate) fn run(&self, context: Context, input: Payload) -> BoxFuture<'static, Result<Payload, TaskError>> {
        (self.body)(context, input)
    }
}

/// The input of a task. No attempt can mend what cannot be read.
fn typed<I: DeserializeOwned>(payload: &Payload) -> Result<I, TaskError> {
    let json = payload.json().map_err(|error| TaskError::abort(format!("the payload cannot be read: {error}")))?;
    let text = json.as_ref().map_or("null", Json::get);
    serde_json::from_str(text)
        .map_err(|error| TaskError::abort(format!("the payload is not what this task takes: {error}")))
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id).field("retry", &self.retry).finish_non_exhaustive()
    }
}
