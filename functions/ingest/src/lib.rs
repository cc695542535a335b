//! Triggers that arrive as messages on the `triggers` queue, deduplicated exactly as those over HTTP; and the ticks of cron
//! schedules.
//!
//! A message is `{"environment": "acme/prod", "task": "send-email", "payload": …, "options": {…}, "requestId"?: "…"}`,
//! with `payload` and `options` as in the HTTP body. Whoever may send to the queue may trigger in every environment:
//! its access policy is its lock.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use oncekey_core::cron::TickMessage;
use oncekey_core::protocol::tick::tick;
use oncekey_core::protocol::trigger::trigger;
use oncekey_core::queue::batch::{self, Disposition};
use oncekey_core::request::ignored::Ignored;
use oncekey_core::request::{Envelope, TriggerMessage};
use oncekey_core::{App, Error, RequestId};

/// Handles one batch.
pub async fn handle(app: &App, event: SqsEvent) -> SqsBatchResponse {
    batch::each(&app.queues, event, |message| ingest(app, message)).await
}

/// Triggers what one message asks for. A message that can never be carried out goes to the dead-letter queue at once,
/// with the reason; one that merely failed is delivered again.
async fn ingest(app: &App, message: SqsMessage) -> Result<Disposition, Error> {
    if let Some(due) = TickMessage::parse(message.body.as_deref().unwrap_or_default()) {
        return tick(app, due, message.message_id.as_deref().unwrap_or_default()).await;
    }
    match trigger_from(app, &message).await {
        Ok(()) => {}
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => {
            let id = message.message_id.as_deref().unwrap_or_default();
            tracing::error!(message_id = id, %error, "trigger message refused; it is in the dead-letter queue");
            app.queues.dead_letter_trigger(message.body.as_deref().unwrap_or(" "), &error.to_string()).await?;
        }
    }
    Ok(Disposition::Done)
}

async fn trigger_from(app: &App, message: &SqsMessage) -> Result<(), Error> {
    let body = message.body.as_deref().unwrap_or_default();
    let (asked, ignored) = Ignored::parse::<TriggerMessage<'_>>(body.as_bytes())?;
    // Who sends messages writes them by hand, and there is no answer to tell of it in.
    ignored.refused()?;
    app.environments.require(&asked.environment).await?;
    let request_id = match &asked.request_id {
        Some(id) => RequestId::from_caller(id)?,
        None => RequestId::from_message(message.message_id.as_deref().unwrap_or_default()),
    };
    let envelope = Envelope {
        traceparent: asked.traceparent.clone(),
        ..Envelope::new(asked.environment.clone(), asked.task.clone(), request_id, app.clock.now())
    };
    trigger(app, asked.into_body().check(envelope)?).await.map(drop)
}
