//! Why a task failed, and whether trying again may help.

use std::any::Any;
use std::error::Error;
use std::fmt;

use crate::call::CallError;

/// The error of a task. Any error turns into one with `?`, and is retried; [`TaskError::abort`] is not.
///
/// It is no `std::error::Error` itself, which is what lets every such error turn into it.
pub struct TaskError {
    pub(crate) name: &'static str,
    pub(crate) message: String,
    pub(crate) retry: bool,
}

impl TaskError {
    /// A failure that another attempt may mend.
    pub fn new(message: impl Into<String>) -> Self {
        Self { name: "Error", message: message.into(), retry: true }
    }

    /// A failure that no attempt can mend: the run fails now, whatever attempts are left.
    pub fn abort(message: impl Into<String>) -> Self {
        Self { name: "AbortTaskRunError", message: message.into(), retry: false }
    }
}

/// Keeps the whole chain of causes in the message.
impl<E: Error + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        if let Some(error) = (&error as &dyn Any).downcast_ref::<CallError>().filter(|error| !error.may_pass()) {
            return Self::abort(error.to_string());
        }
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::new(message)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}
