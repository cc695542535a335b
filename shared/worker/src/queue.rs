//! The queue of a task: how many of its runs execute at a time.

use oncekey_core::TaskId;
use oncekey_wire::{DeclaredQueue, QueueLabel, RateLimit};

/// A queue that a task's runs are in. Tasks that name the same one share it.
///
/// ```
/// use oncekey_worker::{Context, Queue, Task, TaskError};
///
/// async fn send(_: Context, to: String) -> Result<(), TaskError> {
///     println!("to {to}");
///     Ok(())
/// }
///
/// let mail = Task::new("mail", send).queue(Queue::new("mail").concurrency(3));
/// # let _ = mail;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub(crate) name: QueueLabel,
    pub(crate) limit: Limit,
    pub(crate) rate: Option<RateLimit>,
}

/// What code says of a queue's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Nothing: it is said elsewhere, if there is one.
    Unsaid,
    /// So many, or as many as there are.
    Said(Option<u32>),
}

impl Queue {
    /// The queue of this name, without a limit unless another task says one.
    ///
    /// # Panics
    /// When `name` is not 1 to 128 characters without control characters: a worker is set up once, at its start.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = QueueLabel::parse(name).unwrap_or_else(|error| panic!("Queue::new({name:?}): {error}"));
        Self { name, limit: Limit::Unsaid, rate: None }
    }

    /// How many of its runs execute at a time; of each concurrency key by itself, where runs have one. With 0, none starts.
    #[must_use]
    pub fn concurrency(self, limit: u32) -> Self {
        Self { limit: Limit::Said(Some(limit)), ..self }
    }

    /// How many attempts of its runs start in a period of 1 second to 30 days, one after the other at even distances; of each
    /// concurrency key by itself, where runs have one.
    ///
    /// ```
    /// use oncekey_worker::Queue;
    ///
    /// let api = Queue::new("slow-api").rate(10, "1m").burst(3);
    /// # let _ = api;
    /// ```
    ///
    /// What is out of range is refused when the worker is deployed.
    #[must_use]
    pub fn rate(self, limit: u32, period: &str) -> Self {
        Self { rate: Some(RateLimit { limit, period: period.to_owned(), burst: None }), ..self }
    }

    /// How many of the attempts of its rate may start at once, where none has started for a while.
    #[must_use]
    pub fn burst(mut self, burst: u32) -> Self {
        if let Some(rate) = &mut self.rate {
            rate.burst = Some(burst);
        }
        self
    }

    /// That of a task which shares none.
    pub(crate) fn of_task(task: &TaskId, limit: Option<u32>) -> Self {
        Self { name: QueueLabel::of_task(task), limit: Limit::Said(limit), rate: None }
    }

    /// What is declared of it, if its limit is said.
    pub(crate) fn declared(&self) -> Option<DeclaredQueue> {
        let concurrency_limit = match self.limit {
            Limit::Unsaid if self.rate.is_none() => return None,
            Limit::Unsaid => None,
            Limit::Said(limit) => limit,
        };
        Some(DeclaredQueue { name: self.name.clone(), concurrency_limit, rate_limit: self.rate.clone() })
    }
}

impl From<&str> for Queue {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}
