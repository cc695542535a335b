//! Children of a run: how they are triggered, and how their ends are waited for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use oncekey_core::key::Parent;
use oncekey_core::protocol::keep::expiry;
use oncekey_core::protocol::trigger::{RunHandle, trigger_all};
use oncekey_core::protocol::wait::{await_children, ends_of};
use oncekey_core::request::{Envelope, Parentage, TriggerBody, TriggerRequest, parse_json};
use oncekey_core::run::end::End;
use oncekey_core::run::{KEPT_AT_MOST, Lineage, TriggerFunction};
use oncekey_core::store::StepResult;
use oncekey_core::{Error, IdempotencyKey, RequestId, RunId, RunStatus, TaskId};
use oncekey_wire::Json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::call::{Answer, CallError, Refusal, Wording, returned};
use crate::calls::Open;
use crate::child::Child;
use crate::gate::Pass;
use crate::invocation::Invocation;
use crate::invocation::begin::Begun;
use crate::output;
use crate::patience::until_read;

/// A child, as a call asks for it.
pub(crate) struct Wanted {
    task: String,
    key: Option<IdempotencyKey>,
    body: Result<Json, Error>,
}

impl Wanted {
    /// A child, as the body of a trigger asks for it.
    #[cfg(feature = "host")]
    pub(crate) fn new(task: String, key: Option<IdempotencyKey>, body: &impl Serialize) -> Self {
        Self { task, key, body: written(body) }
    }

    /// A child that cannot be.
    #[cfg(feature = "host")]
    pub(crate) fn refused(task: String, why: Error) -> Self {
        Self { task, key: None, body: Err(why) }
    }

    /// What it is given, as text.
    fn payload(&self) -> String {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            payload: Option<Json>,
        }
        let given = self.body.as_ref().ok().and_then(|body| body.read::<Body>().ok());
        given.and_then(|given| given.payload).map(|payload| payload.to_string()).unwrap_or_default()
    }

    /// A child of a task in Rust.
    pub(crate) fn of(child: &Child, parent: Parent<'_>) -> Self {
        let key = child.hashed_key(parent);
        Self { task: child.task.clone(), body: child.body(key.as_ref()).and_then(|body| written(&body)), key }
    }
}

fn written(body: &impl Serialize) -> Result<Json, Error> {
    Json::of(body).map_err(|error| Error::invalid("payload", error.to_string()))
}

/// What a call says that asks for these children.
pub(crate) fn wording(verb: &str, wanted: &[Wanted]) -> Wording {
    let what = |child: &Wanted| match &child.key {
        Some(key) => format!("{} with key {}", child.task, key.display_text()),
        None => child.task.clone(),
    };
    let whats: Vec<String> = wanted.iter().map(what).collect();
    let given: Vec<String> = wanted.iter().map(Wanted::payload).collect();
    let keys: Option<Vec<&str>> = wanted.iter().map(|child| Some(child.key.as_ref()?.hash.as_str())).collect();
    let key = keys.filter(|keys| !keys.is_empty()).map(|keys| keys.join("\n"));
    Wording::new(&format!("{verb} {}", whats.join(", "))).with(&given.join("\n")).under(key.as_deref())
}

/// Children that were triggered by a call.
pub(crate) struct Started<'a> {
    pub call: Begun<'a>,
    /// Those that were, in their order.
    pub handles: Vec<RunHandle>,
    /// Why the others of a batch were refused, by their place.
    pub refused: BTreeMap<usize, Refusal>,
}

/// Children that have ended.
pub(crate) struct Ended {
    pub handles: Vec<RunHandle>,
    refused: BTreeMap<usize, Refusal>,
    ends: HashMap<RunId, End>,
}

impl Ended {
    /// The children in their places, or why one was refused.
    pub(crate) fn places(&self) -> impl Iterator<Item = Result<&RunHandle, &Refusal>> {
        let mut handles = self.handles.iter();
        let mut place = 0;
        std::iter::from_fn(move || {
            let refused = self.refused.get(&place);
            place += 1;
            refused.map_or_else(|| handles.next().map(Ok), |refusal| Some(Err(refusal)))
        })
    }

    /// How a child ended.
    #[cfg(feature = "host")]
    pub(crate) fn end_of(&self, child: &RunId) -> End {
        self.ends.get(child).cloned().unwrap_or_else(End::unknown)
    }

