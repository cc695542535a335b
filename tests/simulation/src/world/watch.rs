//! An onlooker, who sees what was written to the tables, and holds it against the invariants.

use oncekey_core::clock::CLOCKS_APART;
use oncekey_core::key::KeyRelease;
use oncekey_core::{RunStatus, Timestamp};
use serde_json::{Value, json};

use super::caller::Debounce;
use super::{Work, World};
use crate::history::Claim;
use crate::network::Process;

impl World<'_> {
    /// A key's item was put or deleted.
    pub(super) fn key_written(&mut self, process: Process, key: &Value, after: Option<Value>) {
        let now = self.now_of(process);
        let pk = text(key, "pk");
        let before = match &after {
            Some(item) => self.keys.insert(pk.clone(), item.clone()),
            None => self.keys.remove(&pk),
        };
        let meant = self.meant_by(process).map(Option::<&_>::cloned);
        let mut history = self.recorder.lock();
        if let Some(before) = before {
            let run = text(&before, "run_id");
            let status = history.statuses.get(history.stands_for(&run)).copied();
            let window_ends_at = moment(&before, "window_ends_at");
            if let Some(meant) = meant {
                let freed = (run, moment(&before, "created_at"));
                if meant.as_ref() != Some(&freed) {
                    history.broken.push(format!("R40: a reset that meant {meant:?} freed the key of {freed:?}"));
                }
                let at = history.tick();
                history.separators.push((at, pk.clone()));
                history.end_claim(&pk, "it was reset");
            } else {
                // Whether it is the claim that made its run.
                let made = self.created_at.get(&run) == Some(&moment(&before, "created_at"))
                    && history.made.get(&run).is_some_and(|(key, _)| key.as_ref() == Some(&pk));
                let release = release(before.get("release"));
                let gave_up = history.gave_up(&run, release);
                if after.is_none() && !gave_up {
                    history.broken.push(format!("I4: the key {pk} of {run}, which is {status:?}, was cleared"));
                }
                let kept = status.is_some_and(RunStatus::is_final) && !gave_up;
                if kept && made && window_ends_at > now {
                    history.broken.push(format!("I5: the key {pk} of {run}, which is {status:?}, was lost"));
                }
                if after.is_some() && window_ends_at <= now {
                    let at = history.tick();
                    history.separators.push((at, pk.clone()));
                }
                history.end_claim(&pk, "it was cleared or taken over");
            }
        }
        if let Some(after) = after {
            let (at, run) = (history.tick(), text(&after, "run_id"));
            let window_ends_at = moment(&after, "window_ends_at");
            history.claims.push(Claim { at, key: pk, run, window_ends_at, gone: None });
        }
    }

    /// A process is at no run any more.
    pub(super) fn let_go(&mut self, process: Process) {
        self.held.retain(|_, (holder, _)| *holder != process);
    }

    /// A run was put or moved by a process.
    pub(super) fn run_written(&mut self, process: Process, item: &Value) {
        let (run, status) = (text(item, "run_id"), text(item, "status"));
        let Some(status) = RunStatus::ALL.into_iter().find(|known| known.as_str() == status) else { return };
        let mut history = self.recorder.lock();
        if status == RunStatus::Delayed
            && item.get("pushed_by").is_some()
            && let Some(&Work::Trigger(number)) = self.work_of(process)
        {
            let caller = &self.callers[number];
            history.note(|| format!("{run} is pushed by {}", caller.request));
            if caller.debounce.as_ref().is_some_and(Debounce::is_trailing) {
                history.debounces.latest.insert(run.clone(), caller.payload);
            }
        }
        let before = history.statuses.insert(run.clone(), status);
        if before == Some(status) {
            return;
        }
        history.note(|| format!("{run} is {status}"));
        if before == Some(RunStatus::Executing)
            && let Some((holder, until)) = self.held.remove(&run)
            && holder != process
            && until > self.now_of(holder).plus(CLOCKS_APART)
            && status != RunStatus::Canceled
        {
            history.broken.push(format!("I8: {run} became {status} while process {holder} was at it"));
        }
        if let Some(before) = before.filter(|before| before.is_final()) {
            history.broken.push(format!("{run} was {before} and became {status}"));
        }
        // What was there stays there, or the sweep tells.
        let pushed_to = text(item, "pushed_to");
        if pushed_to.is_empty() && (before.is_none() || status == RunStatus::Completed) {
            for missing in self.missing_beside(item) {
                history.broken.push(format!("{run} names {missing}, which is not there"));
            }
        }
        let spec: Value = serde_json::from_str(&text(item, "spec")).unwrap_or_default();
        let due_at = Timestamp::from_millis(spec["delay_until"].as_i64().unwrap_or_default());
        // Whoever takes a later attempt up may have a slower clock.
        let is_first = item["attempt"]["N"] == "1" && item["resume"]["N"] == "0";
        if status == RunStatus::Executing && is_first && due_at > self.now_of(process) {
            history.broken.push(format!("{run} was to start at {due_at}, and has"));
        }
        self.created_at.insert(run.clone(), Timestamp::from_millis(spec["created_at"].as_i64().unwrap_or_default()));
        if item["max_attempts"]["N"] == "1" {
            self.fragile.insert(run.clone());
        }
        if let Some(until) = item.get("waits_until").map(|_| moment(item, "waits_until")) {
            self.waits_until.insert(run.clone(), until);
        }
        let place = format!(
            "{}#{}",
            spec["environment"].as_str().unwrap_or_default(),
            spec["task"].as_str().unwrap_or_default()
        );
        let key = spec["key"]["hash"].as_str().map(|hash| format!("{place}#{hash}"));
        let environment = spec["environment"].as_str().unwrap_or_default().to_owned();
        history.environments.insert(run.clone(), environment);
        let its_release = release(spec["key"].get("release"));
        if !pushed_to.is_empty() {
            history.debounces.stands.insert(run.clone(), pushed_to);
            if let Some(key) = &key {
                history.debounces.keys.insert(run.clone(), (key.clone(), its_release));
            }
        }
        history.made.insert(run.clone(), (key.clone(), spec.get("delay_until").is_some()));
        let successor = text(item, "replaced_by");
        if !successor.is_empty() {
            let holds = |claim: &Claim| claim.run == run && claim.gone.is_none();
            if history.replaced.contains(&successor) && history.claims.iter().any(holds) {
                history.broken.push(format!("R76: {run} made way for {successor}, which had made way itself"));
            }
            history.replaced.insert(run.clone());
            if before.is_none() {
                history.barred.insert(run.clone());
            }
        }
        let own = key.map(|key| (run.clone(), key, its_release));
        for (name, key, release) in own.into_iter().chain(history.keys_beside(&run)) {
            if !history.gave_up(&run, release) {
                continue;
            }
            let at = history.tick();
            history.separators.push((at, key.clone()));
            if history.claims.iter().rev().find(|claim| claim.key == key).is_some_and(|claim| claim.run == name) {
                history.end_claim(&key, "its run came to an end that frees it");
            }
        }
    }
}

