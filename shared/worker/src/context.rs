//! What a task knows of the run it is in, and the verbs it has: keys, children, waits, steps.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oncekey_core::key::{KeyHash, Parent, Scope};
use oncekey_core::request::{Envelope, TriggerBody, TriggerRequest, parse_json};
use oncekey_core::run::{Lineage, TriggerFunction};
use oncekey_core::store::{Journal, WaitRecord};
use oncekey_core::trigger::{Handle, trigger_all};
use oncekey_core::wait::{Suspension, Waiter, await_children, await_time, suspend};
use oncekey_core::{App, EnvironmentId, Error, RequestId, Run, RunId, RunStatus, TaskId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::call::{Call, CallError};
use crate::child::Child;
use crate::error::TaskError;
use crate::key::Key;

/// A wait shorter than this is spent in place: suspending costs three writes and a new invocation.
const IN_PLACE: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a run that waits for a child is kept at least: a child may be delayed by a year, and then run.
const KEPT_WAITING: Duration = Duration::from_secs(396 * 24 * 60 * 60);
/// How long a run that waits for a moment is kept beyond it.
const KEPT_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The largest step result, as JSON.
const MAX_STEP_BYTES: usize = 150 * 1024;

/// The run that a task is executing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    app: App,
    run: Run,
    journal: Journal,
    /// The calls of this attempt before it was suspended last.
    recorded: Vec<Call>,
    /// The calls made since this invocation started.
    calls: Mutex<Vec<Call>>,
    /// Steps that ended in this invocation.
    steps: Mutex<HashMap<String, String>>,
    /// Wake-ups that this invocation knows of.
    wakes: AtomicU32,
    /// Tells the worker that this invocation is over without an outcome.
    halt: UnboundedSender<()>,
}

impl Context {
    /// The context of a run that starts or resumes now.
    pub(crate) async fn of(app: &App, run: &Run, halt: UnboundedSender<()>) -> Result<Self, Error> {
        // On its first way a run has no journal.
        let journal = match (run.attempt, run.resume) {
            (1, 0) => Journal::default(),
            (attempt, _) => app.store.journal(&run.id, attempt).await?,
        };
        let last_wait = journal.waits.iter().max_by_key(|(call, _)| **call).map(|(_, wait)| wait.calls.as_str());
        let recorded = serde_json::from_str(last_wait.unwrap_or("[]"))
            .map_err(|error| Error::Unreadable { what: "a wait's calls".to_owned(), why: error.to_string() })?;
        Ok(Self {
            inner: Arc::new(Inner {
                app: app.clone(),
                run: run.clone(),
                journal,
                recorded,
                calls: Mutex::default(),
                steps: Mutex::default(),
                wakes: AtomicU32::new(run.wakes),
                halt,
            }),
        })
    }

    /// The run's id: the same on every attempt.
    pub fn run_id(&self) -> &RunId {
        &self.inner.run.id
    }

