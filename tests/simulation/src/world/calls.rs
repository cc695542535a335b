//! What becomes of a call: whether it arrives, what it does, and whether its answer does.

use std::time::Duration;

use serde_json::{Value, json};

use super::mutant::{Mutant, is_start};
use super::tokens::PARTITION;
use super::watch::{moment, text};
use super::{World, crons, rates};
use crate::network::Pending;
use crate::queue::COMPLETIONS;

/// How long a call is waited for, as `oncekey_core::aws_settings` has it.
const TO_ATTEMPT: Duration = Duration::from_millis(3_500);
/// What stands in the name of what is remembered of a reset, and in no key's.
const RESET: &str = "##reset:";
/// What stands in the names of debounce keys and of those of wait tokens, and in no other key's.
const OTHER_KEYS: [&str; 2] = ["#debounce:", "##token:"];
/// What DynamoDB says of a table that is asked too much.
const THROTTLED: &str =
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Rate exceeded"}"#;

impl World<'_> {
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
        // A deployment is late if another comes from its beginning to its end meanwhile, which takes a dozen calls.
        let (slows, recovers) = if self.crons.is_some() { (25, 3) } else { (15, 15) };
        if self.faults && self.random.u8(..100) < slows {
            self.slow.insert(process);
        } else if self.random.u8(..100) < recovers {
            self.slow.clear();
        }
    }

    /// Has DynamoDB throttle every call from now on, for so long.
    pub(super) fn throttle(&mut self, span: Duration) {
        if self.throttled_until <= self.clock.now() {
            self.throttled_until = self.clock.now().plus(span);
            self.recorder.lock().note(|| format!("DynamoDB throttles for {span:?}"));
        }
    }

    /// Fails the calls that nobody has answered for as long as their callers wait, or has them made again.
    pub(super) fn give_up_silent_calls(&mut self) {
        let now = self.clock.now();
        for (call, _) in self.silent.extract_if(.., |(_, until)| *until <= now) {
            let process = call.process;
            if self.random.bool() {
                self.recorder.lock().note(|| format!("process {process}: nobody answers, and it is sent again"));
                self.waiting.push(call);
                continue;
            }
            self.recorder.lock().note(|| format!("process {process}: nobody answers"));
            self.failed.insert(process);
            call.time_out();
            self.at_work.iter_mut().filter(|busy| busy.process == process).for_each(|busy| busy.ready = true);
        }
    }

    /// Decides what becomes of a call.
    fn carry_out(&mut self, call: Pending) {
        let process = call.process;
        let fate = if self.faults { self.random.u8(..100) } else { 99 };
        match fate {
            _ if call.is_of_dynamodb() && self.throttled_until > self.clock.now() => {
                self.recorder.lock().note(|| format!("process {process}: {} is throttled", call.target));
                self.failed.insert(process);
                call.answer(400, THROTTLED.to_owned());
            }
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
            10 => {
                self.waiting.push(call);
                let spans = [900, 6_000, 61_000];
                let span = spans[self.random.usize(..spans.len())];
                return self.throttle(Duration::from_millis(span));
            }
            11..13 => {
                if self.random.bool() {
                    self.take_effect(&call);
                }
                self.recorder.lock().note(|| format!("process {process}: {} is not answered", call.target));
                return self.silent.push((call, self.clock.now().plus(TO_ATTEMPT)));
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

    /// Carries a call of SQS out.
    fn send_or_receive(&mut self, operation: &str, call: &Pending) -> (u16, String) {
        let process = call.process;
        if operation == "SendMessage" && call.body["QueueUrl"].as_str().is_some_and(|url| url.ends_with(COMPLETIONS)) {
            self.let_go(process);
        }
        let refusal = (operation == "SendMessage")
            .then(|| oncekey::aws::sqs::refusal(self.forget_escapes(&call.body).to_string().as_bytes()))
            .flatten();
        if let Some((status, why)) = refusal {
            // What is sent again is refused again: nothing of ours may be.
            self.recorder.lock().broken.push(format!("process {process}: SQS refuses its message: {why}"));
            return (status, why);
        }
        self.recorder.lock().note(|| {
            let body = call.body["MessageBody"].as_str().unwrap_or_default();
            let place = body.find("\"run_id\"").unwrap_or(0);
            format!("process {process}: {operation} {:.160}", &body[place..])
        });
        (200, self.queues.call(operation, &call.body, self.clock.now()).to_string())
    }

    /// Carries a call out, and watches what it does.
    pub(super) fn take_effect(&mut self, call: &Pending) -> (u16, String) {
        let operation = call.target.split('.').next_back().unwrap_or_default();
        let process = call.process;
        if call.is_of_sqs() {
            return self.send_or_receive(operation, call);
        }
        if call.is_of_scheduler() {
            self.recorder.lock().note(|| format!("process {process}: {operation} {}", call.body["Name"]));
            return (self.queues.schedule(operation, &call.body, self.clock.now(), &mut self.random), String::new());
        }
        let mut body = call.body.clone();
        self.forget_conditions(process, operation, &mut body);
        let table = body["TableName"].as_str().unwrap_or_default().to_owned();
        let writes = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
        let key = match (operation, table.as_str()) {
            ("PutItem", "keys") => json!({ "pk": body["Item"]["pk"] }),
            ("PutItem", _) => json!({ "run_id": body["Item"]["run_id"], "item": body["Item"]["item"] }),
            _ => body["Key"].clone(),
        };
        let put = body.get("Item").cloned();
        let run = text(&key, "run_id");
        let is_memory = text(&key, "pk").contains(RESET);
        if is_memory && self.mutant == Some(Mutant::ResetRecords) {
            self.reset_remembered(process, &body["Item"]);
            return (200, "{}".to_owned());
        }
        let is_other_key = OTHER_KEYS.iter().any(|part| text(&key, "pk").contains(part));
        let is_of_token = run.starts_with(PARTITION);
        if self.loses_write(operation, &body) || self.forgets_own_run(process, operation, &run) {
            return (200, "{}".to_owned());
        }
        if self.mutant == Some(Mutant::LatePayloads) && text(&key, "item").starts_with("payload#") {
            self.late.push((run, body.to_string()));
            return (200, "{}".to_owned());
        }
        let (status, answer) = oncekey::aws::dynamodb::execute(self.database, operation, body.to_string().as_bytes());
        let is_counter = run.starts_with(rates::COUNTERS);
        if is_counter && status == 200 {
            self.slot_taken(&run, &serde_json::from_str(&answer).unwrap_or_default());
        }
        let answer = self.forget_parts(operation, &body, answer);
        self.recorder.lock().note(|| {
            let why: Value = serde_json::from_str(&answer).unwrap_or_default();
            let refused = why["__type"].as_str().map(|kind| format!(": {kind}")).unwrap_or_default();
            // Which part of the tokens it is of is as random as its id.
            let of = if is_of_token { String::new() } else { run.clone() };
            let shown = [text(&key, "pk"), of, text(&key, "item")].join(" ");
            format!("process {process}: {operation} {table} {}{refused}", shown.trim())
        });
        if operation == "PutItem" && key["item"]["S"] == "run" {
            let is_its = |(of, _): &mut (String, String)| *of == run;
            for (_, put) in self.late.extract_if(.., is_its) {
                let _ = oncekey::aws::dynamodb::execute(self.database, "PutItem", put.as_bytes());
            }
        }
        if operation == "GetItem" && table == "keys" {
            self.key_read(process, &serde_json::from_str(&answer).unwrap_or_default());
        }
        if writes && status == 200 && is_memory {
            self.reset_remembered(process, &body["Item"]);
            self.keys.insert(text(&key, "pk"), body["Item"].clone());
        } else if writes && status == 200 && is_other_key {
            self.keys.insert(text(&key, "pk"), body["Item"].clone());
        } else if writes && status == 200 && is_of_token {
            self.token_written(&key);
        } else if writes && status == 200 && run.starts_with(crons::PARTITION) {
            self.time_noted(&key, &body);
        } else if writes && status == 200 && !is_counter {
            if !run.is_empty() && !self.partitions.contains(&run) {
                self.partitions.push(run.clone());
            }
            let item = put.or_else(|| serde_json::from_str::<Value>(&answer).ok()?.get("Attributes").cloned());
            match (table.as_str(), item) {
                ("keys", item) => self.key_written(process, &key, item.filter(|_| operation == "PutItem")),
                (_, Some(item)) if key["item"]["S"] == "run" => self.run_written(process, &item),
                // A registration, which says nothing of the run.
                _ => {}
            }
        }
        let parks = body["UpdateExpression"].as_str().is_some_and(|update| update.contains("#parks"));
        if status == 200 && !parks && is_start(body["ConditionExpression"].as_str()) {
            let started: Value = serde_json::from_str(&answer).unwrap_or_default();
            let until = moment(&started["Attributes"], "lease_until");
            self.holders.insert(process);
            self.held.insert(text(&started["Attributes"], "run_id"), (process, until));
            self.look_at_limits(process, &started["Attributes"]);
            self.look_at_rates(process, &started["Attributes"]);
        }
        (status, answer)
    }
}
