//! What has expired goes, at any moment from then on.

use std::collections::BTreeSet;
use std::time::Duration;

use oncekey_core::Timestamp;
use serde_json::{Value, json};

use super::watch::text;
use super::{Mutant, World};

/// How long the planted fault keeps what it is told to keep until its run has ended.
const TOO_SHORT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Workers may be away for days: five times so long is more than a message lives, dead-lettered ones included.
const DAYS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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

    /// Deletes what has expired of the runs table. Of keys the window decides, and not whether they are still there.
    pub(super) fn sweep(&mut self) {
        let mut from = Value::Null;
        let mut runs = Vec::new();
        let mut names_what_went = BTreeSet::new();
        loop {
            let mut scan = json!({ "TableName": "runs" });
            if !from.is_null() {
                scan["ExclusiveStartKey"] = from;
            }
            let (_, answer) = oncekey::aws::dynamodb::execute(self.database, "Scan", scan.to_string().as_bytes());
            let page: Value = serde_json::from_str(&answer).unwrap_or_default();
            for item in page["Items"].as_array().into_iter().flatten() {
                if self.expires_at(item).is_some_and(|at| at <= self.clock.now()) {
                    let key = json!({ "run_id": item["run_id"], "item": item["item"] });
                    let delete = json!({ "TableName": "runs", "Key": key }).to_string();
                    let (status, answer) =
                        oncekey::aws::dynamodb::execute(self.database, "DeleteItem", delete.as_bytes());
                    assert_eq!(status, 200, "{answer}");
                    let (run, name) = (text(item, "run_id"), text(item, "item"));
                    self.recorder.lock().note(|| format!("{run} {name} has expired"));
                    names_what_went.insert(run);
                } else if text(item, "item") == "run" {
                    runs.push(item.clone());
                }
            }
            from = page["LastEvaluatedKey"].clone();
            if from.is_null() {
                break;
            }
        }
        for run in runs.iter().filter(|run| names_what_went.contains(&text(run, "run_id"))) {
            for missing in self.missing_beside(run) {
                let broken = format!("{} names {missing}, which has expired", text(run, "run_id"));
                self.recorder.lock().broken.push(broken);
            }
        }
    }

    fn expires_at(&self, item: &Value) -> Option<Timestamp> {
        let run = text(item, "run_id");
        if self.mutant == Some(Mutant::Expire) && text(item, "item") == "run" {
            return self.created_at.get(&run).map(|at| at.plus(TOO_SHORT));
        }
        if self.mutant == Some(Mutant::ExpireSteps) && text(item, "item").starts_with("step#") {
            return self.created_at.get(&run).map(|at| at.plus(TOO_SHORT));
        }
        if self.mutant == Some(Mutant::ExpirePayloads) && text(item, "item").starts_with("payload#") {
            return self.created_at.get(&run).map(|at| at.plus(TOO_SHORT));
        }
        // In earnest no message for a run is left by then: it lives for fourteen days.
        if item.get("finished_at").is_some() && self.queues.name(&run) {
            return None;
        }
        let seconds: i64 = item["expires_at"]["N"].as_str()?.parse().ok()?;
        Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
    }
}
