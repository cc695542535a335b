//! Write Oncekey tasks in Rust.
//!
//! A task is an async function from a context and an input to an output, registered under an id. The same worker runs as
//! a Lambda function fed by SQS and inside the local stack.
//!
//! ```no_run
//! use oncekey_worker::{Context, Task, TaskError, Worker};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     id: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Receipt {
//!     order: String,
//!     attempt: u32,
//! }
//!
//! async fn process_order(ctx: Context, order: Order) -> Result<Receipt, TaskError> {
//!     if order.id.is_empty() {
//!         return Err(TaskError::abort("an order needs an id"));
//!     }
//!     Ok(Receipt { order: order.id, attempt: ctx.attempt() })
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), oncekey_worker::LambdaError> {
//!     Worker::new().task(Task::new("process-order", process_order).max_attempts(5)).run().await
//! }
//! ```
//!
//! **What a key protects.** An idempotency key deduplicates *triggers*. The code inside a task may run more than once, on
//! each attempt, and from the top again after each wait: wrap what must not in [`Context::step`], and give an outside API the
//! key of [`Context::step_key`].

/// The programs of the README and of the page about tasks compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/tasks.md")]
struct Pages;

mod call;
mod calls;
mod child;
mod context;
mod decided;
mod deployment;
mod error;
mod execute;
mod family;
mod gate;
#[cfg(feature = "host")]
pub mod host;
mod invocation;
mod key;
mod output;
mod patience;
mod queue;
mod standstill;
mod steps;
mod task;
mod timer;
mod token;
mod worker;

pub use call::CallError;
pub use child::Child;
pub use context::{Context, Parts};
pub use error::TaskError;
pub use key::Key;
pub use lambda_runtime::Error as LambdaError;
pub use oncekey_core::protocol::trigger::RunHandle;
pub use oncekey_core::run::retry::RetryPolicy;
pub use oncekey_core::{EnvironmentId, Error as CoreError, RunId, RunStatus, TaskId, Timestamp, TokenId};
pub use oncekey_wire::{CreatedToken, Debounce, Json, KeyRelease, TokenOptions};
pub use queue::Queue;
pub use task::Task;
pub use worker::{Declared, Worker};

/// What a stack hands to [`Worker::handle`] and reads of it, for those who run a worker without Lambda's runtime.
pub mod stack {
    pub use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
    pub use oncekey_core::App;
    pub use oncekey_core::queue::name::QueueName;
}
