//! Runs that are there: retrieve, list, poll, cancel, replay, reschedule.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{Stream, try_unfold};
use oncekey_wire::{Pagination, Run, RunId, RunLogs, RunName};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, Content};
use crate::error::Error;

/// How long [`Runs::poll`] pauses at first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Client {
    /// Runs that are there.
    #[must_use]
    pub fn runs(&self) -> Runs<'_> {
        Runs { client: self }
    }
}

/// Calls about runs: [`Client::runs`].
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    client: &'a Client,
}

impl Runs<'_> {
    /// A run with its payload, output and error.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let run = client.runs().retrieve("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// println!("{} {:?}", run.status, run.output);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when this environment has no such run, and others.
    pub async fn retrieve(&self, id: impl AsRef<str>) -> Result<Run, Error> {
        self.with_stored(self.glance(id.as_ref()).await?).await
    }

    /// A run with all that is kept in it.
    async fn glance(&self, id: &str) -> Result<Run, Error> {
        self.client.call(Method::GET, &["api", "v3", "runs", id], &[], Content::None).await
    }

    /// Gets what was too large to be kept in the run.
    async fn with_stored(&self, mut run: Run) -> Result<Run, Error> {
        if let Some(url) = run.payload_presigned_url.take() {
            run.payload = self.client.stored(&url).await?;
        }
        if let Some(url) = run.output_presigned_url.take() {
            run.output = self.client.stored(&url).await?;
        }
        Ok(run)
    }

    /// A run once it is final, however long that takes: put a timeout around it.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let end = client.runs().poll("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// assert!(end.is_completed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Runs::retrieve`].
    pub async fn poll(&self, id: impl AsRef<str>) -> Result<Run, Error> {
        let (mut pause, longest) = POLL;
        loop {
            let run = self.glance(id.as_ref()).await?;
            if run.is_completed {
                return self.with_stored(run).await;
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// What a run's task has written, after the first so many lines: 0 for all that are kept, or an earlier answer's `next`.
    /// A stack on a laptop keeps them.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// for line in client.runs().logs("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0).await?.data {
    ///     println!("{} {}", line.at, line.text);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 where lines are not kept, which says where they are; and as [`Runs::retrieve`].
    pub async fn logs(&self, id: impl AsRef<str>, after: u64) -> Result<RunLogs, Error> {
        let path = ["api", "v1", "runs", id.as_ref(), "logs"];
        self.client.call(Method::GET, &path, &[("after".to_owned(), after.to_string())], Content::None).await
    }

    /// Cancels a run; one that is final stays as it is.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// client.runs().cancel("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Runs::retrieve`].
    pub async fn cancel(&self, id: impl AsRef<str>) -> Result<(), Error> {
        let path = ["api", "v2", "runs", id.as_ref(), "cancel"];
        let _: Value = self.client.call(Method::POST, &path, &[], Content::None).await?;
        Ok(())
    }

    /// Triggers the run's task again with what it was given, without its key. The new run's id.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let again = client.runs().replay("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// println!("{again}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Runs::retrieve`].
    pub async fn replay(&self, id: impl AsRef<str>) -> Result<RunId, Error> {
        let path = ["api", "v1", "runs", id.as_ref(), "replay"];
        let replayed: RunName = self.client.call(Method::POST, &path, &[], Content::None).await?;
        Ok(replayed.id)
    }

    /// Gives a run that is still delayed another start: a span like `1h30m`, or an ISO 8601 date.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let run = client.runs().reschedule("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "2h").await?;
    /// println!("{:?}", run.delayed_until);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 422 when it is not delayed any more, and as [`Runs::retrieve`].
    pub async fn reschedule(&self, id: impl AsRef<str>, delay: &str) -> Result<Run, Error> {
        let body = Content::json(&json!({ "delay": delay }))?;
        self.client.call(Method::POST, &["api", "v1", "runs", id.as_ref(), "reschedule"], &[], body).await
    }

    /// Lists runs, newest first.
    ///
    /// ```
    /// # use oncekey_client::Client;
    /// use futures_util::TryStreamExt;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// for n in 0..5 {
    ///     client.trigger("echo", &n).tags(["mine"]).await?;
    /// }
    /// let mut mine = std::pin::pin!(client.runs().list().tag("mine").page_size(2).stream());
    /// let mut count = 0;
    /// while let Some(run) = mine.try_next().await? {
    ///     assert_eq!(run.task_identifier.as_str(), "echo");
    ///     count += 1;
    /// }
    /// assert_eq!(count, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self) -> ListRuns {
        ListRuns { client: self.client.clone(), query: Vec::new() }
    }
}

/// A page of runs, newest first.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Page {
    /// The runs.
    pub data: Vec<Run>,
    pub(crate) pagination: Pagination,
}

