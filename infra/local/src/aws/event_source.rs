//! Lambda's event source mappings, imitated: receive from a queue, invoke a function with a batch, delete what it did not
//! report as failed. What a function leaves, or is killed over, comes again after the visibility timeout.
//!
//! What several invocations are done with is deleted together, as many as there are by then: a call costs as much as a run's
//! other steps.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName};
use futures_util::future::BoxFuture;
use oncekey_core::{Clock, Timestamp};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::aws::iam::queue_arn;

/// A function, as Lambda would invoke it: a batch and the invocation's deadline.
pub(crate) type Function = Arc<dyn Fn(SqsEvent, Timestamp) -> BoxFuture<'static, SqsBatchResponse> + Send + Sync>;

/// How long a mapping that is stopped waits for invocations under way. What it does not wait for is as if killed.
const GRACE: Duration = Duration::from_secs(3);
/// Messages in one request, the most that SQS takes.
const BATCH: usize = 10;
/// The pause after a receive that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// One queue feeding one function.
#[derive(Clone)]
pub(crate) struct Mapping {
    pub sqs: Client,
    pub clock: Clock,
    pub queue_url: String,
    pub function: Function,
    /// Messages an invocation gets at most, 1 to 10.
    pub batch_size: usize,
    /// Invocations at a time.
    pub concurrency: usize,
    /// What limits invocations beside that, together with those of other queues.
    pub slots: Option<Arc<Semaphore>>,
    /// How long an invocation may take before it is killed.
    pub timeout: Duration,
}

impl Mapping {
    /// Polls until `stopped` turns true, then lets the invocations under way end.
    pub(crate) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(self.concurrency));
        let mut invocations = JoinSet::new();
        let mapping = Arc::new(self);
        let (done, to_delete) = mpsc::channel(mapping.concurrency * BATCH);
        let deleting = tokio::spawn(Arc::clone(&mapping).delete(to_delete));
        loop {
            let batch = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                batch = mapping.next_messages(&permits) => batch,
            };
            for messages in batch.chunks(mapping.batch_size) {
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
                let slot = match &mapping.slots {
                    Some(slots) => Some(tokio::select! {
                        biased;
                        _ = stopped.wait_for(|stopped| *stopped) => break,
                        slot = Arc::clone(slots).acquire_owned() => slot,
                    }),
                    None => None,
                };
                let (mapping, messages, done) = (Arc::clone(&mapping), messages.to_vec(), done.clone());
                invocations.spawn(async move {
                    for receipt in mapping.invoke(messages).await {
                        let _ = done.send(receipt).await;
                    }
                    drop((permit, slot));
                });
            }
            while invocations.try_join_next().is_some() {}
        }
        drop(done);
        let all = async {
            while invocations.join_next().await.is_some() {}
            let _ = deleting.await;
        };
        let _ = tokio::time::timeout(GRACE, all).await;
    }

    /// Receives once there is room for an invocation.
    async fn next_messages(&self, permits: &Semaphore) -> Vec<Message> {
        let room = permits.acquire().await;
        drop(room);
        // What waits here for a slot would be seen by nobody else, and not after a restart before its visibility ends.
        let free = match &self.slots {
            Some(slots) => {
                let slot = slots.acquire().await;
                slots.available_permits() + usize::from(slot.is_ok())
            }
            None => BATCH,
        };
        let received = self
            .sqs
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(free.clamp(1, BATCH) as i32)
            .wait_time_seconds(20)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await;
        match received {
            Ok(answer) => answer.messages.unwrap_or_default(),
            Err(error) => {
                tracing::error!(queue = %self.queue_url, error = %DisplayErrorContext(error), "receiving failed");
                tokio::time::sleep(AFTER_FAILURE).await;
                Vec::new()
            }
        }
    }

    /// Invokes the function: the receipts of the messages that are done with.
    async fn invoke(&self, messages: Vec<Message>) -> Vec<String> {
        let mut event = SqsEvent::default();
        event.records = messages.iter().map(|message| self.record(message)).collect();
        let deadline = self.clock.now().plus(self.timeout);
        // A task of its own, so that a panic ends the invocation and not the mapping.
        let mut invocation = tokio::spawn((self.function)(event, deadline));
        match tokio::time::timeout(self.timeout, &mut invocation).await {
            Ok(Ok(response)) => done_with(messages, &response),
            Ok(Err(error)) => {
                tracing::error!(queue = %self.queue_url, %error, "the invocation died");
                Vec::new()
            }
            Err(_) => {
                invocation.abort();
                tracing::error!(queue = %self.queue_url, timeout = ?self.timeout, "the invocation was killed at its timeout");
                Vec::new()
            }
        }
    }

    fn record(&self, message: &Message) -> SqsMessage {
        let name = self.queue_url.rsplit('/').next().unwrap_or_default();
        let mut record = SqsMessage::default();
        record.message_id = message.message_id.clone();
        record.receipt_handle = message.receipt_handle.clone();
        record.body = message.body.clone();
        record.md5_of_body = message.md5_of_body.clone();
        record.event_source = Some("aws:sqs".to_owned());
        record.event_source_arn = Some(queue_arn(name));
        record.aws_region = Some("us-east-1".to_owned());
        let attributes = message.attributes.iter().flatten();
        record.attributes = attributes.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
        let said = message.message_attributes.iter().flatten();
        record.message_attributes = said.map(|(name, value)| (name.clone(), attribute(value))).collect();
        record
    }

    /// Deletes messages by these receipts, as they come.
    async fn delete(self: Arc<Self>, mut receipts: mpsc::Receiver<String>) {
        let mut batch = Vec::with_capacity(BATCH);
        while receipts.recv_many(&mut batch, BATCH).await > 0 {
            let entry = |(index, receipt): (usize, String)| {
                DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt).build().ok()
            };
            let entries = batch.drain(..).enumerate().filter_map(entry).collect();
            let deleted =
                self.sqs.delete_message_batch().queue_url(&self.queue_url).set_entries(Some(entries)).send().await;
            if let Err(error) = deleted {
                // They come again, and handlers tolerate that.
                tracing::warn!(queue = %self.queue_url, error = %DisplayErrorContext(error), "deleting failed");
            }
        }
    }
}

fn attribute(value: &MessageAttributeValue) -> SqsMessageAttribute {
    let mut attribute = SqsMessageAttribute::default();
    attribute.string_value = value.string_value.clone();
    attribute.data_type = Some(value.data_type.clone());
    attribute
}

/// The receipts of the messages that a function did not report as failed.
fn done_with(messages: Vec<Message>, response: &SqsBatchResponse) -> Vec<String> {
    let failed = |message: &Message| {
        let id = message.message_id.as_deref();
        response.batch_item_failures.iter().any(|failure| Some(failure.item_identifier.as_str()) == id)
    };
    messages.into_iter().filter(|message| !failed(message)).filter_map(|message| message.receipt_handle).collect()
}
