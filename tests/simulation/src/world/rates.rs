//! Rates: who takes slots, and starts attempts.

use serde_json::Value;

use super::World;
use super::watch::{moment, text};
use crate::network::Process;

/// What the counters of rates are called in their partitions' names.
pub(super) const COUNTERS: &str = "rates#";

impl World<'_> {
    /// Somebody has moved the counter of a partition.
    pub(super) fn slot_taken(&mut self, partition: &str, answer: &Value) {
        let Some(slots) = self.limits.as_mut().and_then(|limits| limits.slots.as_mut()) else { return };
        let environment =
            partition.trim_start_matches(COUNTERS).rsplit_once('#').map_or("", |(environment, _)| environment);
        let counter =
            answer["Attributes"]["next_slot"]["N"].as_str().and_then(|number| number.parse().ok()).unwrap_or_default();
        self.recorder.lock().broken.extend(slots.moved(environment, counter));
    }

    /// A process has taken a run up, at a moment by its clock.
    pub(super) fn look_at_rates(&mut self, process: Process, run: &Value) {
        let own = self.recorder.lock().environments.get(&text(run, "run_id")).cloned();
        // That which it was started with, not what it is by the time that the call is carried out.
        let now = moment(run, "updated_at").max(self.now_of(process));
        let Some(slots) = self.limits.as_mut().and_then(|limits| limits.slots.as_mut()) else { return };
        let Some(own) = own else { return };
        let attempt = run["attempt"]["N"].as_str().unwrap_or_default().to_owned();
        let wrong = slots.started(&own, (text(run, "run_id"), attempt), now);
        self.recorder.lock().broken.extend(wrong);
    }
}
