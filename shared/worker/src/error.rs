//! Why a task failed, and whether trying again may help.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use oncekey_core::run::retry::RetryPolicy;

use crate::call::CallError;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Retry {
    /// As its policy says.
    ByPolicy,
    /// Not at all.
    Never,
    /// As another policy says, but for how many attempts there are in all.
    By(Box<RetryPolicy>),
    /// After this pause, if there is another attempt.
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

    /// The same failure, after which the next attempt, if one is left, begins after this pause and not after its task's own:
    /// whoever was asked has said when to ask again. Up to 365 days; a longer one is as long as that.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use oncekey_worker::{Context, TaskError};
    ///
    /// async fn charge(_: Context, order: String) -> Result<(), TaskError> {
    ///     Err(TaskError::new(format!("{order}: too many requests")).retry_after(Duration::from_secs(30)))
    /// }
    /// # let _ = charge;
    /// ```
    #[must_use]
    pub fn retry_after(self, pause: Duration) -> Self {
        Self { retry: Retry::After(pause.min(LONGEST_PAUSE)), ..self }
    }

    /// The same failure, after which the pauses are those of this policy and not of the task's: for errors of one kind. An
    /// attempt beyond the policy's last, or the run's, there is not.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use oncekey_worker::{Context, RetryPolicy, TaskError};
    ///
    /// /// A mail server that is busy is asked for hours; whatever else fails follows the task's own policy.
    /// const BUSY: RetryPolicy = RetryPolicy {
    ///     max_attempts: 10,
    ///     factor: 3.0,
    ///     first_pause: Duration::from_secs(10),
    ///     max_pause: Duration::from_secs(3_600),
    ///     randomised: true,
    /// };
    ///
    /// async fn send(_: Context, address: String) -> Result<(), TaskError> {
    ///     let socket = std::net::TcpStream::connect(address);
    ///     socket.map_err(|error| TaskError::from(error).retry(BUSY))?;
    ///     Ok(())
    /// }
    /// # let _ = send;
    /// ```
    #[must_use]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        Self { retry: Retry::By(Box::new(policy)), ..self }
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
