//! What is there, looked at and managed: runs in lists and batches, triggered again, given another start.

pub mod batch;
pub mod content;
pub mod find;
pub mod holder;
pub mod list;
pub mod logs;
pub mod metadata;
pub mod queues;
pub mod replay;
pub mod reschedule;
pub mod sweep;
pub mod tag;
pub mod waiting;
