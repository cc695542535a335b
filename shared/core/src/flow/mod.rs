//! Flow control: which runs count together, how many of them may execute, and the places that they have meanwhile.
//!
//! A **lane** is a queue and a concurrency key. The runs of a lane take **places** of it, as many as its limit allows; those that find
//! none are **parked**, in order, and are given a place when one is free. Attempts take **slots** of its rate, if it has one. What is done
//! with these is in [`protocol`](crate::protocol): `admit`, `hand_on`, `change` and `pace`.

mod lane;
mod limits;
mod places;
mod rate;

pub use lane::{Lane, Line};
pub(crate) use limits::MOST_PLACES;
pub use limits::{Bound, EnvironmentSetting, KnownLimits, Limits, Overridden, QueueSetting, Subject};
pub use places::{Holder, Parked, Place, Places, Source};
pub use rate::{Rate, Slot};
