//! The protocol, one file an operation: read these, and you know Oncekey.
//!
//! [`trigger`] with [`claim`] makes a run or hands out the one that is there; [`start`] takes its attempt up, if [`admit`] has
//! a place for it; [`wait`] suspends and wakes it; [`complete`] ends it, [`dead_letter`] when its message died; [`cancel`] and
//! [`reset`] are what a person asks for, [`bulk`] of many runs at once. Each tolerates being done twice, and a death between any two
//! of its writes.

pub mod admit;
pub mod bulk;
pub mod cancel;
pub mod change;
pub mod claim;
pub mod complete;
pub mod dead_letter;
pub(crate) mod debounce;
pub mod declare;
mod end;
mod fingerprint;
mod hand_on;
mod hop;
pub mod keep;
pub mod overdue;
mod pace;
mod plan;
mod replace;
pub mod reset;
pub mod schedule;
pub mod start;
pub mod tick;
pub mod token;
pub mod trigger;
pub mod wait;
