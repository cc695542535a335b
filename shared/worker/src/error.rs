//! Why a task failed, and whether trying again may help.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::call::CallError;

/// The error of a task. Any error turns into one with `?`, and is retried; [`TaskError::abort`] is not.
///
/// It is no `std::error::Error` itself, which is what lets every such error turn into it.
pub struct TaskError {
    pub(crate) name: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) stack: Option<String>,
    pub(crate) retry: Retry,
    pub(crate) kind: Kind,
}

/// Whether and when the task is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// As its policy says.
    ByPolicy,
    /// Not at all.
    Never,
    /// After this pause: whoever knows better than the policy says so.
    #[cfg_attr(not(feature = "host"), expect(dead_code, reason = "said by the host alone"))]
    After(Duration),
}

/// What kind of end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The task failed.
    Failed,
    /// It died, or what carried it did.
    #[cfg_attr(not(feature = "host"), expect(dead_code, reason = "said by the host alone"))]
    Crashed,
    /// It took longer than it may.
    TimedOut,
}

impl TaskError {
    /// A failure that another attempt may mend.
    pub fn new(message: impl Into<String>) -> Self {
        Self { name: "Error".into(), message: message.into(), stack: None, retry: Retry::ByPolicy, kind: Kind::Failed }
    }

    /// A failure that no attempt can mend: the run fails now, whatever attempts are left.
    pub fn abort(message: impl Into<String>) -> Self {
        Self { name: "AbortTaskRunError".into(), retry: Retry::Never, ..Self::new(message) }
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
