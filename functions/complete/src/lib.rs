//! Run-completion events and those of wait tokens, changes of queues, bulk actions, the dead-letter queues of runs and completions, and the
//! daily sweep: no run is left hanging.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use oncekey_core::cron::TickMessage;
use oncekey_core::protocol::bulk::{self, BulkMessage};
use oncekey_core::protocol::change::{ChangeMessage, carry_out};
use oncekey_core::protocol::complete::complete;
use oncekey_core::protocol::dead_letter::{end_dead_run, end_unreadable_run, send_unsent_run};
use oncekey_core::protocol::{token, wait::rouse};
use oncekey_core::queue::batch::{self, Disposition};
use oncekey_core::queue::message::{CompletionEvent, Remains, RunMessage};
use oncekey_core::queue::schedules::unsent;
use oncekey_core::queue::token::TokenMessage;
use oncekey_core::runs::sweep::{SweepMessage, sweep};
use oncekey_core::{App, Error};

/// Handles one batch, from whichever of the three queues it came.
pub async fn handle(app: &App, event: SqsEvent) -> SqsBatchResponse {
    batch::each(&app.queues, event, |message| async move {
        if app.queues.urls().is_dead_run(&message) {
            return dead_letter(app, &message).await;
        }
        let body = message.body.as_deref().unwrap_or_default();
        if let Some(asked) = SweepMessage::parse(body) {
            return sweep(app, asked).await;
        }
        if let Some(work) = BulkMessage::parse(body) {
            return bulk::go_on(app, work).await;
        }
        if let Some(change) = ChangeMessage::parse(body) {
            return carry_out(app, change).await;
        }
        if let Some(completion) = TokenMessage::parse(body)? {
            return token::tell(app, &completion).await;
        }
        complete(app, &CompletionEvent::parse(body)?).await
    })
    .await
}

/// Brings the run of a message that was delivered too often to an end, or to its next attempt.
async fn dead_letter(app: &App, message: &SqsMessage) -> Result<Disposition, Error> {
    let unsent = unsent(message);
    let body = unsent.as_deref().or(message.body.as_deref()).unwrap_or_default();
    if let Some(tick) = TickMessage::parse(body) {
        app.queues.send_tick(tick).await?;
        return Ok(Disposition::Done);
    }
    match RunMessage::parse(body) {
        Ok(message) if unsent.is_some() => send_unsent_run(app, &message).await,
        Ok(dead) => end_dead_run(app, &dead).await,
        Err(error) => match Remains::of(body) {
            Some(Remains { run_id, wakes: true }) => rouse(app, &run_id).await,
            Some(Remains { run_id, .. }) => end_unreadable_run(app, &run_id, &error.to_string()).await,
            None => {
                tracing::error!(message_id = ?message.message_id, %error, "a dead run message names no run; dropped");
                Ok(Disposition::Done)
            }
        },
    }
}
