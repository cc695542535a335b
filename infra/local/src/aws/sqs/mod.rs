//! An SQS-protocol endpoint over SQLite: durable queues on one machine.
//!
//! It speaks SQS's JSON protocol, so the official SDKs and command line use it unchanged. It has what Oncekey uses:
//! delays, visibility timeouts, long polling, redrive to a dead-letter queue, batches. It has no FIFO queues, no access
//! policies and no cross-queue moves.

mod store;
mod wire;

pub use store::{QueueSettings, Queues};
pub(crate) use wire::execute;
pub use wire::router;
