//! What a task in a child asks of its run, call by call, through the same doors as a task in Rust.

mod batches;
mod bulk;
mod call;
mod packets;
mod replay;
mod state;
mod tokens;
mod waits;

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use oncekey_core::request::parse_json;
use oncekey_core::run::TriggerFunction;
use oncekey_core::runs::metadata::{Changes, apply};
use oncekey_core::store::KeyAddress;
use oncekey_core::{Error, IdempotencyKey, TaskId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::call::{Answer, Wording};
use crate::calls::Beside;
use crate::family::wording;
use crate::host::api::{ChildCall, Reply};
use crate::host::over::Over;
use crate::host::protocol::ToChild;
use crate::host::verbs::call::{Answered, Calling, OF_KEYS, Refused, ok, own_options, refuse, wanted};
use crate::host::verbs::state::Known;
pub(crate) use crate::host::verbs::state::Verbs;
use crate::invocation::begin::Begun;
use crate::invocation::{Invocation, lock};

impl<'a> Verbs<'a> {
    /// How many answers the child has had.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    /// Counts an answer that the child is about to get, and says before it, once, that from here on it is not a replay.
    fn answering(&self) {
        self.answers.fetch_add(1, Ordering::SeqCst);
        // One that is held needs no place for what it asks for beside its wait: who it waits for may need that.
        if !self.inv.is_held() {
            self.traces.goes_on();
        }
        self.traces.moved();
        if self.inv.has_gone_on() && self.replaying.swap(false, Ordering::SeqCst) {
            self.process.tell(&ToChild::Live);
        }
    }

    /// Answers a call of the child.
    pub(crate) async fn serve(&self, call: ChildCall) -> Result<(), Over> {
        let ChildCall { parts, body, reply } = call;
        let path = parts.uri.path().to_owned();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let name = header("x-trigger-request-idempotency-key").map(|name| format!("{} {path} {name}", parts.method));
        if let Some(name) = &name {
            let mut state = lock(&self.state);
            match state.known.get_mut(name) {
                Some(Known::Answered(status, value)) => {
                    let _ = reply.send(Reply::Answer(*status, value.clone()));
                    return Ok(());
                }
                Some(Known::UnderWay(others)) => {
                    others.push(reply);
                    return Ok(());
                }
                None => drop(state.known.insert(name.clone(), Known::UnderWay(Vec::new()))),
            }
        }
        let call = Calling {
            number: header("x-oncekey-call").and_then(|number| number.parse().ok()),
            at: header("x-oncekey-at").and_then(|at| at.parse().ok()),
            beside: if header("x-oncekey-beside").as_deref() == Some("0") {
                Beside::Nothing
            } else {
                Beside::Something
            },
            told: AtomicBool::new(false),
            host: header("host"),
            token: header("authorization").and_then(|text| Some(text.strip_prefix("Bearer ")?.to_owned())),
            kind: header("content-type"),
            of_keys: OF_KEYS.iter().filter_map(|(name, option)| Some((*option, header(name)?))).collect(),
        };
        let segments: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let answering = Box::pin(self.answer(&parts.method, &segments, &body, &call));
        let in_step = header("x-oncekey-step").is_some_and(|step| !step.is_empty());
        let answered = if in_step { Invocation::within_step(answering).await } else { answering.await };
        let (status, value) = match answered {
            Ok(Some(answered)) => answered,
            Ok(None) => return self.forward(&segments, name, reply).await,
            Err(Refused::Call(status, why)) => (status, Value::from(why)),
            Err(Refused::Over(over)) => return Err(over),
        };
        self.answering();
        let others = name.map(|name| lock(&self.state).known.insert(name, Known::Answered(status, value.clone())));
        if let Some(Some(Known::UnderWay(others))) = others {
            for other in others {
                let _ = other.send(Reply::Answer(status, value.clone()));
            }
        }
        let answer = if status == StatusCode::NO_CONTENT { Reply::Empty } else { Reply::Answer(status, value) };
        let _ = reply.send(answer);
        Ok(())
    }

    /// Sends a call on to the routes that everybody has. The run is not suspended meanwhile.
    async fn forward(&self, path: &[&str], name: Option<String>, reply: oneshot::Sender<Reply>) -> Result<(), Over> {
        let _pass = self.inv.gate.pass().await;
        let (done, is_done) = oneshot::channel();
        let run = &self.inv.run;
        // Not the client's own: a replay of ours would make it another.
        let request = format!("{}/{}/{}", run.id, run.turn.attempt, path.join("/"));
        let request: String = request.chars().take(255).collect();
        let environment = run.spec.environment.clone();
        if let Some(name) = name {
            lock(&self.state).known.remove(&name);
        }
        let _ = reply.send(Reply::Forward { environment, request, done });
        let _ = is_done.await;
        self.answering();
        Ok(())
    }

    /// The answer of a call; `None` if it goes to the routes that everybody has.
    async fn answer(
        &self,
        method: &Method,
        path: &[&str],
        body: &Bytes,
        call: &Calling,
    ) -> Result<Option<(StatusCode, Value)>, Refused> {
        let answered = match (method.as_str(), path) {
            ("POST", ["api", "v1", "tasks", task, "trigger"]) => Box::pin(self.trigger(task, body, call)).await,
            ("POST", ["api", "v3", "batches"]) => Box::pin(self.create_batch(body, call)).await,
            ("POST", ["api", "v3", "batches", id, "items"]) => Box::pin(self.add_items(id, body, call)).await,
            ("POST", ["engine", "v1", "runs", _, "wait", "duration"]) => self.set_timer(body, call).await,
            ("POST", ["api", "v1", "waitpoints", "tokens"]) => Box::pin(self.create_token(body, call)).await,
            ("POST", ["engine", "v1", "runs", _, "waitpoints", "tokens", id, "wait"]) => {
                self.begin_token(id, call).await
            }
            ("POST", ["api", "v1", "idempotencyKeys", key, "reset"]) => self.reset(key, body, call).await,
            ("POST", ["api", "v1", "runs", id, "replay"]) => Box::pin(self.replay(id, body, call)).await,
            ("POST", ["api", "v1", "bulk-actions"]) => Box::pin(self.bulk(body, call)).await,
            ("PUT", ["api", "v2", "packets", path @ ..]) => {
                self.place_packet(call.host.as_deref(), call.token.as_deref(), path)
            }
            ("PUT", ["oncekey", "v1", "packets", _, path @ ..]) => self.take_packet(path, call.kind.as_deref(), body),
            ("POST", ["oncekey", "v1", "steps", name]) => self.begin_step(name).await,
            ("PUT", ["oncekey", "v1", "steps", name]) => self.end_step(name, body).await,
            ("DELETE", ["oncekey", "v1", "steps", name]) => {
                lock(&self.state).steps.remove(*name);
                Ok((StatusCode::NO_CONTENT, Value::Null))
            }
            ("PUT", ["api", "v1", "runs", _, "metadata"]) if self.replaying.load(Ordering::SeqCst) => {
                self.say_again(body)
            }
            ("GET" | "HEAD", _)
            | ("POST", ["api", _, "runs", _, "cancel" | "reschedule"])
            // Of a second completion nothing comes.
            | ("POST", ["api", "v1", "waitpoints", "tokens", _, "complete"])
            | ("PUT", ["api", "v1", "runs", _, "metadata"])
            | ("POST", ["api", "v1", "bulk-actions", _, "abort"])
            | ("POST", ["api", "v1", "runs", _, "tags"]) => return Ok(None),
            _ => refuse(
                StatusCode::NOT_IMPLEMENTED,
                format!("Oncekey does not have {method} /{} inside a task", path.join("/")),
            ),
        };
        answered.map(Some)
    }

    /// What the task said of itself before the run was suspended: it sees that, and it is not stored a second time.
    fn say_again(&self, body: &Bytes) -> Answered {
        let Changes { metadata, operations, parent_operations, root_operations } = Changes::parse(body)?;
        let mut state = lock(&self.state);
        if let Some(all) = metadata {
            state.metadata = all;
        }
        apply(&mut state.metadata, &operations);
        // Who has no relatives says theirs of itself.
        if self.inv.run.spec.lineage.is_none() {
            apply(&mut state.metadata, &parent_operations);
            apply(&mut state.metadata, &root_operations);
        }
        ok(json!({ "metadata": state.metadata }))
    }

    async fn begin(&self, wording: Wording, call: &Calling) -> Result<Begun<'a>, Refused> {
        let parked = || {
            if let Some(number) = call.number
                && !call.told.swap(true, Ordering::SeqCst)
            {
                self.process.tell(&ToChild::Parked { call: number });
            }
        };
        let begun = self.inv.begin_beside(wording, call.beside, parked).await?;
        if self.inv.is_ahead(begun.number) {
            parked();
        }
        Ok(begun)
    }

    async fn trigger(&self, task: &str, body: &Bytes, call: &Calling) -> Answered {
        let mut body: Map<String, Value> = parse_json(body)?;
        let waits = own_options(&mut body);
        call.say_of_keys(&mut body);
        self.unpack(&mut body);
        let wanted = vec![wanted(task.to_owned(), body)?];
        let (verb, function) = match waits {
            true => ("trigger and wait", TriggerFunction::TriggerAndWait),
            false => ("trigger", TriggerFunction::Trigger),
        };
        let begun = self.begin(wording(verb, &wanted), call).await?;
        let started = self.inv.trigger(begun, wanted, function).await?;
        let Some(handle) = started.handles.first().cloned() else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the trigger made no run");
        };
        if waits {
            let mut state = lock(&self.state);
            state.runs.entry(handle.id.to_string()).or_default().push_back((task.to_owned(), started));
        } else {
            self.inv.handles_of(started).await?;
        }
        ok(json!(handle))
    }

    async fn reset(&self, key: &str, body: &Bytes, call: &Calling) -> Answered {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Reset {
            task_identifier: String,
        }
        let reset: Reset = parse_json(body)?;
        let key = IdempotencyKey::from_wire("idempotencyKey", key, None)?;
        let task = TaskId::parse(&reset.task_identifier).map_err(Error::from)?;
        let begun = self.begin(Wording::new(&format!("reset a key of {task}")).with(key.hash.as_str()), call).await?;
        let number = begun.number;
        let make = async {
            let environment = &self.inv.run.spec.environment;
            let address = KeyAddress { environment, place: key.place(&task), hash: &key.hash };
            match oncekey_core::protocol::reset::reset(&self.inv.app, address, key.display_text()).await {
                Ok(()) => Ok(Answer::Held(true)),
                Err(Error::NotFound(_)) => Ok(Answer::Held(false)),
                Err(error) => Err(error.into()),
            }
        };
        let held = self.inv.answer(&begun, make).await;
        self.inv.give(number, Some(begun.pass)).await?;
        match held? {
            Answer::Held(false) => refuse(StatusCode::NOT_FOUND, format!("nobody holds this key of {task}")),
            _ => ok(json!({ "id": key.hash })),
        }
    }

    async fn begin_step(&self, name: &str) -> Answered {
        let pass = self.inv.gate.pass().await;
        if let Some(earlier) = self.inv.finished_step(name).await? {
            return ok(step_result(&earlier));
        }
        self.inv.still_ours().await?;
        lock(&self.state).steps.insert(name.to_owned(), pass);
        Ok((StatusCode::NO_CONTENT, Value::Null))
    }

    async fn end_step(&self, name: &str, body: &Bytes) -> Answered {
        let Some(_pass) = lock(&self.state).steps.remove(name) else {
            return refuse(StatusCode::NOT_FOUND, format!("no step {name:?} is under way"));
        };
        let result: Map<String, Value> = parse_json(body)?;
        let text = Value::Object(result.clone()).to_string();
        match self.inv.finish_step(name, text).await {
            Ok(Some(there)) => ok(step_result(&there)),
            Ok(None) => ok(Value::Object(result)),
            Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, error.message),
        }
    }
}

fn step_result(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(result)) if result.contains_key("outputType") => Value::Object(result),
        // A step of the same name that a task in Rust recorded.
        _ => json!({ "output": text, "outputType": "application/json" }),
    }
}

fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
