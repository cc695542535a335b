//! One batch of SQS messages, each handled on its own: a failure is reported for its message alone.

use std::future::Future;
use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::Queues;

/// The longest that a message waits for its next delivery after it failed: with the twenty that a source queue allows, more than
/// an hour goes by before it is dead-lettered.
const MAX_PAUSE: Duration = Duration::from_secs(900);

/// What becomes of a message that was handled without error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is done with: delete it.
    Done,
    /// Its time has not come: leave it in the queue for a while, as if it had failed.
    Leave,
    /// Its time comes at this moment: leave it in the queue, hidden until then.
    LeaveUntil(Timestamp),
}

/// Handles every message of `event` at once. A message that is left, or whose handling fails, is reported back and so
/// delivered again: after seconds at first, and later the more often it was received, or after its visibility timeout if that
/// cannot be said to the queue. The rest of the batch is unharmed.
pub async fn each<F>(queues: &Queues, event: SqsEvent, handle: impl Fn(SqsMessage) -> F) -> SqsBatchResponse
where
    F: Future<Output = Result<Disposition, Error>>,
{
    let left = join_all(event.records.into_iter().map(|mut message| {
        let id = message.message_id.clone().unwrap_or_default();
        // What is said to the queue of it takes no body, which may be large.
        let body = message.body.take();
        let mut whole = message.clone();
        whole.body = body;
        let handling = handle(whole);
        async move {
            let again_at = match handling.await {
                Ok(Disposition::Done) => return None,
                Ok(Disposition::Leave) => None,
                Ok(Disposition::LeaveUntil(moment)) => Some(moment),
                Err(error) => {
                    tracing::error!(message_id = %id, %error, "message failed; it will be delivered again");
                    None
                }
            };
            let again_at = again_at.unwrap_or_else(|| queues.clock.now().plus(pause_after(&message)));
            if let Err(error) = queues.hide_until(&message, again_at).await {
                tracing::warn!(message_id = %id, %error, "it will be delivered again after its visibility timeout");
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

/// The pause before the next delivery of a message that failed: it doubles with each, and is drawn out of its upper half, so that
/// what failed together does not come again together.
fn pause_after(message: &SqsMessage) -> Duration {
    let received = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1);
    let doubled = 2u64.checked_pow(received).map_or(MAX_PAUSE, Duration::from_secs);
    doubled.min(MAX_PAUSE).mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(times: u32) -> SqsMessage {
        let mut message = SqsMessage::default();
        message.attributes.insert("ApproximateReceiveCount".to_owned(), times.to_string());
        message
    }

    #[test]
    fn pauses_begin_with_seconds_double_and_end_at_a_quarter_of_an_hour() {
        for (times, seconds) in [(1, 2), (2, 4), (5, 32), (9, 512), (10, 900), (20, 900), (u32::MAX, 900)] {
            let (least, most) = (Duration::from_millis(seconds * 500), Duration::from_secs(seconds));
            let pause = pause_after(&received(times));
            assert!((least..=most).contains(&pause), "{times}: {pause:?}");
        }
        assert!(pause_after(&SqsMessage::default()) <= Duration::from_secs(2));
    }

    #[test]
    fn twenty_deliveries_outlast_an_hour() {
        let shortest: Duration = (1..20).map(|times| pause_after(&received(times)).min(MAX_PAUSE)).sum();
        assert!(shortest > Duration::from_secs(3_600), "{shortest:?}");
    }
}
