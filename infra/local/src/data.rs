//! The data folder: who uses it, and the files in it.

use std::fs::{DirBuilder, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::StackError;

/// A data folder that is ours alone for as long as this lives. The lock goes with the process, however it ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, StackError> {
        let refuse = |why: String| StackError::Data { path: path.to_owned(), why };
        private(DirBuilder::new().recursive(true)).create(path).map_err(|error| refuse(error.to_string()))?;
        let lock = File::create(path.join("lock")).map_err(|error| refuse(error.to_string()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(refuse("another oncekey is running on it".to_owned())),
            Err(TryLockError::Error(error)) => Err(refuse(error.to_string())),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// That something in the folder cannot be read.
    pub(crate) fn unreadable(&self, why: impl ToString) -> StackError {
        StackError::Data { path: self.path.clone(), why: why.to_string() }
    }
}

/// For its owner alone: payloads are kept in it.
fn private(builder: &mut DirBuilder) -> &mut DirBuilder {
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
    builder
}