    /// The output of the child at a place, or the error that its parent gets.
    pub(crate) fn output<O: DeserializeOwned>(&self, task: &str, handle: &RunHandle) -> Result<O, CallError> {
        let unknown = End::unknown();
        let end = self.ends.get(&handle.id).unwrap_or(&unknown);
        // One that completed has an error if what it returned could not be kept.
        if end.status == RunStatus::Completed && (end.error.is_none() || end.output.is_some()) {
            return returned(&format!("the output of {task}"), &end.returned());
        }
        let message = end.error.as_ref().map_or_else(|| "it has no error".to_owned(), |error| error.message.clone());
        Err(CallError::Child { task: task.to_owned(), id: handle.id.clone(), status: end.status, message })
    }
}

/// The only one of a call for one child.
pub(crate) fn only(handles: &[RunHandle]) -> Result<&RunHandle, CallError> {
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
        let wanted: Vec<Wanted> = children.iter().map(|child| Wanted::of(child, self.parent())).collect();
        let call = self.begin(wording(verb, &wanted)).await?;
        self.trigger(call, wanted, function).await
    }

    /// The same for a call that has its number.
    pub(crate) async fn trigger<'a>(
        &'a self,
        call: Begun<'a>,
        wanted: Vec<Wanted>,
        function: TriggerFunction,
    ) -> Result<Started<'a>, CallError> {
        let number = call.number;
        let make = async {
            let is_batch = matches!(function, TriggerFunction::BatchTrigger | TriggerFunction::BatchTriggerAndWait);
            let mut refused = BTreeMap::new();
            // What an item of a batch is itself to blame for is nobody else's error.
            let mut refuse = |place: usize, error: Error| {
                if !is_batch || error.is_transient() {
                    return Err(error);
                }
                refused.insert(place, Refusal::of(&error));
                Ok(())
            };
            let (mut places, mut requests) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
            for (place, wanted) in wanted.into_iter().enumerate() {
                match self.request_of(wanted, self.request(number, place), function) {
                    Ok(request) => {
                        places.push(place);
                        requests.push(request);
                    }
                    Err(error) => refuse(place, error)?,
                }
            }
            let mut children = Vec::with_capacity(requests.len());
            for (place, triggered) in places.into_iter().zip(trigger_all(&self.app, requests).await) {
                match triggered {
                    Ok(triggered) => children.push(triggered.handle),
                    Err(error) => refuse(place, error)?,
                }
            }
            Ok(if refused.is_empty() { Answer::Children(children) } else { Answer::Partly { children, refused } })
        };
        match self.answer(&call, make).await {
            Ok(Answer::Children(handles)) => Ok(Started { call, handles, refused: BTreeMap::new() }),
            Ok(Answer::Partly { children: handles, refused }) => Ok(Started { call, handles, refused }),
            Ok(_) => Ok(Started { call, handles: Vec::new(), refused: BTreeMap::new() }),
            Err(error) => {
                self.give(number, Some(call.pass)).await?;
                Err(error)
            }
        }
    }

    /// The handles of children that are not waited for; or why the first of a batch was refused that was.
    pub(crate) async fn handles_of(&self, started: Started<'_>) -> Result<Vec<RunHandle>, CallError> {
        let Started { call, handles, refused } = started;
        self.give(call.number, Some(call.pass)).await?;
        refused.into_values().next().map_or(Ok(handles), |refusal| Err(Error::from(refusal).into()))
    }

    /// The trigger of a child, through the door that every trigger goes through.
    fn request_of(&self, wanted: Wanted, name: String, function: TriggerFunction) -> Result<TriggerRequest, Error> {
        let (task, body) = (TaskId::parse(&wanted.task)?, wanted.body?);
        let spec = &self.run.spec;
        let request_id = RequestId::from_caller(&name)?;
        let envelope = Envelope {
            traceparent: spec.options.traceparent.clone(),
            ..Envelope::new(spec.environment.clone(), task, request_id, self.app.clock.now())
        };
        let mut request = parse_json::<TriggerBody<'_>>(body.get().as_bytes())?.check(envelope)?;
        request.parentage = Parentage::Known(Lineage::of_child(&self.run));
        request.function = function;
        Ok(request)
    }

    /// How the children ended, once all have.
    pub(crate) async fn ends_of(&self, started: Started<'_>) -> Result<Ended, CallError> {
        let (number, given) = (started.call.number, started.call.given);
        let ended = self.wait_for_ends(started).await;
        self.give_waited(number, given, ended).await
    }

    async fn wait_for_ends<'a>(&'a self, started: Started<'a>) -> Result<(Ended, Pass<'a>), CallError> {
        let Started { call: Begun { number, before, mut pass, pending: _pending, .. }, handles, refused } = started;
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
                let registered =
                    await_children(&self.app, &self.waiter(number), self.run.spec.created_at, &left, expiring).await?;
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
        Ok((Ended { handles, refused, ends }, pass))
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
