//! What becomes of a message, and of a call: whether it arrives, what it does, and whether its answer does.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use serde_json::{Value, json};

use super::watch::{moment, text};
use super::{End, MAX_AT_WORK, Mutant, Work, World};
use crate::network::{Pending, Process};
use crate::queue::{COMPLETIONS, RUNS};

/// How long an invocation of the worker may take.
const WORKER_TIMEOUT: Duration = Duration::from_secs(30);

impl World<'_> {
    /// Has a message received, and its function invoked.
    pub(super) fn deliver(&mut self) {
        if self.at_work.len() >= MAX_AT_WORK {
            return;
        }
        let Some((queue, message)) = self.queues.receive(self.clock.now(), &mut self.random, self.faults) else {
            return;
        };
        let (id, handle) =
            (message.message_id.clone().unwrap_or_default(), message.receipt_handle.clone().unwrap_or_default());
        self.recorder.lock().note(|| format!("{queue} {handle} is delivered"));
        let mut event = SqsEvent::default();
        event.records = vec![message];
        let (app, worker, deadline) =
            (self.app.clone(), Arc::clone(&self.worker), self.clock.now().plus(WORKER_TIMEOUT));
        self.start(Work::Invocation { queue, handle, id }, async move {
            End::Invocation(match queue {
                RUNS => worker.handle(&app, event, deadline).await,
                _ => oncekey_function_complete::handle(&app, event).await,
            })
        });
    }

    pub(super) fn kill(&mut self, process: Process) {
        let Some(index) = self.at_work.iter().position(|busy| busy.process == process) else { return };
        self.recorder.lock().note(|| format!("process {process} dies"));
        self.let_go(process);
        // Calls of it that are on their way may or may not arrive.
        let (its, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|call| call.process == process);
        self.waiting = others;
        for call in its {
            if self.random.bool() {
                self.take_effect(&call);
            }
        }
        let dead = self.at_work.swap_remove(index);
        if let Work::Trigger(caller) = dead.work {
            self.callers[caller].at_work = false;
        }
    }

    /// Lets any call through, of a slow process only if there is no other: so one may stand still between two calls while
    /// others come from their beginning to their end.
    pub(super) fn next_call(&mut self) {
        let quick: Vec<usize> =
            (0..self.waiting.len()).filter(|call| !self.slow.contains(&self.waiting[*call].process)).collect();
        let chosen = quick.get(self.random.usize(..quick.len().max(1))).copied();
        let chosen = chosen.unwrap_or_else(|| self.random.usize(..self.waiting.len()));
        let call = self.waiting.swap_remove(chosen);
        let process = call.process;
        self.carry_out(call);
        if self.faults && self.random.u8(..100) < 15 {
            self.slow.insert(process);
        } else if self.random.u8(..100) < 15 {
            self.slow.clear();
        }
    }

    /// Decides what becomes of a call.
    fn carry_out(&mut self, call: Pending) {
        let process = call.process;
        let fate = if self.faults { self.random.u8(..100) } else { 99 };
        match fate {
            0..4 => {
                self.recorder.lock().note(|| format!("process {process}: {} gets lost", call.target));
                self.failed.insert(process);
                call.fail();
            }
            4..8 => {
                self.take_effect(&call);
                if self.random.bool() {
                    self.recorder
                        .lock()
                        .note(|| format!("process {process}: its answer gets lost, and it is sent again"));
                    return self.waiting.push(call);
                }
                self.recorder.lock().note(|| format!("process {process}: and its answer gets lost"));
                self.failed.insert(process);
                call.fail();
            }
            8..10 => {
                self.waiting.push(call);
                return self.kill(process);
            }
            _ => {
                let (status, body) = self.take_effect(&call);
                call.answer(status, body);
            }
        }
        if let Some(busy) = self.at_work.iter_mut().find(|busy| busy.process == process) {
            busy.ready = true;
        }
    }

    /// Carries a call out, and watches what it does.
    fn take_effect(&mut self, call: &Pending) -> (u16, String) {
        let operation = call.target.split('.').next_back().unwrap_or_default();
        let process = call.process;
        if call.target.starts_with("AmazonSQS") {
            if operation == "SendMessage"
                && call.body["QueueUrl"].as_str().is_some_and(|url| url.ends_with(COMPLETIONS))
            {
                self.let_go(process);
            }
            self.recorder.lock().note(|| {
                let body = call.body["MessageBody"].as_str().unwrap_or_default();
                let place = body.find("\"run_id\"").unwrap_or(0);
                format!("process {process}: {operation} {:.160}", &body[place..])
            });
            return (200, self.queues.call(operation, &call.body, self.clock.now()).to_string());
        }
        let mut body = call.body.clone();
        self.forget_conditions(operation, &mut body);
        let table = body["TableName"].as_str().unwrap_or_default().to_owned();
        let writes = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
        let key = match (operation, table.as_str()) {
            ("PutItem", "keys") => json!({ "pk": body["Item"]["pk"] }),
            ("PutItem", _) => json!({ "run_id": body["Item"]["run_id"], "item": body["Item"]["item"] }),
            _ => body["Key"].clone(),
        };
        let put = body.get("Item").cloned();
        let run = text(&key, "run_id");
        if self.mutant == Some(Mutant::LatePayloads) && text(&key, "item").starts_with("payload#") {
            self.late.push((run, body.to_string()));
            return (200, "{}".to_owned());
        }
        let (status, answer) = oncekey::aws::dynamodb::execute(self.database, operation, body.to_string().as_bytes());
        let answer = self.forget_lease(answer);
        self.recorder.lock().note(|| {
            let why: Value = serde_json::from_str(&answer).unwrap_or_default();
            let refused = why["__type"].as_str().map(|kind| format!(": {kind}")).unwrap_or_default();
            let shown = [text(&key, "pk"), text(&key, "run_id"), text(&key, "item")].join(" ");
            format!("process {process}: {operation} {table} {}{refused}", shown.trim())
        });
        if operation == "PutItem" && key["item"]["S"] == "run" {
            let is_its = |(of, _): &mut (String, String)| *of == run;
            for (_, put) in self.late.extract_if(.., is_its) {
                let _ = oncekey::aws::dynamodb::execute(self.database, "PutItem", put.as_bytes());
            }
        }
        if writes && status == 200 {
            let item = put.or_else(|| serde_json::from_str::<Value>(&answer).ok()?.get("Attributes").cloned());
            match (table.as_str(), item) {
                ("keys", item) => self.key_written(process, &key, item.filter(|_| operation == "PutItem")),
                (_, Some(item)) if key["item"]["S"] == "run" => self.run_written(process, &item),
                // A registration, which says nothing of the run.
                _ => {}
            }
        }
        if status == 200 && is_start(body["ConditionExpression"].as_str()) {
            let started: Value = serde_json::from_str(&answer).unwrap_or_default();
            let until = moment(&started["Attributes"], "lease_until");
            self.holders.insert(process);
            self.held.insert(text(&started["Attributes"], "run_id"), (process, until));
        }
        (status, answer)
    }

    /// The planted fault of an answer: a refusal does not say whose lease it met.
    fn forget_lease(&self, answer: String) -> String {
        if self.mutant != Some(Mutant::Lease) {
            return answer;
        }
        let Ok(mut told) = serde_json::from_str::<Value>(&answer) else { return answer };
        match told["Item"].as_object_mut().and_then(|item| item.remove("lease_name")) {
            Some(_) => told.to_string(),
            None => answer,
        }
    }

    /// The planted fault: a condition is always true, and still uses the names and values that DynamoDB wants used.
    fn forget_conditions(&self, operation: &str, body: &mut Value) {
        let condition = body["ConditionExpression"].as_str().unwrap_or_default().to_owned();
        let open = |part: &str| condition.replacen(part, &part.replacen('(', "(attribute_not_exists(never) OR ", 1), 1);
        let all = || format!("attribute_not_exists(never) OR {condition}");
        let forgotten = match self.mutant {
            Some(Mutant::Claim) if operation == "PutItem" && body["TableName"] == "keys" => all(),
            Some(Mutant::Clear) if operation == "DeleteItem" && condition.starts_with("run_id") => all(),
            Some(Mutant::Start) if is_start(Some(&condition)) => all(),
            Some(Mutant::Suspend) if condition.contains("(attribute_not_exists(#wakes)") => {
                open("(attribute_not_exists(#wakes)")
            }
            Some(Mutant::Suspend) if condition.contains("(#wakes =") => open("(#wakes ="),
            _ => return,
        };
        body["ConditionExpression"] = json!(forgotten);
    }
}

/// Whether a write is the one that takes an attempt up: no other asks when the attempt is due.
fn is_start(condition: Option<&str>) -> bool {
    condition.is_some_and(|condition| condition.contains("#retry_at"))
}
