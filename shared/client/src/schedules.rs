//! Cron schedules: create, retrieve, list, change, stop, start and delete; and the time zones that they are meant in.

use std::collections::VecDeque;

use futures_util::stream::{Stream, try_unfold};
use oncekey_wire::{DeletedSchedule, OnMissed, OnOverlap, Schedule, SchedulesPage, Timezones};
use reqwest::Method;
use serde::Serialize;

use crate::client::{Client, Content};
use crate::error::Error;

/// What a schedule is to do: which task it triggers, and when.
///
/// ```
/// use oncekey_client::{OnOverlap, SchedulePlan};
///
/// let plan = SchedulePlan::new("report", "0 9 * * 1-5")
///     .timezone("Europe/Berlin")
///     .external_id("customer-7")
///     .on_overlap(OnOverlap::Skip);
/// # let _ = plan;
/// ```
///
/// Values are checked where they are received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePlan {
    task: String,
    cron: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_overlap: Option<OnOverlap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_missed: Option<OnMissed>,
}

impl SchedulePlan {
    /// Triggers a task at the times of a cron expression: five fields, `minute hour day-of-month month day-of-week`, or
    /// `@daily` and its like.
    #[must_use]
    pub fn new(task: &str, cron: &str) -> Self {
        Self {
            task: task.to_owned(),
            cron: cron.to_owned(),
            timezone: None,
            external_id: None,
            on_overlap: None,
            on_missed: None,
        }
    }

    /// The time zone that the times are meant in, by its IANA name, like `Europe/Berlin`; UTC by default.
    #[must_use]
    pub fn timezone(self, name: &str) -> Self {
        Self { timezone: Some(name.to_owned()), ..self }
    }

    /// Whom or what the schedule is for, up to 512 characters: the task is told.
    #[must_use]
    pub fn external_id(self, id: &str) -> Self {
        Self { external_id: Some(id.to_owned()), ..self }
    }

    /// What a tick does while the run of an earlier one is under way: its own run all the same, unless something else is said.
    #[must_use]
    pub fn on_overlap(self, on_overlap: OnOverlap) -> Self {
        Self { on_overlap: Some(on_overlap), ..self }
    }

    /// What becomes of missed ticks, which nobody carried out within a quarter of an hour, nor before the next was due: the first
    /// makes its run, late, unless something else is said.
    #[must_use]
    pub fn on_missed(self, on_missed: OnMissed) -> Self {
        Self { on_missed: Some(on_missed), ..self }
    }
}

/// What creates a schedule.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    deduplication_key: &'a str,
    #[serde(flatten)]
    plan: &'a SchedulePlan,
}

impl Client {
    /// Cron schedules.
    #[must_use]
    pub fn schedules(&self) -> Schedules<'_> {
        Schedules { client: self }
    }
}

/// Calls about schedules: [`Client::schedules`].
#[derive(Clone, Copy, Debug)]
pub struct Schedules<'a> {
    client: &'a Client,
}

