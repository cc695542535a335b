//! Complete: what the end of an attempt makes of its run. Every step tolerates being done twice, so a redelivered event
//! finishes what a crash left half done.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::wait::wake_waiters;
use crate::queue::message::{CompletionEvent, Outcome, RunMessage};
use crate::run::Run;
use crate::run::status::{Event, RunStatus};
use crate::store::{Guard, Moved, Transition};
use crate::telemetry::metrics::{Metric, record};

/// Carries a completion event out.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; the event is to be delivered again.
pub async fn complete(app: &App, event: &CompletionEvent) -> Result<(), Error> {
    let now = app.clock.now();
    let guard = match event.outcome {
        Outcome::Canceled => Guard::Any,
        _ => Guard::At { attempt: event.attempt, resume: event.resume },
    };
    let (what, retry_at) = meaning(&event.outcome, now);
    let mut transition = Transition::new(what, guard, now).error(event.outcome.error());
    if let Outcome::Succeeded { output } = &event.outcome {
        transition = transition.output(output.as_ref());
    }
    if let Some(retry_at) = retry_at {
        transition = transition.next_attempt(event.attempt + 1, retry_at);
    }
    match app.store.move_run(&event.run_id, transition).await? {
        Moved::To(run) => {
            tracing::info!(run_id = %run.id, task = %run.spec.task, environment = %run.spec.environment,
                attempt = event.attempt, status = %run.status, "attempt ended");
            if run.status.is_final() {
                record(Metric::RunEnded(run.status), now);
            }
            follow_up(app, &run).await
        }
        // A redelivered event whose move was made: what follows the move may not have been.
        Moved::Refused(run) if reached(&run, event, what) => follow_up(app, &run).await,
        Moved::Refused(_) | Moved::Gone => {
            tracing::debug!(run_id = %event.run_id, attempt = event.attempt, "stale completion event dropped");
            Ok(())
        }
    }
}

/// What happens to the run, and when it is tried again if it is.
fn meaning(outcome: &Outcome, now: Timestamp) -> (Event, Option<Timestamp>) {
    let after = |millis: u64| Some(now.plus(Duration::from_millis(millis)));
    match outcome {
        Outcome::Succeeded { .. } => (Event::Succeed, None),
        Outcome::Failed { retry_after_ms: Some(pause), .. } | Outcome::Crashed { retry_after_ms: Some(pause), .. } => {
            (Event::Retry, after(*pause))
        }
        Outcome::Failed { retry_after_ms: None, .. } => (Event::Fail, None),
        Outcome::Crashed { retry_after_ms: None, .. } => (Event::Crash, None),
        Outcome::BrokeDown { .. } => (Event::BreakDown, None),
        Outcome::TimedOut { .. } => (Event::TimeOut, None),
        Outcome::Expired => (Event::Expire, None),
        Outcome::Canceled => (Event::Cancel, None),
    }
}

/// Whether the run stands where `event` leads, because it was delivered before.
fn reached(run: &Run, event: &CompletionEvent, what: Event) -> bool {
    let attempt = if what == Event::Retry { event.attempt + 1 } else { event.attempt };
    let same = what == Event::Cancel || (run.attempt == attempt && run.resume == event.resume);
    same && run.status == what.leads_to()
}

/// What must happen after a move: a retry is sent; a failed run's key is cleared, and whoever waits for a final run woken.
async fn follow_up(app: &App, run: &Run) -> Result<(), Error> {
    if run.status == RunStatus::Queued {
        return app.queues.send_run(&RunMessage::next(run)).await;
    }
    if run.status.frees_key() && app.store.clear_key(run).await? {
        record(Metric::KeyCleared, app.clock.now());
    }
    wake_waiters(app, run).await
}
