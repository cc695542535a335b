//! One batch of SQS messages, each handled on its own: a failure is reported for its message alone.

use std::future::Future;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::Queues;

/// What becomes of a message that was handled without error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is done with: delete it.
    Done,
    /// Its time has not come: leave it in the queue.
    Leave,
    /// Its time comes at this moment: leave it in the queue, hidden until then.
    LeaveUntil(Timestamp),
}

/// Handles every message of `event` at once. A message that is left, or whose handling fails, is reported back and so
/// delivered again after its visibility timeout; the rest of the batch is unharmed.
pub async fn each<F>(queues: &Queues, event: SqsEvent, handle: impl Fn(SqsMessage) -> F) -> SqsBatchResponse
where
    F: Future<Output = Result<Disposition, Error>>,
{
    let left = join_all(event.records.into_iter().map(|message| {
        let id = message.message_id.clone().unwrap_or_default();
        let handling = handle(message.clone());
        async move {
            match handling.await {
                Ok(Disposition::Done) => return None,
                Ok(Disposition::Leave) => {}
                Ok(Disposition::LeaveUntil(moment)) => {
                    if let Err(error) = queues.hide_until(&message, moment).await {
                        tracing::warn!(message_id = %id, %error, "not hidden; it comes after its visibility timeout");
                    }
                }
                Err(error) => tracing::error!(message_id = %id, %error, "message failed; it will be delivered again"),
            }
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            Some(failure)
        }
    }))
    .await;
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = left.into_iter().flatten().collect();
    response
}