    /// The present attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.run.attempt
    }

    /// The environment the run belongs to.
    pub fn environment(&self) -> &EnvironmentId {
        &self.inner.run.spec.environment
    }

    /// The tags its trigger gave it.
    pub fn tags(&self) -> &[String] {
        &self.inner.run.spec.options.tags
    }

    /// A key for a trigger: `ctx.idempotency_key(["order", &id])`, of scope `run` unless told otherwise.
    pub fn idempotency_key<const N: usize>(&self, parts: impl Into<Parts<N>>) -> Key {
        Key::new(parts.into().0)
    }

    /// Triggers a child and goes on. The same call on a resume gives the same child.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn trigger(&self, child: Child) -> Result<Handle, CallError> {
        let handles = self.start_children("trigger", vec![child], TriggerFunction::Trigger).await?.handles;
        Ok(handles.into_iter().next().ok_or_else(no_child)?)
    }

    /// Triggers up to a thousand children and goes on. Their handles are in the order of the children.
    ///
    /// # Errors
    /// [`CallError`]; children before the one that failed may have been triggered.
    pub async fn batch_trigger(&self, children: Vec<Child>) -> Result<Vec<Handle>, CallError> {
        Ok(self.start_children("batch trigger", children, TriggerFunction::BatchTrigger).await?.handles)
    }

    /// Triggers a child, waits for its end without holding a worker, and returns its output.
    ///
    /// # Errors
    /// [`CallError::Child`] when the child ends otherwise than by success, and the others.
    pub async fn trigger_and_wait<O: DeserializeOwned>(&self, child: Child) -> Result<O, CallError> {
        let task = child.task.clone();
        let started = self.start_children("trigger and wait", vec![child], TriggerFunction::TriggerAndWait).await?;
        let ends = self.ends_of(&started).await?;
        let handle = started.handles.first().ok_or_else(no_child)?;
        output_of(&task, &handle.id, ends.get(&handle.id))
    }

    /// Triggers up to a thousand children, waits for all of them, and returns each one's output or error in its place.
    /// Children that share a key are one run, whose end stands at each of their places.
    ///
    /// # Errors
    /// [`CallError`] when a child could not be triggered.
    pub async fn batch_trigger_and_wait<O: DeserializeOwned>(
        &self,
        children: Vec<Child>,
    ) -> Result<Vec<Result<O, CallError>>, CallError> {
        let tasks: Vec<String> = children.iter().map(|child| child.task.clone()).collect();
        let started =
            self.start_children("batch trigger and wait", children, TriggerFunction::BatchTriggerAndWait).await?;
        let ends = self.ends_of(&started).await?;
        let output = |(task, handle): (&String, &Handle)| output_of(task, &handle.id, ends.get(&handle.id));
        Ok(tasks.iter().zip(&started.handles).map(output).collect())
    }

    /// Asks for a child by a message on the `triggers` queue, for workers that may send to SQS and nothing else. There
    /// is no handle: the child is made when the message is read.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn enqueue_trigger(&self, child: Child) -> Result<(), CallError> {
        let (number, before) = self.next_call(format!("enqueue trigger {}", child.task)).await?;
        if before.is_some() {
            return Ok(());
        }
        let task = child.task_id()?;
        let mut message = child.body(child.hashed_key(self.parent())?.as_ref())?;
        message["options"]["parentRunId"] = json!(self.run_id());
        message.insert("environment".to_owned(), json!(self.environment()));
        message.insert("task".to_owned(), json!(task));
        message.insert("requestId".to_owned(), json!(self.request(number, 0)));
        self.inner.app.queues.send_trigger(&Value::Object(message)).await?;
        Ok(())
    }

    /// Frees a key of a task in this environment, hashed with this run and attempt as a trigger here would hash it.
    /// Whether anybody held it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn reset(&self, task: &str, key: impl Into<Key>) -> Result<bool, CallError> {
        let (_, before) = self.next_call(format!("reset a key of {task}")).await?;
        let task = Child::new(task, ()).task_id()?;
        // Done before the run was suspended: whoever holds the key now shall keep it.
        if before.is_some() {
            return Ok(true);
        }
        let Some(key) = key.into().hashed(self.parent())? else { return Ok(false) };
        match oncekey_core::reset::reset(&self.inner.app, self.environment(), &task, &key.hash).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits without holding a worker, up to a year. Under five seconds it waits in place.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn wait_for(&self, duration: Duration) -> Result<(), CallError> {
        self.wait("wait for a time", |now| now.plus(duration)).await
    }

    /// Waits until a moment without holding a worker, up to a year. Under five seconds it waits in place.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn wait_until(&self, moment: Timestamp) -> Result<(), CallError> {
        self.wait("wait until a time", |_| moment).await
    }

    /// Runs a side effect once per run: its result is recorded, and later attempts and resumes get that instead of
    /// running it again. Should the worker die after the side effect and before it is recorded, it runs again: pass
    /// [`Context::step_key`] to whatever it calls. A name stands for one step of the run.
    ///
    /// # Errors
    /// What the side effect returned, and [`CallError`].
    pub async fn step<T, F>(&self, name: &str, effect: impl FnOnce() -> F) -> Result<T, TaskError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, TaskError>>,
    {
        self.still_ours().await?;
        let earlier =
            self.inner.journal.steps.get(name).cloned().or_else(|| lock(&self.inner.steps).get(name).cloned());
        if let Some(text) = earlier {
            return Ok(typed(&format!("the recorded result of step {name:?}"), &text)?);
        }
        let result = effect().await?;
        let text = serde_json::to_string(&result)?;
        if text.len() > MAX_STEP_BYTES {
            let size = text.len();
            return Err(TaskError::abort(format!(
                "step {name:?}: its result has {size} bytes of JSON; the limit is {MAX_STEP_BYTES} (150 KB)"
            )));
        }
        self.inner.app.store.put_step(self.run_id(), name, &text, self.kept_until(KEPT_AFTER)).await?;
        lock(&self.inner.steps).insert(name.to_owned(), text);
        Ok(result)
    }

    /// A token that is the same on every attempt and resume of this run and differs from any other: the idempotency key
    /// to give an outside API for the step of this name.
    pub fn step_key(&self, name: &str) -> String {
        KeyHash::of(&["step", self.run_id().as_str(), name], Scope::Global, None).to_string()
    }

    fn parent(&self) -> Parent<'_> {
        Parent { run: self.run_id(), attempt: self.attempt() }
    }

    /// The name of the trigger that call `number` makes for its child `index`: the same on a resume.
    fn request(&self, number: u32, index: usize) -> String {
        format!("{}/{}/{number}.{index}", self.run_id(), self.attempt())
    }

    fn waiter(&self, call: u32) -> Waiter {
        Waiter { run: self.run_id().clone(), attempt: self.attempt(), call }
    }

    fn kept_until(&self, after: Duration) -> Timestamp {
        self.inner.app.clock.now().plus(after).max(self.inner.run.spec.kept_until())
    }

    /// Ends this invocation here if the run is not ours any more: it was cancelled, or its lease ran out.
    async fn still_ours(&self) -> Result<(), Error> {
        let run = &self.inner.run;
        let ours = Some((RunStatus::Executing, run.attempt, run.resume));
        if self.inner.app.store.standing(&run.id).await? != ours {
            self.halt().await;
        }
        Ok(())
    }

    /// Gives up this invocation: the worker drops the task where it stands.
    async fn halt(&self) {
        // The worker is listening as long as the task is polled.
        let _ = self.inner.halt.send(());
        std::future::pending().await
    }

    /// Numbers a call; with what it gave before the run was suspended, if it was made then.
    async fn next_call(&self, what: String) -> Result<(u32, Option<Call>), CallError> {
        let (number, before) = {
            let mut calls = lock(&self.inner.calls);
            let before = self.inner.recorded.get(calls.len()).cloned();
            calls.push(before.clone().unwrap_or_else(|| Call { what: what.clone(), children: Vec::new() }));
            (u32::try_from(calls.len()).unwrap_or(u32::MAX), before)
        };
        if let Some(before) = before.as_ref().filter(|before| before.what != what) {
            return Err(CallError::OtherCall { number, now: what, before: before.what.clone() });
        }
        self.still_ours().await?;
        Ok((number, before))
    }

    async fn start_children(
        &self,
        verb: &str,
        children: Vec<Child>,
        function: TriggerFunction,
    ) -> Result<Started, CallError> {
        let mut whats = Vec::with_capacity(children.len());
        let mut triggers = Vec::with_capacity(children.len());
        for child in &children {
            let key = child.hashed_key(self.parent())?;
            whats.push(match &key {
                Some(key) => format!("{} with key {}", child.task, key.shown()),
                None => child.task.clone(),
            });
            triggers.push((child.task_id()?, child.body(key.as_ref())?));
        }
        let (number, before) = self.next_call(format!("{verb} {}", whats.join(", "))).await?;
        if let Some(before) = before {
            return Ok(Started { number, handles: before.children, fresh: false });
        }
        let mut requests = Vec::with_capacity(triggers.len());
        for (index, (task, body)) in triggers.into_iter().enumerate() {
            requests.push(self.request_of(task, &body, self.request(number, index), function)?);
        }
        let triggered = trigger_all(&self.inner.app, requests).await;
        let handles = triggered.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(call) = lock(&self.inner.calls).get_mut(number as usize - 1) {
            call.children.clone_from(&handles);
        }
        Ok(Started { number, handles, fresh: true })
    }

    /// The trigger of a child, through the door that every trigger goes through.
    fn request_of(
        &self,
        task: TaskId,
        body: &Map<String, Value>,
        name: String,
        function: TriggerFunction,
    ) -> Result<TriggerRequest, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::Invalid { field: "payload".to_owned(), message: error.to_string() })?;
        let envelope = Envelope {
            environment: self.environment().clone(),
            task,
            request_id: RequestId::from_caller(&name)?,
            key: None,
            key_ttl: None,
            traceparent: self.inner.run.spec.options.traceparent.clone(),
            now: self.inner.app.clock.now(),
        };
        let mut request = parse_json::<TriggerBody<'_>>(&body)?.check(envelope)?;
        request.lineage = Some(Lineage::of_child(&self.inner.run));
        request.function = function;
        Ok(request)
    }

    /// The children once all are final.
    async fn ends_of(&self, started: &Started) -> Result<HashMap<RunId, Run>, CallError> {
        let ids: BTreeSet<RunId> = started.handles.iter().map(|handle| handle.id.clone()).collect();
        let new = started.fresh && started.handles.iter().all(|handle| !handle.is_cached);
        if !new {
            let ends = self.read(&ids).await?;
            if ends.len() == ids.len() && ends.values().all(|run| run.status.is_final()) {
                return Ok(ends);
            }
        }
        let waiter = self.waiter(started.number);
        let record = WaitRecord {
            calls: self.calls_so_far(started.number)?,
            pending: ids.iter().cloned().collect(),
            due_at: None,
        };
        let mut record = await_children(&self.inner.app, &waiter, record, self.kept_until(KEPT_WAITING)).await?;
        while !record.pending.is_empty() {
            self.suspend(&waiter, self.kept_until(KEPT_WAITING)).await?;
            record = self.inner.app.store.wait(&waiter).await?.unwrap_or_default();
        }
        self.read(&ids).await
    }

    async fn read(&self, ids: &BTreeSet<RunId>) -> Result<HashMap<RunId, Run>, CallError> {
        let ids: Vec<&RunId> = ids.iter().collect();
        let runs = self.inner.app.store.runs(&ids).await?;
        Ok(runs.into_iter().map(|run| (run.id.clone(), run)).collect())
    }

    async fn wait(&self, what: &str, due: impl FnOnce(Timestamp) -> Timestamp) -> Result<(), CallError> {
        let (number, before) = self.next_call(what.to_owned()).await?;
        let app = &self.inner.app;
        let now = app.clock.now();
        let journalled = self.inner.journal.waits.get(&number);
        let due_at = match journalled.and_then(|wait| wait.due_at) {
            Some(due_at) => due_at,
            // Made before another wait, in place: it is over.
            None if before.is_some() => return Ok(()),
            None => due(now),
        };
        if due_at.since(now) > LONGEST_WAIT {
            let message = "a wait is at most 365 days".to_owned();
            return Err(Error::Invalid { field: "wait".to_owned(), message }.into());
        }
        if due_at.since(now) < IN_PLACE {
            app.clock.sleep_until(due_at).await;
            return Ok(());
        }
        let waiter = self.waiter(number);
        let until = due_at.plus(KEPT_AFTER).max(self.inner.run.spec.kept_until());
        if journalled.is_none() {
            let record = WaitRecord { calls: self.calls_so_far(number)?, pending: Vec::new(), due_at: Some(due_at) };
            await_time(app, &waiter, &self.inner.run.spec.queue, record, until).await?;
        }
        while app.clock.now() < due_at {
            self.suspend(&waiter, until).await?;
        }
        Ok(())
    }

    /// Suspends the run, or returns because there was a wake-up meanwhile.
    async fn suspend(&self, waiter: &Waiter, until: Timestamp) -> Result<(), CallError> {
        let seen = self.inner.wakes.load(Ordering::SeqCst);
        match suspend(&self.inner.app, &self.inner.run, waiter, seen, until).await? {
            Suspension::LookAgain { wakes } => self.inner.wakes.store(wakes, Ordering::SeqCst),
            Suspension::Suspended | Suspension::Lost => self.halt().await,
        }
        Ok(())
    }

    /// The calls up to this one, as the journal keeps them.
    fn calls_so_far(&self, number: u32) -> Result<String, CallError> {
        let calls = lock(&self.inner.calls);
        let calls = calls.get(..number as usize).unwrap_or(&calls);
        serde_json::to_string(calls).map_err(|source| CallError::Type { what: "the journal".to_owned(), source })
    }
}

