//! Trigger Oncekey tasks from Rust.
//!
//! A trigger with an idempotency key makes one run, however often it is sent: the first makes the run, every later one
//! within the key's window gets the same run's id.
//!
//! ```
//! use oncekey_client::{Client, Error};
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
//! # let (url, api_key) = (stack.url(), "tr_dev_local");
//! let client = Client::new(&url, api_key)?; // or Client::from_env()
//!
//! let first = client.trigger("echo", &json!({ "order": 42 })).idempotency_key("order-42").key_ttl("5m").await?;
//! let again = client.trigger("echo", &json!({ "order": 42 })).idempotency_key("order-42").key_ttl("5m").await?;
//! assert_eq!(first.id, again.id);
//! assert!(again.is_cached);
//!
//! let run = client.runs().poll(&first.id).await?;
//! assert_eq!(run.output.expect("an output"), json!({ "order": 42 }));
//! # Ok(())
//! # }
//! ```
//!
//! Calls that fail on the way are sent again, up to five times in all, with the same request id: so even a trigger without
//! a key makes one run, however often its answer was lost.

/// The program of the page about the HTTP API compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/http-api.md")]
struct HttpApiPage;

mod batch;
mod bulk;
mod client;
mod error;
mod key;
mod keys;
mod queues;
mod runs;
mod schedules;
mod tokens;
mod trigger;
mod workers;

pub use batch::BatchItem;
pub use bulk::{BulkActions, ListBulkActions};
pub use client::Client;
pub use error::Error;
pub use key::Key;
pub use oncekey_wire::options::misnamed;
pub use oncekey_wire::{
    Attempt, AttemptError, AttemptStatus, AwaitedPlace, AwaitedRun, BatchHandle, BatchId, BatchItemError, BatchReport,
    BatchStatus, BulkAction, BulkActionId, BulkActionStatus, BulkActionType, BulkActionsPage, BulkCounts,
    BulkSelection, CreatedToken, Debounce, DeclaredCron, DeployedTask, Deployment, Env, EnvironmentId, Family,
    Generator, Handle, HeldKey, Idempotency, Json, KeyGroup, KeyHash, KeyRelease, KeyStatus, Manifest, OnMissed,
    OnOverlap, Pages, Processing, Queue, QueueConcurrency, QueueLabel, QueueType, RelatedRun, RelatedRuns, Reported,
    Run, RunError, RunFields, RunId, RunSchedule, RunStatus, Schedule, ScheduleEnvironment, ScheduleId, SchedulesPage,
    Scope, TaskId, Timestamp, Token, TokenId, TokenOptions, TokenStatus, TokensPage, TriggerFunction, TriggerOptions,
    WaitingFor, WorkerName,
};
pub use queues::Queues;
pub use runs::{ListRuns, Page, Runs};
pub use schedules::{ListSchedules, SchedulePlan, Schedules};
pub use tokens::{ListTokens, Tokens};
pub use trigger::Trigger;
pub use workers::Workers;
