//! Who resets a key.

use fastrand::Rng;
use oncekey_core::Timestamp;

/// How often a reset is sent that fails.
const TRIES: u32 = 4;

/// Somebody who resets a key: once for a request, which is sent again, or as it comes.
pub(super) struct Resetter {
    pub(super) request: Option<String>,
    pub(super) tries: u32,
    /// How often it is sent again although it was answered.
    pub(super) again: u32,
    pub(super) at_work: bool,
    pub(super) asked: bool,
    /// The claim that it means to end, once it has looked: none if nobody held the key.
    pub(super) meant: Option<Option<(String, Timestamp)>>,
}

impl Resetter {
    pub(super) fn new(seed: u64, number: u32, random: &mut Rng) -> Self {
        let request = (random.u8(..3) != 0).then(|| format!("s{seed}-reset{number}"));
        let (tries, again) = if request.is_some() { (TRIES, random.u32(0..=2)) } else { (1, 0) };
        Self { request, tries, again, at_work: false, asked: false, meant: None }
    }
}
