//! SQS: sending what the protocol sends, and answering batches the way Lambda's event source mapping expects; and EventBridge
//! Scheduler, for what is further away than SQS delays.

pub mod batch;
pub mod message;
pub mod name;
pub mod schedules;
pub mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;
use aws_sdk_sqs::types::MessageAttributeValue;
use oncekey_wire::{QueueLabel, TaskId};

use crate::clock::{Clock, Timestamp};
use crate::cron::{Tick, TickMessage};
use crate::error::Error;
use message::{CompletionEvent, RunMessage};
use name::QueueName;
use schedules::{Schedule, Scheduler};
use token::TokenMessage;

/// The longest delay SQS carries; longer ones are schedules, or made of hops.
const MAX_DELAY: Duration = Duration::from_secs(900);
/// The largest message SQS carries (1 MiB).
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The URLs of Oncekey's queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrls {
    /// Queues that carry runs to workers, by the name a trigger gives. `default` is always there.
    pub runs: BTreeMap<QueueName, String>,
    /// The queue of each task that has one of its own: a trigger that names no queue takes it.
    pub of_task: BTreeMap<TaskId, QueueName>,
    /// Where SQS puts a run message that was delivered too often.
    pub runs_dead_letter: String,
    /// Triggers that arrive as messages.
    pub triggers: String,
    /// Where a trigger message goes that can never be carried out.
    pub triggers_dead_letter: String,
    /// Completion events.
    pub completions: String,
    /// Where SQS puts a completion event that was delivered too often.
    pub completions_dead_letter: String,
}

impl QueueUrls {
    /// Whether `message` came from the dead-letter queue of the run queues.
    #[must_use]
    pub fn is_dead_run(&self, message: &SqsMessage) -> bool {
        name_in_url(&self.runs_dead_letter) == name_in_arn(message)
    }

    /// The URL of the queue that `message` came from.
    fn source_of(&self, message: &SqsMessage) -> Option<&str> {
        let others = [&self.runs_dead_letter, &self.triggers, &self.completions, &self.completions_dead_letter];
        let mut all = self.runs.values().chain(others);
        all.find(|url| name_in_url(url) == name_in_arn(message)).map(String::as_str)
    }
}

