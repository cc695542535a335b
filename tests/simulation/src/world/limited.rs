//! How many runs may execute at a time in a schedule, and how often that is changed.

use std::collections::BTreeSet;

use fastrand::Rng;
use oncekey_core::EnvironmentId;

use super::caller::Caller;
use super::slots::Slots;

/// Whether there are limits in the schedule of this seed.
fn has_limits(seed: u64) -> bool {
    seed.is_multiple_of(4)
}

/// Whether there is a rate besides.
fn has_rate(seed: u64) -> bool {
    seed.is_multiple_of(8)
}

/// The limits of a schedule.
pub(super) struct Limits {
    pub(super) environments: BTreeSet<EnvironmentId>,
    /// The first limit.
    pub(super) first: u32,
    /// The largest that there ever was: who took a place under it may be at work still.
    pub(super) most: usize,
    /// How often they are changed yet.
    pub(super) changes: u32,
    /// Whether all was let go on, now that nothing fails; and how often it was looked for what nobody told of.
    pub(super) is_open: bool,
    pub(super) sweeps: u32,
    /// How often attempts start, if that is limited too.
    pub(super) slots: Option<Slots>,
}

impl Limits {
    pub(super) fn of(seed: u64, callers: &[Caller]) -> Option<Self> {
        let mut random = Rng::with_seed(seed ^ 0x6c69_6d69);
        let first = random.u32(1..=2);
        has_limits(seed).then(|| Self {
            environments: callers.iter().map(|caller| caller.environment.clone()).collect(),
            first,
            most: first as usize,
            // In half of them nothing changes, and then no more than that is at work.
            changes: if random.bool() { random.u32(1..=6) } else { 0 },
            is_open: false,
            sweeps: 0,
            slots: has_rate(seed).then(|| Slots::of(&mut random)),
        })
    }
}
