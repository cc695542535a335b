//! What a task in a child waits for: the child says so apart from the call that made it.

use std::collections::VecDeque;

use axum::body::Bytes;
use oncekey_core::protocol::trigger::RunHandle;
use oncekey_core::request::parse_json;
use oncekey_core::run::end::End;
use oncekey_core::{Error, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{CallError, Refusal, Wording};
use crate::error::TaskError;
use crate::host::over::Over;
use crate::host::protocol::{ToChild, WaitFor};
use crate::host::verbs::call::{Answered, Calling, ok};
use crate::host::verbs::state::Verbs;
use crate::invocation::lock;

impl Verbs<'_> {
    pub(super) async fn set_timer(&self, body: &Bytes, call: &Calling) -> Answered {
        #[derive(Deserialize)]
        struct Wait {
            date: String,
        }
        let wait: Wait = parse_json(body)?;
        let date = Timestamp::parse(&wait.date).map_err(Error::from)?;
        let distance = self.distance(date, call);
        let wording = Wording::new("wait for a time").with(&wait.date).with(&format!("{distance} s"));
        let begun = self.begin(wording, call).await?;
        let id = format!("waitpoint_{}_{}", self.inv.run.turn.attempt, begun.number);
        let timer = self.inv.set_timer(begun, |_| date).await?;
        let until = timer.due_at.to_string();
        lock(&self.state).timers.insert(id.clone(), timer);
        ok(json!({ "waitUntil": until, "waitpoint": { "id": id } }))
    }

    /// How many seconds away a moment was when the child named it.
    pub(super) fn distance(&self, date: Timestamp, call: &Calling) -> f64 {
        let asked_at = call.at.map_or_else(|| self.inv.app.clock.now(), Timestamp::from_millis);
        date.since(asked_at).as_secs_f64().round()
    }

    /// Waits for what the child waits for, and tells it.
    pub(crate) async fn wait(&self, id: u64, what: WaitFor) -> Result<(), Over> {
        let waited = match &what {
            WaitFor::Run { run } => self.wait_for_run(run).await,
            WaitFor::Batch { batch } => self.wait_for_batch(batch).await,
            WaitFor::Waitpoint { waitpoint } => match self.wait_for_token(waitpoint).await {
                Ok(None) => self.wait_for_timer(waitpoint).await,
                waited => waited.map(Option::unwrap_or_default),
            },
        };
        match waited {
            Ok(result) => {
                self.answering();
                self.process.tell(&ToChild::Waited { id, result: &result });
                Ok(())
            }
            Err(refused @ CallError::NotHeld { .. }) => {
                self.answering();
                self.process.tell(&ToChild::Refused { id, refused: &refused.to_string() });
                Ok(())
            }
            Err(CallError::Oncekey(error)) if !error.is_transient() => {
                self.answering();
                self.process.tell(&ToChild::Refused { id, refused: &error.to_string() });
                Ok(())
            }
            Err(error) if error.may_pass() => Err(Over::Broken(TaskError::new(error.to_string()))),
            Err(error) => Err(Over::Broken(TaskError::abort(error.to_string()))),
        }
    }

    async fn wait_for_run(&self, run: &str) -> Result<Value, CallError> {
        let started = lock(&self.state).runs.get_mut(run).and_then(VecDeque::pop_front);
        let (task, started) = started.ok_or_else(|| not_ours(run))?;
        let ended = self.inv.ends_of(started).await?;
        let handle = ended.handles.first().ok_or_else(|| not_ours(run))?;
        Ok(ended.end_of(&handle.id).result(run, &task))
    }

    async fn wait_for_batch(&self, batch: &str) -> Result<Value, CallError> {
        let started = lock(&self.state).batches.remove(batch);
        let (tasks, started) = started.ok_or_else(|| not_ours(batch))?;
        let ended = self.inv.ends_of(started).await?;
        let item = |(index, place): (usize, Result<&RunHandle, &Refusal>)| {
            let task = tasks.get(index).map_or("", String::as_str);
            match place {
                Ok(handle) => ended.end_of(&handle.id).result(handle.id.as_str(), task),
                // It made no run.
                Err(refusal) => End::refused(&Error::from(refusal.clone()).to_string()).result("", task),
            }
        };
        let items: Vec<Value> = ended.places().enumerate().map(item).collect();
        Ok(json!({ "id": batch, "items": items }))
    }

    async fn wait_for_timer(&self, waitpoint: &str) -> Result<Value, CallError> {
        let timer = lock(&self.state).timers.remove(waitpoint).ok_or_else(|| not_ours(waitpoint))?;
        self.inv.wait_for_timer(timer).await?;
        Ok(json!({ "ok": true, "id": waitpoint }))
    }
}

fn not_ours(what: &str) -> CallError {
    Error::invalid("wait", format!("this run has nothing that it could wait for by the name {what}")).into()
}
