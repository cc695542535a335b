//! Oncekey's domain: idempotency keys, runs, and the protocol that keeps them true under crashes and duplicates.
//!
//! Pure rules come first and touch no network: [`key`], [`payload`], [`public_token`], [`run`], [`span`]. What is asked for is
//! parsed in [`request`]. [`protocol`] has one file an operation, and [`runs`] what is done with runs that are there.
//! [`store`] speaks to DynamoDB, [`queue`] to SQS and EventBridge Scheduler, and [`blobs`] to S3, through the official SDKs or
//! by requests that their signer signs; where AWS is not at hand, its wire protocols are imitated outside this crate.
//!
//! Names, hashes and what else goes over the wire are `oncekey-wire`'s; what callers of this crate need of them stands here
//! too. This crate knows no HTTP and no Lambda: functions and the worker crate hand it typed values.

pub mod app;
pub mod blobs;
pub mod bulk;
pub mod clock;
pub mod cron;
pub mod deployment;
pub mod environment;
pub mod environments;
pub mod error;
pub mod flow;
pub mod key;
pub mod payload;
pub mod protocol;
pub mod public_token;
pub mod queue;
pub mod request;
pub mod run;
pub mod runs;
pub mod settings;
mod signed;
pub mod span;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod token;

pub use app::{App, aws_settings};
pub use clock::{Clock, Timestamp};
pub use error::Error;
pub use key::window::Window;
pub use key::{IdempotencyKey, KeyHash, Scope};
pub use oncekey_wire::{
    BatchId, BulkActionId, BulkActionStatus, BulkActionType, EnvironmentId, Invalid, Json, QueueLabel, RequestId,
    RunId, TaskId, TokenId, TokenStatus, WorkerName,
};
pub use run::Run;
pub use run::status::RunStatus;
pub use settings::Settings;
pub use signed::{Signer, put};
