//! A page of a bulk action: taken in hand by one write, done, and counted by another.

use futures_util::{StreamExt, TryStreamExt, stream};
use oncekey_wire::{BulkActionStatus, BulkActionType, RequestId, RunId};

use crate::app::App;
use crate::bulk::{PAGE, StoredBulkAction};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::cancel::cancel;
use crate::request::KeyHeaders;
use crate::run::status::RunStatus;
use crate::runs::find::find;
use crate::runs::list::{Cursor, Filter, PageStart, list};
use crate::runs::replay::{ReplayRequest, replay};

/// Runs of a page that are done at a time.
const AT_ONCE: usize = 10;

/// The action after what is to be done next was done; `None` if nothing is. What was taken in hand is done also of an action that was
/// stopped since: some of it may have been done already, and nobody could tell how much.
pub(super) async fn turn(app: &App, action: &StoredBulkAction) -> Result<Option<StoredBulkAction>, Error> {
    let next = match (action.hand.is_empty(), action.status) {
        (false, _) => done(app, action).await?,
        (true, BulkActionStatus::Pending) => taken(app, action).await?,
        (true, BulkActionStatus::Completed | BulkActionStatus::Aborted) => return Ok(None),
    };
    let is_over = next.status == BulkActionStatus::Pending && next.hand.is_empty() && next.is_exhausted();
    Ok(Some(if is_over {
        StoredBulkAction { status: BulkActionStatus::Completed, completed_at: Some(app.clock.now()), ..next }
    } else {
        next
    }))
}

/// The action with its next runs in hand. Nothing is done with them before this is written: whoever finds them there later does the
/// same runs, whatever their statuses are by then.
async fn taken(app: &App, action: &StoredBulkAction) -> Result<StoredBulkAction, Error> {
    let mut next = action.clone();
    if !next.rest.is_empty() {
        next.hand = next.rest.drain(..next.rest.len().min(PAGE)).collect();
        return Ok(next);
    }
    let Some(filter) = &action.filter else { return Ok(next) };
    if filter.statuses.as_ref().is_some_and(Vec::is_empty) {
        // No run is in none of the statuses, as none that has ended is to be cancelled: there is nothing to look for.
        next.filter = None;
        return Ok(next);
    }
    let filter = older_than(filter, action.created_at);
    let start = match &action.after {
        Some(place) => PageStart::After(Cursor::parse("cursor", place)?),
        None => PageStart::Newest,
    };
    let page = list(app, &action.environment, &filter, &start, PAGE).await?;
    next.hand = page.runs.into_iter().map(|run| run.id).collect();
    next.counts.total += next.hand.len() as u64;
    next.after = page.next.map(|cursor| cursor.to_string());
    if next.after.is_none() {
        next.filter = None;
    }
    Ok(next)
}

/// Only runs from before the action, so that it never meets its own replays, nor what was triggered after it was asked for.
fn older_than(filter: &Filter, created_at: Timestamp) -> Filter {
    let last = Timestamp::from_millis(created_at.millis() - 1);
    Filter { to: Some(filter.to.map_or(last, |to| to.min(last))), ..filter.clone() }
}

/// The action with what was in hand done and counted.
async fn done(app: &App, action: &StoredBulkAction) -> Result<StoredBulkAction, Error> {
    let each: Vec<_> = action.hand.iter().map(|id| do_one(app, action, id)).collect();
    let outcomes: Vec<bool> = stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await?;
    let mut next = StoredBulkAction { hand: Vec::new(), ..action.clone() };
    let success = outcomes.iter().filter(|done| **done).count() as u64;
    next.counts.success += success;
    next.counts.failure += outcomes.len() as u64 - success;
    Ok(next)
}

/// Does one run. Whether that succeeded: done again, it says the same.
async fn do_one(app: &App, action: &StoredBulkAction, id: &RunId) -> Result<bool, Error> {
    let done = match action.kind {
        BulkActionType::Cancel => is_canceled(app, action, id).await,
        BulkActionType::Replay => replay_once(app, action, id).await.map(|()| true),
    };
    match done {
        Err(error) if !error.is_transient() => {
            tracing::info!(action = %action.id, run_id = %id, %error, "a run of a bulk action is counted as a failure");
            Ok(false)
        }
        done => done,
    }
}

/// Cancels a run, and looks how it has ended: that does not change any more.
async fn is_canceled(app: &App, action: &StoredBulkAction, id: &RunId) -> Result<bool, Error> {
    cancel(app, &action.environment, id).await?;
    match find(app, &action.environment, id).await?.status {
        RunStatus::Canceled => Ok(true),
        status if status.is_final() => Ok(false),
        _ => Err(Error::Contended(id.to_string())),
    }
}

/// Replays a run under a request id that is this action's and this run's, so that it has one replay however often it is done.
async fn replay_once(app: &App, action: &StoredBulkAction, id: &RunId) -> Result<(), Error> {
    let asked = ReplayRequest {
        environment: action.environment.clone(),
        request_id: RequestId::from_bulk_action(&action.id),
        key: KeyHeaders::default(),
        traceparent: None,
        by_hand: false,
    };
    replay(app, asked, id, b"").await.map(drop)
}
