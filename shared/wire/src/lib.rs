//! What goes over Oncekey's HTTP API, once for those who write it and those who read it: names, the hash of a key, moments,
//! statuses, and the answers.
//!
//! This crate has no I/O and few dependencies, so that a client stays light. What a server does with these values is in
//! `oncekey-core`.

mod attempt;
mod batch;
mod bulk;
mod debounce;
mod deployment;
mod error;
mod ids;
mod json;
mod key;
mod logs;
mod names;
pub mod options;
mod pages;
mod queues;
mod read;
mod release;
mod reported;
mod run;
mod schedule;
mod status;
mod time;
mod token;
mod trigger;
mod waiting;

pub use attempt::{Attempt, AttemptError, AttemptStatus};
pub use batch::{BatchHandle, BatchItemError, BatchReport, BatchStatus, ItemsAnswer, Processing};
pub use bulk::{
    BulkAction, BulkActionHandle, BulkActionStatus, BulkActionType, BulkActionsPage, BulkCounts, BulkSelection,
};
pub use debounce::Debounce;
pub use deployment::{DeclaredCron, DeployedTask, Deployment, Manifest, WorkerName, Workers};
pub use error::{ErrorAnswer, Invalid, RunError};
pub use ids::{BatchId, BulkActionId, EnvironmentId, RequestId, RunId, ScheduleId, TaskId, TokenId};
pub use json::Json;
pub use key::{KeyGroup, KeyHash, KeyOptions, Parent, Scope};
pub use logs::{LogLine, RunLogs};
pub use options::{TriggerBody, TriggerOptions};
pub use pages::Pages;
pub use queues::{
    DeclaredQueue, EnvironmentPaused, MAX_CONCURRENCY, Queue, QueueConcurrency, QueueLabel, QueueType, QueuesPage,
    RateLimit,
};
pub use read::Run;
pub use release::KeyRelease;
pub use reported::Reported;
pub use run::{
    Env, Family, Pagination, RelatedRun, RelatedRuns, RetrievedRun, RunFields, RunItem, RunName, RunsPage,
    TriggerFunction,
};
pub use schedule::{
    DeletedSchedule, Generator, OnMissed, OnOverlap, RunSchedule, Schedule, ScheduleEnvironment, SchedulesPage,
    Timezones,
};
pub use status::RunStatus;
pub use time::Timestamp;
pub use token::{CompletedToken, CreatedToken, Token, TokenOptions, TokenStatus, TokensPage};
pub use trigger::{Handle, HeldKey, Idempotency, KeyStatus, ResetAnswer};
pub use waiting::{AwaitedPlace, AwaitedRun, WaitingFor};
