//! Limits: how many runs of a queue may execute at a time, who changes that, and whether there were ever more.

use oncekey_core::flow::{Overridden, QueueSetting, Rate};
use oncekey_core::protocol::change::{change_queue, give_all};
use oncekey_wire::QueueLabel;
use serde_json::{Value, json};

use super::watch::text;
use super::{End, Work, World};
use crate::network::Process;
use crate::tasks::{APPROVAL, TASKS};

/// The queue that limits all tasks.
const QUEUE: &str = "q";

impl World<'_> {
    /// Declares the limits that there are from the beginning.
    pub(super) fn declare_limits(&self) {
        let Some(limits) = &self.limits else { return };
        let tasks: Vec<Value> = TASKS.iter().chain([&APPROVAL]).map(|task| json!({ "S": task })).collect();
        for environment in &limits.environments {
            let mut item = json!({ "run_id": { "S": format!("queues#{environment}") }, "item": { "S": format!("queue#{QUEUE}") },
                "queue": { "S": QUEUE }, "generation": { "N": "1" }, "declared": { "N": limits.first.to_string() },
                "tasks": { "L": tasks }, "updated_at": { "N": "0" } });
            if let Some(slots) = &limits.slots {
                let Rate { limit, period_ms, burst } = slots.rate;
                let number = |number: u64| json!({ "N": number.to_string() });
                let rate = json!({ "limit": number(limit.into()), "period_ms": number(period_ms), "burst": number(burst.into()) });
                item["rate"] = json!({ "M": rate });
            }
            self.execute("PutItem", &json!({ "TableName": "runs", "Item": item }));
        }
    }

    /// Has somebody change a limit, or pause the queue. Whether there is one.
    pub(super) fn change_limits(&mut self) -> bool {
        let Some(limits) = &mut self.limits else { return false };
        if limits.changes == 0 {
            return false;
        }
        limits.changes -= 1;
        let limit = self.random.u32(0..=3);
        let paused = self.random.u8(..3) == 0;
        let at = self.clock.now();
        limits.most = limits.most.max(limit as usize);
        self.change_queues(format!("limit {limit}, paused {paused}"), move |setting| {
            setting.overridden = Some(Overridden { limit, at });
            setting.paused = paused;
        });
        true
    }

    fn change_queues(&mut self, what: String, edit: impl Fn(&mut QueueSetting) + Clone + 'static) {
        let Some(limits) = &self.limits else { return };
        for environment in limits.environments.clone() {
            self.recorder.lock().note(|| format!("{environment}: {what}"));
            let edit = edit.clone();
            self.start(Work::Change, |app| async move {
                let queue = QueueLabel::parse(QUEUE).expect("a queue");
                // Who is not answered asks for something else.
                let _ = change_queue(&app, &environment, &queue, edit).await;
                End::Changed
            });
        }
    }

    /// Now that nothing fails: lets everything go on, and looks for places that nobody has given, as the daily sweep does. Whether
    /// there was something to do.
    pub(super) fn settle_limits(&mut self) -> bool {
        let Some(limits) = &mut self.limits else { return false };
        if self.throttled_until > self.clock.now() {
            self.clock.advance(self.throttled_until.since(self.clock.now()));
            return true;
        }
        if !limits.is_open {
            limits.is_open = true;
            self.change_queues("all goes on".to_owned(), |setting| {
                setting.overridden = None;
                setting.paused = false;
            });
            return true;
        }
        limits.sweeps += 1;
        let (sweeps, mut parked) = (limits.sweeps, limits.environments.clone());
        parked.retain(|environment| !self.partition(&format!("parked#{environment}#{QUEUE}")).is_empty());
        if parked.is_empty() || sweeps > 1_000 {
            return false;
        }
        // A day later no lease is left of who died.
        self.clock.advance(std::time::Duration::from_secs(86_400));
        for environment in parked {
            self.recorder.lock().note(|| format!("{environment}: the sweep"));
            self.start(Work::Change, |app| async move {
                let _ = give_all(&app, &environment).await;
                End::Changed
            });
        }
        true
    }

    /// A process has taken a run up.
    pub(super) fn look_at_limits(&self, process: Process, run: &Value) {
        let Some(limits) = &self.limits else { return };
        let environment = |run: &str| self.recorder.lock().environments.get(run).cloned();
        let own = environment(&text(run, "run_id"));
        let now = self.now_of(process);
        let at_work = self.held.iter().filter(|(run, (_, until))| *until > now && environment(run) == own).count();
        if at_work > limits.most {
            let broken = format!("I11: {at_work} runs are at work where {} may be", limits.most);
            self.recorder.lock().broken.push(broken);
        }
    }
}