impl Schedules<'_> {
    /// Creates the schedule of a deduplication key, a text of up to 512 characters; or, where there is one, changes it to this
    /// plan. It is active then. The same call made again changes nothing.
    ///
    /// ```
    /// # use oncekey_client::Client;
    /// use oncekey_client::SchedulePlan;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// let at_nine = SchedulePlan::new("echo", "0 9 * * *").timezone("Europe/Berlin");
    /// let schedule = client.schedules().create("report-of-7", &at_nine).await?;
    /// assert!(schedule.active && schedule.next_run.is_some());
    ///
    /// let at_ten = SchedulePlan::new("echo", "0 10 * * *").timezone("Europe/Berlin");
    /// let changed = client.schedules().create("report-of-7", &at_ten).await?;
    /// assert_eq!(changed.id, schedule.id);
    /// assert_eq!(changed.generator.expression, "0 10 * * *");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 400 naming what no schedule can be made of, and others.
    pub async fn create(&self, deduplication_key: &str, plan: &SchedulePlan) -> Result<Schedule, Error> {
        let body = Content::json(&Create { deduplication_key, plan })?;
        self.client.call(Method::POST, &["api", "v1", "schedules"], &[], body).await
    }

    /// A schedule.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let schedule = client.schedules().retrieve("sched_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// println!("{} {:?}", schedule.generator.description, schedule.next_run);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when this environment has no such schedule, and others.
    pub async fn retrieve(&self, id: impl AsRef<str>) -> Result<Schedule, Error> {
        self.client.call(Method::GET, &["api", "v1", "schedules", id.as_ref()], &[], Content::None).await
    }

    /// Changes a schedule to this plan, whole: what it leaves out is as in a new one. It stays active, or stopped.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// use oncekey_client::SchedulePlan;
    ///
    /// let hourly = SchedulePlan::new("report", "@hourly");
    /// client.schedules().update("sched_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &hourly).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Schedules::create`] and [`Schedules::retrieve`].
    pub async fn update(&self, id: impl AsRef<str>, plan: &SchedulePlan) -> Result<Schedule, Error> {
        let path = ["api", "v1", "schedules", id.as_ref()];
        self.client.call(Method::PUT, &path, &[], Content::json(plan)?).await
    }

    /// Starts a schedule that was stopped; one that is active stays as it is.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let started = client.schedules().activate("sched_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// assert!(started.active);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Schedules::retrieve`].
    pub async fn activate(&self, id: impl AsRef<str>) -> Result<Schedule, Error> {
        let path = ["api", "v1", "schedules", id.as_ref(), "activate"];
        self.client.call(Method::POST, &path, &[], Content::None).await
    }

    /// Stops a schedule: it makes no more runs until it is started again. Runs that it has made go on.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let stopped = client.schedules().deactivate("sched_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// assert_eq!((stopped.active, stopped.next_run), (false, None));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Schedules::retrieve`].
    pub async fn deactivate(&self, id: impl AsRef<str>) -> Result<Schedule, Error> {
        let path = ["api", "v1", "schedules", id.as_ref(), "deactivate"];
        self.client.call(Method::POST, &path, &[], Content::None).await
    }

    /// Deletes a schedule. Runs that it has made go on.
    ///
    /// ```
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// client.schedules().delete("sched_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Schedules::retrieve`]: 404, too, when it was deleted by a try whose answer was lost.
    pub async fn delete(&self, id: impl AsRef<str>) -> Result<(), Error> {
        let path = ["api", "v1", "schedules", id.as_ref()];
        let _: DeletedSchedule = self.client.call(Method::DELETE, &path, &[], Content::None).await?;
        Ok(())
    }

    /// The names of the time zones that a schedule may be meant in.
    ///
    /// ```
    /// # use oncekey_client::Client;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// let timezones = client.schedules().timezones().await?;
    /// assert!(timezones.iter().any(|name| name == "Europe/Berlin"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn timezones(&self) -> Result<Vec<String>, Error> {
        let told: Timezones = self.client.call(Method::GET, &["api", "v1", "timezones"], &[], Content::None).await?;
        Ok(told.timezones)
    }

    /// Lists schedules, by their ids.
    ///
    /// ```
    /// # use oncekey_client::{Client, SchedulePlan};
    /// use futures_util::TryStreamExt;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// for key in ["a", "b", "c"] {
    ///     client.schedules().create(key, &SchedulePlan::new("echo", "@daily")).await?;
    /// }
    /// let all: Vec<_> = client.schedules().list().page_size(2).stream().try_collect().await?;
    /// assert_eq!(all.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self) -> ListSchedules {
        ListSchedules { client: self.client.clone(), number: 1, size: None }
    }
}

/// A list of schedules.
#[derive(Clone, Debug)]
#[must_use = "a list is asked for with page() or stream()"]
pub struct ListSchedules {
    client: Client,
    number: usize,
    size: Option<usize>,
}

impl ListSchedules {
    /// Schedules a page, 1 to 100; 20 by default.
    pub fn page_size(self, size: usize) -> Self {
        Self { size: Some(size), ..self }
    }

    /// Which page, or from which page on; from 1, the default.
    pub fn page_number(self, number: usize) -> Self {
        Self { number, ..self }
    }

    /// One page; beyond the last it is empty.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn page(&self) -> Result<SchedulesPage, Error> {
        let mut query = vec![("page".to_owned(), self.number.to_string())];
        query.extend(self.size.map(|size| ("perPage".to_owned(), size.to_string())));
        self.client.call(Method::GET, &["api", "v1", "schedules"], &query, Content::None).await
    }

    /// This page and all that follow, as they are asked for. What is created or deleted meanwhile moves the others: one of
    /// those may come twice, or not at all.
    pub fn stream(self) -> impl Stream<Item = Result<Schedule, Error>> {
        let start = (VecDeque::new(), Some(self));
        try_unfold(start, |(mut schedules, mut next): (VecDeque<Schedule>, Option<ListSchedules>)| async move {
            loop {
                if let Some(schedule) = schedules.pop_front() {
                    return Ok(Some((schedule, (schedules, next))));
                }
                let Some(list) = next else { return Ok(None) };
                let page = list.page().await?;
                schedules = page.data.into();
                let number = list.number + 1;
                next = (number <= page.pagination.total_pages).then(|| list.page_number(number));
            }
        })
    }
}