fn name_in_url(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn name_in_arn(message: &SqsMessage) -> &str {
    message.event_source_arn.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default()
}

/// A client of Oncekey's queues.
#[derive(Clone, Debug)]
pub struct Queues {
    client: aws_sdk_sqs::Client,
    urls: QueueUrls,
    clock: Clock,
    /// Without one, what is far away goes in hops.
    scheduler: Option<Arc<dyn Scheduler>>,
}

impl Queues {
    /// A client that makes no call until it is used.
    #[must_use]
    pub fn new(client: aws_sdk_sqs::Client, urls: QueueUrls, clock: Clock) -> Self {
        Self { client, urls, clock, scheduler: None }
    }

    /// The same, with a scheduler for what is further away than SQS delays.
    #[must_use]
    pub fn with_scheduler(self, scheduler: Arc<dyn Scheduler>) -> Self {
        Self { scheduler: Some(scheduler), ..self }
    }

    /// The queue that carries a run of `task`: the one that its trigger asked for, if there is one of that name, the task's
    /// own, or the default one. The name of a queue is often said by the task's code, which may know queues that are not
    /// deployed.
    #[must_use]
    pub fn for_run(&self, task: &TaskId, asked: Option<&QueueLabel>) -> QueueName {
        let names = [asked.map(QueueLabel::as_str), self.urls.of_task.get(task).map(QueueName::as_str)];
        let mut there = names.into_iter().flatten().filter_map(|name| self.urls.runs.get_key_value(name));
        there.next().map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// Has runs of these tasks carried by `queue`, as long as their triggers and they themselves name no other.
    pub fn adopt(&mut self, tasks: impl IntoIterator<Item = TaskId>, queue: &QueueName) {
        for task in tasks {
            self.urls.of_task.entry(task).or_insert_with(|| queue.clone());
        }
    }

    /// Sends a run message towards its due time: at once, delayed, or by a schedule that sends it shortly before. If none can be
    /// had, it is delayed as long as SQS can, and who receives it sends it on.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the message would not fit, [`Error::Aws`].
    pub async fn send_run(&self, message: &RunMessage) -> Result<(), Error> {
        let RunMessage { run_id, queue, .. } = message;
        let url = self.urls.runs.get(queue).ok_or_else(|| {
            Error::Configuration(format!("run {run_id} is for the queue {queue}, which is not set up"))
        })?;
        let text = fitting(message::text(message)?)?;
        let name = |due_at| schedules::name(message, due_at);
        let scheduled = self.schedule(message.due_at, name, &text, url).await;
        let is_scheduled = scheduled.unwrap_or_else(|error| {
            tracing::warn!(%run_id, %error, "no schedule: it goes in hops");
            false
        });
        if is_scheduled {
            return Ok(());
        }
        self.send(url, text, self.delay_seconds(message.due_at)).await
    }

    /// Sends a tick towards its time, as a run message goes.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn send_tick(&self, tick: Tick) -> Result<(), Error> {
        let (message, url) = (TickMessage { tick }, &self.urls.triggers);
        let text = fitting(message::text(&message)?)?;
        let tick = message.tick;
        let scheduled = self.schedule(Some(tick.at), |_| schedules::name_of_tick(&tick), &text, url).await;
        let is_scheduled = scheduled.unwrap_or_else(|error| {
            tracing::warn!(schedule = %tick.schedule, %error, "no schedule of Scheduler: its tick goes in hops");
            false
        });
        if is_scheduled {
            return Ok(());
        }
        self.send(url, text, self.delay_seconds(Some(tick.at))).await
    }

    /// Whether a schedule sends this message: where there is a scheduler, and it is due later than SQS delays.
    async fn schedule(
        &self,
        due_at: Option<Timestamp>,
        name: impl FnOnce(Timestamp) -> String,
        text: &str,
        url: &str,
    ) -> Result<bool, Error> {
        let (Some(scheduler), Some(due_at)) = (&self.scheduler, due_at) else { return Ok(false) };
        if due_at.since(self.clock.now()) <= MAX_DELAY {
            return Ok(false);
        }
        let Some(schedule) = Schedule::of(name(due_at), text, due_at, url) else { return Ok(false) };
        scheduler.create(schedule).await.map(|()| true)
    }

    /// Deletes the schedule of a message that nobody needs any more, if there is one: should that fail, it is found to be of no
    /// use when it fires.
    pub async fn unschedule(&self, message: &RunMessage) {
        let (Some(scheduler), Some(due_at)) = (&self.scheduler, message.due_at) else { return };
        if due_at <= self.clock.now() {
            return;
        }
        if let Err(error) = scheduler.delete(schedules::name(message, due_at)).await {
            tracing::warn!(run_id = %message.run_id, %error, "its schedule is still there");
        }
    }

    /// Deletes the schedule of a tick that nobody needs any more, if there is one.
    pub async fn unschedule_tick(&self, tick: &Tick) {
        let Some(scheduler) = &self.scheduler else { return };
        if let Err(error) = scheduler.delete(schedules::name_of_tick(tick)).await {
            tracing::warn!(schedule = %tick.schedule, %error, "its tick is still there");
        }
    }

    /// Sends a completion event.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn send_completion(&self, event: &CompletionEvent) -> Result<(), Error> {
        self.send(&self.urls.completions, fitting(message::text(event)?)?, 0).await
    }

    /// Sends the completion of a wait token.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn send_token(&self, message: &TokenMessage) -> Result<(), Error> {
        self.send(&self.urls.completions, fitting(message::text(message)?)?, 0).await
    }

    /// Sends what goes on with a sweep, to those who bring runs to their end.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn send_sweep(&self, message: &impl serde::Serialize) -> Result<(), Error> {
        self.send(&self.urls.completions, fitting(message::text(message)?)?, 0).await
    }

    /// Sends what asks for work on a bulk action, to those who bring runs to their end, so much later.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn send_bulk(&self, message: &impl serde::Serialize, later: Duration) -> Result<(), Error> {
        self.send(&self.urls.completions, fitting(message::text(message)?)?, later.as_secs()).await
    }

    /// Sends the change of a setting.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn send_change(&self, message: &impl serde::Serialize) -> Result<(), Error> {
        self.send(&self.urls.completions, fitting(message::text(message)?)?, 0).await
    }

    /// Sends a trigger as a message.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the message would not fit, [`Error::Aws`].
    pub async fn send_trigger(&self, message: &impl serde::Serialize) -> Result<(), Error> {
        self.send(&self.urls.triggers, fitting(message::text(message)?)?, 0).await
    }

    /// Puts a trigger message that can never be carried out where people look for it, with the reason.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn dead_letter_trigger(&self, body: &str, reason: &str) -> Result<(), Error> {
        const NAME: &str = "oncekey-error";
        const KIND: &str = "String";
        // A message may have come as large as one may be.
        let room = MAX_MESSAGE_BYTES.saturating_sub(body.len() + NAME.len() + KIND.len());
        let reason = message::excerpt(reason, room);
        let mut letter = self.client.send_message().queue_url(&self.urls.triggers_dead_letter).message_body(body);
        if !reason.is_empty() {
            let reason = MessageAttributeValue::builder().data_type(KIND).string_value(reason).build();
            letter = letter.message_attributes(NAME, reason.map_err(Error::aws("sqs:SendMessage"))?);
        }
        letter.send().await.map_err(Error::aws("sqs:SendMessage"))?;
        Ok(())
    }

    /// Hides a received message until `moment`, at most 12 hours away (an SQS limit).
    ///
    /// # Errors
    /// [`Error::Configuration`] when the message came from a queue that is not ours, [`Error::Aws`].
    pub async fn hide_until(&self, message: &SqsMessage, moment: Timestamp) -> Result<(), Error> {
        let url = self
            .urls
            .source_of(message)
            .ok_or_else(|| Error::Configuration(format!("queue {:?} is not set up", message.event_source_arn)))?;
        let seconds = seconds_rounded_up(moment.since(self.clock.now())).min(12 * 60 * 60);
        self.client
            .change_message_visibility()
            .queue_url(url)
            .receipt_handle(message.receipt_handle.as_deref().unwrap_or_default())
            .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(Error::aws("sqs:ChangeMessageVisibility"))?;
        Ok(())
    }

    /// The URLs.
    #[must_use]
    pub fn urls(&self) -> &QueueUrls {
        &self.urls
    }

    /// Under a second the worker waits in place, because SQS delays by whole seconds.
    fn delay_seconds(&self, due_at: Option<Timestamp>) -> u64 {
        match due_at.map(|due_at| due_at.since(self.clock.now())) {
            Some(left) if left >= Duration::from_secs(1) => seconds_rounded_up(left.min(MAX_DELAY)),
            _ => 0,
        }
    }

    async fn send(&self, url: &str, body: String, delay_seconds: u64) -> Result<(), Error> {
        self.client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .set_delay_seconds(i32::try_from(delay_seconds).ok().filter(|seconds| *seconds > 0))
            .send()
            .await
            .map_err(Error::aws("sqs:SendMessage"))?;
        Ok(())
    }
}

/// A message's text, if SQS takes one of its length.
fn fitting(text: String) -> Result<String, Error> {
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(Error::TooLarge(format!(
            "payload: written as a message it takes {} bytes; the limit is {MAX_MESSAGE_BYTES} (1 MiB)",
            text.len()
        )));
    }
    Ok(text)
}

fn seconds_rounded_up(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000) as u64
}
