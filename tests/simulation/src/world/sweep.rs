//! What has expired goes, at any moment from then on.

use std::collections::BTreeSet;
use std::time::Duration;

use oncekey_core::{RunStatus, Timestamp};
use serde_json::{Value, json};

use super::World;
use super::watch::text;

/// Workers may be away for days: five times so long is more than a message lives, dead-lettered ones included.
const DAYS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest that SQS delays a message.
const A_HOP: Duration = Duration::from_secs(900);

impl World<'_> {
    /// Lets days pass in which nobody is at work, and after which nobody sends an old request again.
    pub(super) fn days_pass(&mut self) {
        while let Some(busy) = self.at_work.first() {
            self.kill(busy.process);
        }
        self.give_up();
        self.clock.advance(DAYS);
        self.wake_all();
        self.recorder.lock().note(|| format!("{DAYS:?} pass"));
        self.sweep();
    }

    /// How long nobody need be at work in peace: until the first of those waits is over that are left, when nothing else is,
    /// and for days at most, which messages outlive. No time unless that is longer than one of their hops.
    pub(super) fn leisure(&self) -> Option<Duration> {
        let history = self.recorder.lock();
        let mut first = None;
        for (run, _) in history.statuses.iter().filter(|(_, status)| !status.is_final()) {
            let is_waiting = history.statuses.get(run) == Some(&RunStatus::Waiting);
            let until = *self.waits_until.get(run).filter(|_| is_waiting)?;
            first = Some(first.map_or(until, |first: Timestamp| first.min(until)));
        }
        let left = first?.since(self.clock.now()).min(DAYS);
        (left > A_HOP).then_some(left)
    }

    /// Lets this time pass while nobody is at work.
    pub(super) fn rest_for(&mut self, span: Duration) {
        self.clock.advance(span);
        self.recorder.lock().note(|| format!("{span:?} pass in peace"));
        self.sweep();
    }

    /// Deletes what has expired.
    pub(super) fn sweep(&mut self) {
        self.sweep_keys();
        self.sweep_runs();
        self.sweep_tokens();
    }

    /// Of keys the window decides, and not whether they are still there.
    fn sweep_keys(&mut self) {
        let now = self.clock.now();
        for (pk, item) in self.keys.extract_if(.., |_, item| expiry(item).is_some_and(|at| at <= now)) {
            let delete = json!({ "TableName": "keys", "Key": { "pk": { "S": pk } } }).to_string();
            let (status, answer) = oncekey::aws::dynamodb::execute(self.database, "DeleteItem", delete.as_bytes());
            assert_eq!(status, 200, "{answer}");
            let mut history = self.recorder.lock();
            history.note(|| format!("{pk} has expired"));
            if item.get("window_ends_at").is_some() {
                let at = history.tick();
                history.separators.push((at, pk.clone()));
                history.end_claim(&pk, "its window ended, and it was swept");
            }
        }
    }

    fn sweep_runs(&mut self) {
        let mut runs = Vec::new();
        let mut names_what_went = BTreeSet::new();
        for run in &self.partitions {
            for item in self.partition(run) {
                if self.expires_at(&item).is_some_and(|at| at <= self.clock.now()) {
                    let key = json!({ "run_id": item["run_id"], "item": item["item"] });
                    self.execute("DeleteItem", &json!({ "TableName": "runs", "Key": key }));
                    self.recorder.lock().note(|| format!("{run} {} has expired", text(&item, "item")));
                    names_what_went.insert(run.clone());
                } else if text(&item, "item") == "run" {
                    runs.push(item);
                }
            }
        }
        for run in runs.iter().filter(|run| names_what_went.contains(&text(run, "run_id"))) {
            for missing in self.missing_beside(run) {
                let broken = format!("{} names {missing}, which has expired", text(run, "run_id"));
                self.recorder.lock().broken.push(broken);
            }
        }
    }

    /// The items of a run.
    pub(super) fn partition(&self, run: &str) -> Vec<Value> {
        let query = json!({ "TableName": "runs", "KeyConditionExpression": "run_id = :run",
            "ExpressionAttributeValues": { ":run": { "S": run } } });
        let mut answer = self.execute("Query", &query);
        match answer["Items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        }
    }

    /// Carries a call of nobody's out.
    pub(super) fn execute(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = oncekey::aws::dynamodb::execute(self.database, operation, body.to_string().as_bytes());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap_or_default()
    }

    pub(super) fn expires_at(&self, item: &Value) -> Option<Timestamp> {
        let run = text(item, "run_id");
        if let Some(at) = self.expires_too_early(item) {
            return Some(at);
        }
        // In earnest no message for a run is left by then: it lives for fourteen days.
        if item.get("finished_at").is_some() && self.queues.name(&run) {
            return None;
        }
        expiry(item)
    }
}

fn expiry(item: &Value) -> Option<Timestamp> {
    let seconds: i64 = item["expires_at"]["N"].as_str()?.parse().ok()?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}
