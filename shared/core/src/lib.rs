//! Oncekey's domain: idempotency keys, runs, and the protocol that keeps them true under crashes and duplicates.
//!
//! Pure rules come first and touch no network: [`key`], [`window`], [`status`], [`retry`], [`ids`], [`payload`].
//! Then one file an operation of the protocol: [`trigger`] (with [`claim`]), [`start`], [`complete`], [`reset`],
//! [`cancel`], [`wait`], and [`replay`], [`reschedule`], [`list`] beside it. [`store`] speaks to DynamoDB, [`queue`] to SQS and [`blobs`] to S3, through the official SDKs and nothing else;
//! where AWS is not at hand, its wire protocols are imitated outside this crate.
//!
//! This crate knows no HTTP and no Lambda: functions and the worker crate hand it typed values.

pub mod app;
pub mod batch;
pub mod blobs;
pub mod cancel;
pub mod claim;
pub mod clock;
pub mod complete;
pub mod environment;
pub mod error;
pub mod history;
pub mod ids;
pub mod key;
pub mod key_source;
pub mod list;
pub mod logs;
pub mod metrics;
pub mod object;
pub mod options;
pub mod payload;
pub mod queue;
pub mod replay;
pub mod request;
pub mod reschedule;
pub mod reset;
pub mod retry;
pub mod run;
pub mod span;
pub mod start;
pub mod status;
pub mod store;
pub mod trigger;
pub mod wait;
pub mod window;

pub use app::App;
pub use clock::{Clock, Timestamp};
pub use error::Error;
pub use ids::{BatchId, EnvironmentId, RequestId, RunId, TaskId};
pub use key::{IdempotencyKey, KeyHash, Scope};
pub use run::Run;
pub use status::RunStatus;
pub use window::Window;
