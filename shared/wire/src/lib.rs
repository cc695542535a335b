//! What goes over Oncekey's HTTP API, once for those who write it and those who read it: names, and the hash of a key.
//!
//! This crate has no I/O and few dependencies, so that a client stays light. What a server does with these values is in
//! `oncekey-core`.

mod error;
mod ids;
mod key;
mod run;
mod status;
mod time;
mod trigger;

pub use error::Invalid;
pub use ids::{BatchId, EnvironmentId, RequestId, RunId, TaskId};
pub use key::{KeyGroup, KeyHash, KeyOptions, Parent, Scope};
pub use run::{RunError, TriggerFunction};
pub use status::RunStatus;
pub use time::Timestamp;
pub use trigger::KeyStatus;
