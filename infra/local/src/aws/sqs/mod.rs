//! An SQS-protocol endpoint over SQLite: durable queues on one machine.
//!
//! It speaks SQS's JSON protocol, so the official SDKs and command line use it unchanged. It has what Oncekey uses:
//! delays, visibility timeouts, long polling, redrive to a dead-letter queue, batches; and it refuses what SQS refuses. It has no FIFO queues, no access
//! policies and no cross-queue moves.

mod fault;
mod limits;
mod store;
mod wire;

pub(crate) use limits::MAX_REQUEST_BYTES;
pub(in crate::aws) use store::schedules::{Made, Schedule};
pub use store::{QueueSettings, Queues};
pub(crate) use wire::{Answer, execute};
pub use wire::{refusal, router};
