//! Why the local stack cannot start: one clear line each.

use std::path::PathBuf;

/// What keeps the local stack from running.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The port is taken, or not ours to take.
    #[error("cannot listen on 127.0.0.1:{port}: {source}. Choose another with --port")]
    Port {
        /// The port.
        port: u16,
        /// The system's word.
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}: {why}. Choose another with --data, or --memory for none", path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The tasks in TypeScript cannot be run.
    #[error("{0}")]
    TaskFiles(String),
    /// The DynamoDB API refused to set a table up.
    #[error("cannot set up the tables: {0}")]
    Tables(String),
    /// The SQS API refused to set a queue up.
    #[error("cannot set up the queue {0}")]
    Sqs(String),
    /// The queues' database failed.
    #[error("the queues' database: {0}")]
    Queues(#[from] rusqlite::Error),
    /// The objects' folder cannot be used.
    #[error("the folder of large payloads: {0}")]
    Objects(String),
    /// The domain refused.
    #[error(transparent)]
    Core(#[from] oncekey_core::Error),
}