impl World<'_> {
    /// What a run's item names and what is not beside it.
    pub(super) fn missing_beside(&self, item: &Value) -> Vec<String> {
        let names = ["payload", "output"].into_iter().filter_map(|part| item[part]["M"]["beside"]["S"].as_str());
        let spec: Value = serde_json::from_str(&text(item, "spec")).unwrap_or_default();
        let names = names.map(str::to_owned).chain(spec["metadata_beside"].as_str().map(str::to_owned));
        let is_missing = |name: &String| {
            let key = json!({ "run_id": item["run_id"], "item": { "S": name } });
            let get = json!({ "TableName": "runs", "Key": key }).to_string();
            let (_, answer) = oncekey::aws::dynamodb::execute(self.database, "GetItem", get.as_bytes());
            !answer.contains("\"Item\"")
        };
        names.filter(is_missing).collect()
    }
}

/// Which ends free a key, as its item or its run's spec says.
fn release(stored: Option<&Value>) -> KeyRelease {
    let word = stored.and_then(|stored| stored.as_str().or_else(|| stored["S"].as_str()));
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

pub(super) fn text(item: &Value, name: &str) -> String {
    item[name]["S"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn moment(item: &Value, name: &str) -> Timestamp {
    Timestamp::from_millis(item[name]["N"].as_str().and_then(|digits| digits.parse().ok()).unwrap_or_default())
}