impl Page {
    /// Where older runs go on.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.pagination.next.as_deref()
    }

    /// Where newer runs go on.
    #[must_use]
    pub fn previous(&self) -> Option<&str> {
        self.pagination.previous.as_deref()
    }
}

/// A list of runs, to be narrowed down.
#[derive(Clone, Debug)]
#[must_use = "a list is asked for with page() or stream()"]
pub struct ListRuns {
    client: Client,
    query: Vec<(String, String)>,
}

impl ListRuns {
    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// Of this task, or of one of several with commas between.
    pub fn task(self, task: &str) -> Self {
        self.with("filter[taskIdentifier]", task)
    }

    /// In this status, such as `FAILED`, or in one of several with commas between.
    pub fn status(self, status: &str) -> Self {
        self.with("filter[status]", status)
    }

    /// With this tag.
    pub fn tag(self, tag: &str) -> Self {
        self.with("filter[tag]", tag)
    }

    /// New runs of this batch.
    pub fn batch(self, batch: impl AsRef<str>) -> Self {
        self.with("filter[batch]", batch.as_ref())
    }

    /// In this queue; `task/` and the task's id is the one of a task that names none.
    pub fn queue(self, queue: &str) -> Self {
        self.with("filter[queue]", queue)
    }

    /// Triggered by this schedule.
    pub fn schedule(self, schedule: impl AsRef<str>) -> Self {
        self.with("filter[schedule]", schedule.as_ref())
    }

    /// Triggered with this key, whoever holds it now: its text, or its hash if its scope is not `global`.
    pub fn idempotency_key(self, key: impl AsRef<str>) -> Self {
        self.with("filter[idempotencyKey]", key.as_ref())
    }

    /// Created within this span, like `7d`.
    pub fn period(self, span: &str) -> Self {
        self.with("filter[createdAt][period]", span)
    }

    /// Runs a page, 1 to 100; 25 by default.
    pub fn page_size(self, size: usize) -> Self {
        self.with("page[size]", size.to_string())
    }

    /// Older than the cursor [`Page::next`] of another page.
    pub fn after(self, cursor: &str) -> Self {
        self.with("page[after]", cursor)
    }

    /// Newer than the cursor [`Page::previous`] of another page.
    pub fn before(self, cursor: &str) -> Self {
        self.with("page[before]", cursor)
    }

    /// One page.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn page(&self) -> Result<Page, Error> {
        self.client.call(Method::GET, &["api", "v1", "runs"], &self.query, Content::None).await
    }

    /// All of them, page by page as they are asked for.
    pub fn stream(self) -> impl Stream<Item = Result<Run, Error>> {
        let start = (VecDeque::new(), Some(self));
        try_unfold(start, |(mut runs, mut next): (VecDeque<Run>, Option<ListRuns>)| async move {
            loop {
                if let Some(run) = runs.pop_front() {
                    return Ok(Some((run, (runs, next))));
                }
                let Some(list) = next else { return Ok(None) };
                let page = list.page().await?;
                let cursor = page.next().map(str::to_owned);
                runs = page.data.into();
                next = cursor.map(|cursor| {
                    let query = list.query.into_iter().filter(|(name, _)| name != "page[after]").collect();
                    ListRuns { client: list.client, query }.after(&cursor)
                });
            }
        })
    }
}
