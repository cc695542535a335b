//! Children of a run: how they are triggered, and how their ends are waited for.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use oncekey_core::protocol::trigger::{Handle, trigger_all};
use oncekey_core::protocol::wait::await_children;
use oncekey_core::request::{Envelope, Parentage, TriggerBody, TriggerRequest, parse_json};
use oncekey_core::run::{Lineage, TriggerFunction};
use oncekey_core::store::WaitRecord;
use oncekey_core::{Error, RequestId, Run, RunId, RunStatus, TaskId};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::call::{CallError, typed};
use crate::child::Child;
use crate::invocation::{Invocation, lock};

/// How long a run that waits for a child is kept at least: a child may be delayed by a year, and then run.
const KEPT_WAITING: Duration = Duration::from_secs(396 * 24 * 60 * 60);

/// Children that were triggered by a call.
pub(crate) struct Started {
    pub number: u32,
    pub handles: Vec<Handle>,
    /// Whether they were triggered by this invocation.
    fresh: bool,
}

impl Started {
    /// The only child of a call for one.
    pub(crate) fn only(&self) -> Result<&Handle, CallError> {
        self.handles.first().ok_or_else(|| Error::invalid("children", "there is none").into())
    }
}

impl Invocation {
    /// Triggers children, or finds those that this call triggered before the run was suspended.
    pub(crate) async fn start_children(
        &self,
        verb: &str,
        children: Vec<Child>,
        function: TriggerFunction,
    ) -> Result<Started, CallError> {
        let mut whats = Vec::with_capacity(children.len());
        let mut triggers = Vec::with_capacity(children.len());
        for child in &children {
            let key = child.hashed_key(self.parent());
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
        let triggered = trigger_all(&self.app, requests).await;
        let handles =
            triggered.into_iter().map(|triggered| Ok(triggered?.handle)).collect::<Result<Vec<_>, Error>>()?;
        if let Some(call) = lock(&self.calls).get_mut(number as usize - 1) {
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
        let body = serde_json::to_vec(body).map_err(|error| Error::invalid("payload", error.to_string()))?;
        let spec = &self.run.spec;
        let request_id = RequestId::from_caller(&name)?;
        let envelope = Envelope {
            traceparent: spec.options.traceparent.clone(),
            ..Envelope::new(spec.environment.clone(), task, request_id, self.app.clock.now())
        };
        let mut request = parse_json::<TriggerBody<'_>>(&body)?.check(envelope)?;
        request.parentage = Parentage::Known(Lineage::of_child(&self.run));
        request.function = function;
        Ok(request)
    }

    /// The children once all are final.
    pub(crate) async fn ends_of(&self, started: &Started) -> Result<HashMap<RunId, Run>, CallError> {
        let ids: BTreeSet<RunId> = started.handles.iter().map(|handle| handle.id.clone()).collect();
        let new = started.fresh && started.handles.iter().all(|handle| !handle.is_cached);
        if !new {
            let ends = self.read(&ids).await?;
            if ends.len() == ids.len() && ends.values().all(|run| run.status.is_final()) {
                return self.with_outputs(ends).await;
            }
        }
        let waiter = self.waiter(started.number);
        let record = WaitRecord {
            calls: self.calls_so_far(started.number)?,
            pending: ids.iter().cloned().collect(),
            due_at: None,
        };
        let mut record = await_children(&self.app, &waiter, record, self.kept_until(KEPT_WAITING)).await?;
        while !record.pending.is_empty() {
            self.suspend(&waiter, self.kept_until(KEPT_WAITING)).await?;
            record = self.app.store.wait(&waiter).await?.unwrap_or_default();
        }
        self.with_outputs(self.read(&ids).await?).await
    }

    /// Fetches the outputs that were too large to be kept in their runs.
    async fn with_outputs(&self, mut ends: HashMap<RunId, Run>) -> Result<HashMap<RunId, Run>, CallError> {
        for run in ends.values_mut() {
            if let Some(path) = &run.stored_output {
                let stored = self.app.blobs.get(&run.spec.environment, path).await?;
                let stored =
                    stored.ok_or_else(|| Error::NotFound(format!("the output of {} is not in the store", run.id)))?;
                run.output = stored.text;
            }
        }
        Ok(ends)
    }

    async fn read(&self, ids: &BTreeSet<RunId>) -> Result<HashMap<RunId, Run>, CallError> {
        let ids: Vec<&RunId> = ids.iter().collect();
        let runs = self.app.store.runs(&ids).await?;
        Ok(runs.into_iter().map(|run| (run.id.clone(), run)).collect())
    }
}

/// A child's output, or the error that its parent gets.
pub(crate) fn output_of<O: DeserializeOwned>(task: &str, id: &RunId, run: Option<&Run>) -> Result<O, CallError> {
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
