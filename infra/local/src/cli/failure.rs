//! Why a command failed, and with which exit code.

use std::process::ExitCode;

use oncekey_client::{Reported, Run, RunId, RunStatus};

use crate::error::StackError;

/// What keeps a command from being done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Stack(#[from] StackError),
    #[error(transparent)]
    Client(oncekey_client::Error),
    #[error("no Oncekey at {0}: start one with `oncekey dev`, or say in TRIGGER_API_URL where one is")]
    Nobody(String),
    #[error("no Oncekey answers: {0}\nstart one with `oncekey dev`, or say in TRIGGER_API_URL where one is")]
    Unreachable(oncekey_client::Error),
    #[error(transparent)]
    Core(#[from] oncekey_core::Error),
    /// Wrong usage that the parser cannot see.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NotDone(String),
    #[error("{id} ended {status}")]
    RunFailed { id: RunId, status: Reported<RunStatus> },
    #[error("nobody holds {key:?} in {task}")]
    KeyIsFree { key: String, task: String },
}

impl From<oncekey_client::Error> for Failure {
    fn from(error: oncekey_client::Error) -> Self {
        match error {
            oncekey_client::Error::Unreachable(why) if why.is_connect() && why.url().is_some() => {
                Self::Nobody(why.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default())
            }
            oncekey_client::Error::Unreachable(why) => Self::Unreachable(oncekey_client::Error::Unreachable(why)),
            other => Self::Client(other),
        }
    }
}

/// How a command that waited for a run ends: as the run did.
pub(crate) fn end_of(run: Run) -> Result<(), Failure> {
    if run.status == RunStatus::Completed {
        return Ok(());
    }
    Err(Failure::RunFailed { id: run.fields.id, status: run.fields.status })
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Stack(_)
            | Self::Client(_)
            | Self::Nobody(_)
            | Self::Unreachable(_)
            | Self::Core(_)
            | Self::NotDone(_) => 1,
            Self::Usage(_) => 2,
            Self::RunFailed { .. } => 3,
            Self::KeyIsFree { .. } => 4,
        })
    }
}
