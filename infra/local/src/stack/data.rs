//! The data folder: who uses it, and the files in it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StackError;
use crate::private;

/// A data folder that is ours alone for as long as this lives. The lock goes with the process, however it ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, StackError> {
        let refuse = |why: String| StackError::Data { path: path.to_owned(), why };
        private::folder(path).map_err(|error| refuse(error.to_string()))?;
        let lock = private::open(&path.join("lock")).map_err(|error| refuse(error.to_string()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(refuse("another oncekey is running on it".to_owned())),
            Err(TryLockError::Error(error)) => Err(refuse(error.to_string())),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file of a SQLite database, which takes over whose it is for the files that it puts beside.
    pub(crate) fn database(&self, name: &str) -> Result<PathBuf, StackError> {
        let file = self.file(name);
        private::open(&file).map_err(|error| self.unreadable(error))?;
        for beside in ["-wal", "-shm", "-journal"] {
            private::close(&self.file(&format!("{name}{beside}"))).map_err(|error| self.unreadable(error))?;
        }
        Ok(file)
    }

    /// That something in the folder cannot be read.
    pub(crate) fn unreadable(&self, why: impl ToString) -> StackError {
        StackError::Data { path: self.path.clone(), why: why.to_string() }
    }
}

/// Where the stack that runs on a data folder listens, for commands that speak to its tables.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The HTTP API.
    pub url: String,
    /// The DynamoDB API.
    pub dynamodb: String,
}

impl Endpoints {
    const FILE: &str = "endpoints.json";

    pub(crate) fn write(&self, folder: &DataFolder) -> Result<(), StackError> {
        let text = serde_json::to_string(self).map_err(|error| folder.unreadable(error))?;
        private::write(&folder.file(Self::FILE), text.as_bytes()).map_err(|error| folder.unreadable(error))
    }

    /// Of the stack that runs on `folder`, or ran on it last.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(Self::FILE)).ok()?).ok()
    }
}