/// Children that were triggered by a call.
struct Started {
    number: u32,
    handles: Vec<Handle>,
    /// Whether they were triggered by this invocation.
    fresh: bool,
}

/// The parts of a key: one text, or an array of them.
#[derive(Debug)]
pub struct Parts<const N: usize>(Vec<String>);

impl From<&str> for Parts<1> {
    fn from(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

impl From<String> for Parts<1> {
    fn from(text: String) -> Self {
        Self(vec![text])
    }
}

impl<const N: usize> From<[&str; N]> for Parts<N> {
    fn from(parts: [&str; N]) -> Self {
        Self(parts.map(str::to_owned).into())
    }
}

fn output_of<O: DeserializeOwned>(task: &str, id: &RunId, run: Option<&Run>) -> Result<O, CallError> {
    let (status, run) = match run {
        Some(run) if run.status == RunStatus::Completed => {
            return typed(&format!("the output of {task}"), run.output.as_deref().unwrap_or("null"));
        }
        Some(run) => (run.status, Some(run)),
        None => (RunStatus::SystemFailure, None),
    };
    let message = match run {
        Some(run) => run.error.as_ref().map_or_else(|| "it has no error".to_owned(), |error| error.message.clone()),
        None => "its record was deleted".to_owned(),
    };
    Err(CallError::Child { task: task.to_owned(), id: id.clone(), status, message })
}

fn typed<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, CallError> {
    serde_json::from_str(text).map_err(|source| CallError::Type { what: what.to_owned(), source })
}

fn no_child() -> Error {
    Error::Invalid { field: "children".to_owned(), message: "there is none".to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
