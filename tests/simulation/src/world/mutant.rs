//! Faults planted below the handlers: what a call asks, or what it is answered, gets lost on its way.

use std::time::Duration;

use oncekey_core::Timestamp;
use serde_json::{Value, json};

use super::rates::COUNTERS;
use super::watch::text;
use super::{Work, World};
use crate::network::Process;
use crate::queue::Receives;

/// How long the planted fault keeps what it is told to keep until its run has ended.
const TOO_SHORT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A fault planted below the handlers: a condition, or a part of a call or of its answer, that gets lost on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutant {
    /// Keys are claimed whoever holds them.
    Claim,
    /// A failed run's key is deleted whoever holds it.
    Clear,
    /// A run suspends whatever its counter of wake-ups says.
    Suspend,
    /// An attempt is started whoever holds its lease.
    Start,
    /// Who is refused by its own lease, because its call was sent again, is not told that it is its own.
    Lease,
    /// A run expires though it has not ended.
    Expire,
    /// What a step gave expires though its run has not ended.
    ExpireSteps,
    /// A run's payload expires though the run has not ended.
    ExpirePayloads,
    /// The end of a child expires in the journal of its parent though that has not ended.
    ExpireEnds,
    /// A run is written before its payload.
    LatePayloads,
    /// A wake-up that comes before its time, dead-lettered or not, is taken for one that is due.
    EarlyWakes,
    /// What failed for a passing reason comes again after its visibility timeout, five times.
    Impatience,
    /// What a key was claimed for, and what a run was asked for with, is not read.
    Fingerprints,
    /// Whoever finds a key held is not told for what, nor until when its claimer may be at work; and whoever finds a run made not
    /// for what.
    Helpers,
    /// What a reset meant is not remembered.
    ResetRecords,
    /// A reset frees the key whoever holds it.
    Resets,
    /// Who replaces a run does not see that its own is there already.
    Successors,
    /// Characters that no message may have are sent as they are.
    RawCharacters,
    /// A debounced run is pushed whether or not it has started.
    Pushes,
    /// What a push leaves under its own run's name gets lost.
    Aliases,
    /// A wait token is completed whatever it is by then.
    Completions,
    /// A run is not put beside the token that it waits for.
    TokenWaits,
    /// A time of a cron schedule is noted whatever has become of the schedule.
    Ticks,
    /// A place is taken whether or not there is room.
    Places,
    /// A rate's counter that was idle is set whatever it says by now.
    Slots,
    /// Whoever takes a slot is told that it is due.
    Unpaced,
    /// A run that is parked is not put among those that are.
    Parked,
    /// What a deployment declares is written whatever has followed it.
    Deployments,
}

impl Mutant {
    /// How often a message is received before it is dead-lettered.
    pub(super) fn receives(self) -> Option<Receives> {
        (self == Self::Impatience).then_some(Receives { runs: 5, completions: 5 })
    }
}

