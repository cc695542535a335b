//! Children of a run: how they are triggered, and how their ends are waited for.

use std::collections::{BTreeSet, HashMap};

use oncekey_core::protocol::keep::expiry;
use oncekey_core::protocol::trigger::{Handle, trigger_all};
use oncekey_core::protocol::wait::{await_children, ends_of};
use oncekey_core::request::{Envelope, Parentage, TriggerBody, TriggerRequest, parse_json};
use oncekey_core::run::end::End;
use oncekey_core::run::{KEPT_AT_MOST, Lineage, TriggerFunction};
use oncekey_core::store::StepResult;
use oncekey_core::{Error, RequestId, RunId, RunStatus, TaskId};
use serde::de::DeserializeOwned;

use crate::call::{Answer, CallError, typed};
use crate::calls::Open;
use crate::child::Child;
use crate::gate::Pass;
use crate::invocation::{Begun, Invocation};
use crate::output;
use crate::patience::until_read;

/// Children that were triggered by a call.
pub(crate) struct Started<'a> {
    call: Begun<'a>,
    pub handles: Vec<Handle>,
}

/// Children that have ended.
pub(crate) struct Ended {
    pub handles: Vec<Handle>,
    ends: HashMap<RunId, End>,
}

impl Ended {
    /// The output of the child at a place, or the error that its parent gets.
    pub(crate) fn output<O: DeserializeOwned>(&self, task: &str, handle: &Handle) -> Result<O, CallError> {
        let unknown = End::unknown();
        let end = self.ends.get(&handle.id).unwrap_or(&unknown);
        // One that completed has an error if what it returned could not be kept.
        if end.status == RunStatus::Completed && (end.error.is_none() || end.output.is_some()) {
            return typed(&format!("the output of {task}"), end.output.as_deref().unwrap_or("null"));
        }
        let message = end.error.as_ref().map_or_else(|| "it has no error".to_owned(), |error| error.message.clone());
        Err(CallError::Child { task: task.to_owned(), id: handle.id.clone(), status: end.status, message })
    }
}

/// The only one of a call for one child.
pub(crate) fn only(handles: &[Handle]) -> Result<&Handle, CallError> {
    handles.first().ok_or_else(|| Error::invalid("children", "there is none").into())
}

impl Invocation {
    /// Triggers children, or finds those that this call triggered before the run was suspended.
    pub(crate) async fn start_children(
        &self,
        verb: &str,
        children: Vec<Child>,
        function: TriggerFunction,
    ) -> Result<Started<'_>, CallError> {
        let mut whats = Vec::with_capacity(children.len());
        let mut triggers = Vec::with_capacity(children.len());
        for child in &children {
            let key = child.hashed_key(self.parent());
            whats.push(match &key {
                Some(key) => format!("{} with key {}", child.task, key.shown()),
                None => child.task.clone(),
            });
            triggers.push((child.task.clone(), child.body(key.as_ref())));
        }
        let call = self.begin(&format!("{verb} {}", whats.join(", "))).await?;
        let number = call.number;
        let make = async {
            let mut requests = Vec::with_capacity(triggers.len());
            for (index, (task, body)) in triggers.into_iter().enumerate() {
                requests.push(self.request_of(
                    TaskId::parse(&task).map_err(Error::from)?,
                    &body?,
                    self.request(number, index),
                    function,
                )?);
            }
            let triggered = trigger_all(&self.app, requests).await;
            let handles =
                triggered.into_iter().map(|triggered| Ok(triggered?.handle)).collect::<Result<Vec<_>, Error>>()?;
            Ok(Answer::Children(handles))
        };
        match self.answer(&call, make).await {
            Ok(Answer::Children(handles)) => Ok(Started { call, handles }),
            Ok(_) => Ok(Started { call, handles: Vec::new() }),
            Err(error) => {
                self.give(number, Some(call.pass)).await;
                Err(error)
            }
        }
    }

    /// The handles of children that are not waited for.
    pub(crate) async fn handles_of(&self, Started { call, handles }: Started<'_>) -> Vec<Handle> {
        self.give(call.number, Some(call.pass)).await;
        handles
    }

    /// The trigger of a child, through the door that every trigger goes through.
    fn request_of(
        &self,
        task: TaskId,
        body: &oncekey_wire::TriggerBody,
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

    /// How the children ended, once all have.
    pub(crate) async fn ends_of(&self, started: Started<'_>) -> Result<Ended, CallError> {
        let (number, given) = (started.call.number, started.call.given);
        let ended = self.wait_for_ends(started).await;
        self.told(number, given, ended).await
    }

    async fn wait_for_ends<'a>(&'a self, started: Started<'a>) -> Result<(Ended, Pass<'a>), CallError> {
        let Started { call: Begun { number, before, mut pass, .. }, handles } = started;
        let ids: BTreeSet<RunId> = handles.iter().map(|handle| handle.id.clone()).collect();
        let known = self.journal.waits.get(&number);
        let mut ends: HashMap<RunId, End> = self.calls().ends(number).into_iter().collect();
        ends.extend(known.map(|wait| wait.ends.clone()).unwrap_or_default());
        let seen = self.wakes();
        let new = before.answer.is_none() && handles.iter().all(|handle| !handle.is_cached);
        let registered = known.is_some_and(|wait| !wait.pending.is_empty());
        if !new && !registered {
            self.look_for(number, &ids, &mut ends).await?;
        }
        let left: Vec<RunId> = ids.iter().filter(|id| !ends.contains_key(*id)).cloned().collect();
        if !left.is_empty() {
            let until = self.app.clock.now().plus(KEPT_AT_MOST);
            let open = self.open(number, Open { due_at: None, until, seen, sent: true })?;
            if !registered {
                let expiring = expiry(until);
                let registered = await_children(&self.app, &self.waiter(number), &left, expiring).await?;
                self.note_expiry(registered.items, expiring);
                ends.extend(registered.ends);
            }
            while !ids.iter().all(|id| ends.contains_key(id)) {
                drop(pass);
                pass = self.suspend(number).await?;
                let seen = self.wakes();
                let waiter = self.waiter(number);
                let wait = until_read(&self.app, || self.app.store.wait(&waiter)).await?;
                ends.extend(wait.ends);
                if wait.pending.is_empty() {
                    // Taken out by an older version, which did not tell the end.
                    self.look_for(number, &ids, &mut ends).await?;
                }
                self.looked(number, seen);
            }
            drop(open);
        }
        for end in ends.values_mut() {
            if let Some(path) = end.stored_output.take() {
                let stored = StepResult::Stored(path);
                let fetch = || output::fetch(&self.app, &self.run.spec.environment, stored.clone());
                end.output = Some(until_read(&self.app, fetch).await?);
            }
        }
        Ok((Ended { handles, ends }, pass))
    }

    /// Adds the ends of those of `ids` that have ended, and notes them for the journal.
    async fn look_for(
        &self,
        number: u32,
        ids: &BTreeSet<RunId>,
        ends: &mut HashMap<RunId, End>,
    ) -> Result<(), CallError> {
        let missing: Vec<RunId> = ids.iter().filter(|id| !ends.contains_key(*id)).cloned().collect();
        let found = until_read(&self.app, || ends_of(&self.app, &missing)).await?;
        if !found.is_empty() {
            self.calls().note(number, |call| call.ends.extend(found.clone()));
        }
        ends.extend(found);
        Ok(())
    }
}
