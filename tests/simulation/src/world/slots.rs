//! Slots: how often attempts of a queue start in a schedule, and whether more did than had a slot that was due.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use oncekey_core::Timestamp;
use oncekey_core::clock::CLOCKS_APART;
use oncekey_core::flow::Rate;

/// The slots of a schedule.
pub(super) struct Slots {
    pub(super) rate: Rate,
    /// What each environment's counter says.
    counters: BTreeMap<String, u64>,
    /// When each slot that was taken is due.
    due: BTreeMap<String, Vec<i64>>,
    /// The attempts that have started, and until when that was by their clocks.
    started: BTreeMap<String, (BTreeSet<(String, String)>, i64)>,
}

impl Slots {
    pub(super) fn of(random: &mut Rng) -> Self {
        let limit = random.u32(1..=3);
        let period_ms = random.u64(30..=600) * 1_000;
        let rate = Rate { limit, period_ms, burst: random.u32(1..=limit) };
        Self { rate, counters: BTreeMap::new(), due: BTreeMap::new(), started: BTreeMap::new() }
    }

    /// A counter was moved. What is wrong about that.
    pub(super) fn moved(&mut self, environment: &str, counter: u64) -> Option<String> {
        let before = self.counters.insert(environment.to_owned(), counter).unwrap_or_default();
        let due = i64::try_from(self.rate.due(counter).div_ceil(1_000)).unwrap_or(i64::MAX);
        self.due.entry(environment.to_owned()).or_default().push(due);
        (counter < before + self.rate.spacing())
            .then(|| format!("R111: a counter of {environment} went from {before} to {counter}"))
    }

    /// A turn of an attempt has started. What is wrong about that.
    pub(super) fn started(&mut self, environment: &str, attempt: (String, String), now: Timestamp) -> Option<String> {
        let (attempts, latest) = self.started.entry(environment.to_owned()).or_default();
        attempts.insert(attempt);
        *latest = now.millis().max(*latest);
        // By the clock of whoever took it.
        let latest = Timestamp::from_millis(*latest).plus(CLOCKS_APART).millis();
        let due = self.due.get(environment).map_or(0, |due| due.iter().filter(|due| **due <= latest).count());
        (attempts.len() > due).then(|| {
            format!("R111: {} attempts of {environment} have started, and {due} slots were due", attempts.len())
        })
    }
}