impl World<'_> {
    /// The planted fault of a condition: it is always true, and still uses the names and values that DynamoDB wants used.
    pub(super) fn forget_conditions(&self, process: Process, operation: &str, body: &mut Value) {
        let condition = body["ConditionExpression"].as_str().unwrap_or_default().to_owned();
        let open = |part: &str| condition.replacen(part, &part.replacen('(', "(attribute_not_exists(never) OR ", 1), 1);
        let all = || format!("attribute_not_exists(never) OR {condition}");
        if self.mutant == Some(Mutant::Deployments) && operation == "TransactWriteItems" {
            for write in body["TransactItems"].as_array_mut().into_iter().flatten() {
                if let Some(check) = write.get_mut("ConditionCheck") {
                    check["ConditionExpression"] = json!("attribute_not_exists(never) OR #number = :number");
                }
            }
        }
        let by_reset = || matches!(self.work_of(process), Some(Work::Reset(_)));
        let forgotten = match self.mutant {
            Some(Mutant::Claim) if operation == "PutItem" && body["TableName"] == "keys" => all(),
            Some(Mutant::Clear) if operation == "DeleteItem" && condition.starts_with("run_id") && !by_reset() => all(),
            Some(Mutant::Resets) if operation == "DeleteItem" && by_reset() => all(),
            Some(Mutant::Pushes) if is_push(Some(&condition)) => all(),
            Some(Mutant::Completions) if condition == "#status = :waiting AND timeout_at > :now" => all(),
            Some(Mutant::Ticks) if condition == "generation = :generation AND next_at = :at" => all(),
            Some(Mutant::Places) if condition.contains("(size(#holders) <") => open("(size(#holders) <"),
            Some(Mutant::Slots) if condition.ends_with("next_slot < :now") => all(),
            Some(Mutant::Start) if is_start(Some(&condition)) => all(),
            Some(Mutant::Suspend) if condition.contains("(attribute_not_exists(#wakes)") => {
                open("(attribute_not_exists(#wakes)")
            }
            Some(Mutant::Suspend) if condition.contains("(#wakes =") => open("(#wakes ="),
            _ => return,
        };
        body["ConditionExpression"] = json!(forgotten);
    }

    /// The planted fault of a write: it has no effect.
    pub(super) fn loses_write(&self, operation: &str, body: &Value) -> bool {
        let item = &body["Item"];
        operation == "PutItem"
            && match self.mutant {
                Some(Mutant::Aliases) => item.get("pushed_to").is_some(),
                Some(Mutant::Parked) => text(item, "run_id").starts_with("parked#"),
                Some(Mutant::TokenWaits) => text(item, "run_id").starts_with("waitpoint_"),
                _ => false,
            }
    }

    /// The planted fault of a look: a trigger that asks for its own run finds none.
    pub(super) fn forgets_own_run(&self, process: Process, operation: &str, run: &str) -> bool {
        let asks = self.mutant == Some(Mutant::Successors) && operation == "GetItem";
        let own = || match self.work_of(process) {
            Some(Work::Trigger(number)) => Some(self.callers[*number].own()),
            _ => None,
        };
        asks && own().is_some_and(|own| own.as_str() == run)
    }

    /// The planted fault of an answer: a part of an item is not there.
    pub(super) fn forget_parts(&self, operation: &str, body: &Value, answer: String) -> String {
        let of_claim = ["fingerprint", "helped_from"];
        let is_slot = text(&body["Key"], "run_id").starts_with(COUNTERS) && answer.contains("next_slot");
        if self.mutant == Some(Mutant::Unpaced) && is_slot {
            return json!({ "Attributes": { "next_slot": { "N": "0" } } }).to_string();
        }
        // Of a run with a key: who misuses a request's id is still told so by the claim that is its own.
        let makes_run = body["Item"]["spec"]["S"].as_str().is_some_and(|spec| spec.contains("\"key\":"));
        let claims = operation == "PutItem" && body["TableName"] == "keys";
        let (parts, of_spec): (&[&str], bool) = match self.mutant {
            Some(Mutant::Lease) => (&["lease_name"], false),
            Some(Mutant::Fingerprints) => (&of_claim[..1], true),
            Some(Mutant::Helpers) if claims => (&of_claim, false),
            Some(Mutant::Helpers) if makes_run => (&[], true),
            _ => return answer,
        };
        let Ok(mut told) = serde_json::from_str::<Value>(&answer) else { return answer };
        let of_refusal = |name: &str| name == "Item";
        for (name, item) in told.as_object_mut().into_iter().flatten() {
            let is_own = self.mutant == Some(Mutant::Helpers) && claims && item["run_id"] == body["Item"]["run_id"];
            let Some(item) = item.as_object_mut().filter(|_| !is_own) else { continue };
            // A lease is asked for in order to be known again by who is refused, and read by nobody else.
            if self.mutant == Some(Mutant::Lease) && !of_refusal(name) {
                continue;
            }
            item.retain(|part, _| !parts.contains(&part.as_str()));
            if of_spec && let Some(spec) = item.get("spec").and_then(|spec| spec["S"].as_str()) {
                let mut spec: Value = serde_json::from_str(spec).unwrap_or_default();
                spec.as_object_mut().and_then(|spec| spec.remove("asked"));
                item.insert("spec".to_owned(), json!({ "S": spec.to_string() }));
            }
        }
        told.to_string()
    }

    /// The planted fault of a message: a wake-up does not say when it is due.
    pub(super) fn forget_due_time(&self, body: String) -> String {
        if self.mutant != Some(Mutant::EarlyWakes) || !body.contains("\"wakes\":") {
            return body;
        }
        let mut message: Value = serde_json::from_str(&body).unwrap_or_default();
        message.as_object_mut().and_then(|message| message.remove("due_at"));
        message.to_string()
    }

    /// The planted fault of a message: what is escaped in it, as a queue would refuse it, is not.
    pub(super) fn forget_escapes(&self, sent: &Value) -> Value {
        let mut sent = sent.clone();
        if self.mutant == Some(Mutant::RawCharacters)
            && let Some(body) = sent["MessageBody"].as_str()
        {
            sent["MessageBody"] = json!(body.replace("\\ufffe", "\u{fffe}").replace("\\uffff", "\u{ffff}"));
        }
        sent
    }

    /// When an item expires by the planted fault, though its run has not ended.
    pub(super) fn expires_too_early(&self, item: &Value) -> Option<Timestamp> {
        let begins = match self.mutant? {
            Mutant::Expire => "run",
            Mutant::ExpireSteps => "step#",
            Mutant::ExpirePayloads => "payload#",
            Mutant::ExpireEnds => "wait#",
            _ => return None,
        };
        let expires = text(item, "item").starts_with(begins);
        self.created_at.get(&text(item, "run_id")).filter(|_| expires).map(|at| at.plus(TOO_SHORT))
    }
}

/// Whether a write is the one that takes an attempt up: no other asks whether the attempt is due.
pub(super) fn is_start(condition: Option<&str>) -> bool {
    condition.is_some_and(|condition| condition.contains("attribute_not_exists(#retry_at)"))
}

/// Whether a write pushes a debounced run: no other asks that its start was not put off further.
fn is_push(condition: Option<&str>) -> bool {
    condition.is_some_and(|condition| condition.contains("#retry_at <=") && !is_start(Some(condition)))
}
