//! Bulk: many runs cancelled or replayed by one call. The action is written, and a message asks for work on it; whoever gets that
//! takes a page of runs in hand, does them, counts them, and takes the next (`page.rs`).
//!
//! All that has been done is written in the action, so any message about it means the same: go on from where it stands. One that comes
//! twice, or late, finds what there is to do; two who work on it at once do a page twice, which is once, and one of them writes. What
//! nobody works on any more is sent for again by whoever looks at it, and by the daily sweep.

pub mod list;
mod page;

use std::time::{Duration, Instant};

use oncekey_wire::{BulkActionId, EnvironmentId, RequestId};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::bulk::{BulkRequest, StoredBulkAction};
use crate::clock::Timestamp;
use crate::cron::fresh;
use crate::error::Error;
use crate::queue::batch::Disposition;

/// How long one message works on an action before it sends the next.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long whoever met another at work waits before it looks whether that one is still there.
const LOOKS_AGAIN: Duration = Duration::from_secs(60);
/// After so long without a write nobody is at work.
const AT_WORK: Duration = Duration::from_secs(30);
/// After so long its message is lost, or not far behind, and then somebody is sent for twice.
const NOT_HEARD_OF: Duration = Duration::from_secs(5 * 60);

/// A message that asks for work on an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkMessage {
    bulk: BulkWork,
}

/// Which, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkWork {
    /// The action.
    pub action: BulkActionId,
    /// Whether somebody else was at work when this was sent: it is for the case that they have died.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub watches: bool,
}

impl BulkMessage {
    /// The work that a message asks for, if it does.
    #[must_use]
    pub fn parse(body: &str) -> Option<BulkWork> {
        // As it is written, so that an event is read once.
        let message: Self = body.starts_with(r#"{"bulk":"#).then(|| serde_json::from_str(body).ok())??;
        Some(message.bulk)
    }
}

async fn send(app: &App, action: &BulkActionId) -> Result<(), Error> {
    let bulk = BulkWork { action: action.clone(), watches: false };
    app.queues.send_bulk(&BulkMessage { bulk }, Duration::ZERO).await
}

async fn send_to_watch(app: &App, action: &BulkActionId) -> Result<(), Error> {
    let bulk = BulkWork { action: action.clone(), watches: true };
    app.queues.send_bulk(&BulkMessage { bulk }, LOOKS_AGAIN).await
}

/// Makes an action. The same request sent again gets the action that it made, whatever has become of it.
///
/// # Errors
/// [`Error::Unprocessable`] when this request's id was used for another action, [`Error::Aws`], [`Error::Unreadable`].
pub async fn create(
    app: &App,
    environment: &EnvironmentId,
    request_id: &RequestId,
    request: BulkRequest,
) -> Result<StoredBulkAction, Error> {
    let id = BulkActionId::named(environment, request_id);
    let action = StoredBulkAction::new(id, environment.clone(), request, app.clock.now());
    let action = match app.store.create_bulk_action(&action).await? {
        None => action,
        Some(there) if there.fingerprint == action.fingerprint => there,
        Some(_) => {
            let text = "this request id was used for another bulk action: give each request an id of its own";
            return Err(Error::Unprocessable(text.to_owned()));
        }
    };
    // Also for one that is there: whoever put it may have died before this.
    if !action.is_over() {
        send(app, &action.id).await?;
    }
    Ok(action)
}

/// The action with this id, if it is of this environment. Should nobody have worked on it for long, somebody is sent for.
///
/// # Errors
/// [`Error::NotFound`] otherwise, [`Error::Aws`], [`Error::Unreadable`].
pub async fn find(app: &App, environment: &EnvironmentId, id: &BulkActionId) -> Result<StoredBulkAction, Error> {
    let now = app.clock.now();
    let is_there = |action: &StoredBulkAction| action.environment == *environment && action.ends_at() > now;
    let action = app.store.bulk_action(id).await?.filter(is_there);
    let action =
        action.ok_or_else(|| Error::NotFound(format!("there is no bulk action {id} in {environment}, or no more")))?;
    send_if_lost(app, &action, now).await?;
    Ok(action)
}

/// Stops an action: no page is begun any more. What was done stays, and the page that is in hand is finished, so that each of its
/// runs is counted. One that has ended stays as it is, and that is not an error.
///
/// # Errors
/// As [`find`].
pub async fn abort(app: &App, environment: &EnvironmentId, id: &BulkActionId) -> Result<(), Error> {
    let action = find(app, environment, id).await?;
    app.store.abort_bulk_action(&action.id, app.clock.now()).await.map(drop)
}

/// Sends for somebody to work on an action that is not done with, if nobody has for long.
async fn send_if_lost(app: &App, action: &StoredBulkAction, now: Timestamp) -> Result<(), Error> {
    if action.is_over() || now.since(action.updated_at) <= NOT_HEARD_OF {
        return Ok(());
    }
    tracing::warn!(action = %action.id, "nobody works on this bulk action: it is sent for again");
    // First the note: who dies before the message has kept others from sending for as long as this.
    if app.store.note_bulk_action_sent(action, now).await? {
        send(app, &action.id).await?;
    }
    Ok(())
}

/// Works on an action, page by page, as long as one message may; then the next message goes on.
///
/// # Errors
/// [`Error::Aws`] and others that another try may mend: then the message comes again, and finds what was done.
pub async fn go_on(app: &App, asked: BulkWork) -> Result<Disposition, Error> {
    let (begun, me) = (Instant::now(), fresh());
    let Some(mut action) = app.store.bulk_action(&asked.action).await? else { return Ok(Disposition::Done) };
    if app.clock.now() < action.created_at {
        // Replays would be older than the action by this clock, and it would find them.
        return Ok(Disposition::LeaveUntil(action.created_at));
    }
    if asked.watches && app.clock.now().since(action.updated_at) < AT_WORK {
        if !action.is_over() {
            send_to_watch(app, &action.id).await?;
        }
        return Ok(Disposition::Done);
    }
    while let Some(next) = page::turn(app, &action).await? {
        let next = StoredBulkAction {
            version: action.version + 1,
            written_by: me.clone(),
            updated_at: app.clock.now(),
            ..next
        };
        if app.store.write_bulk_action(&action, &next).await? {
            action = next;
        } else {
            let Some(there) = app.store.bulk_action(&action.id).await? else { break };
            let is_ours = there.version == next.version && there.written_by == me;
            // Stopped meanwhile, or ours though the answer was lost; else somebody else is at it.
            if !is_ours && there.version != action.version {
                send_to_watch(app, &action.id).await?;
                break;
            }
            action = there;
        }
        if begun.elapsed() > PATIENCE {
            send(app, &action.id).await?;
            break;
        }
    }
    Ok(Disposition::Done)
}

/// Sends for somebody to work on those actions of an environment of the last days that nobody works on.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn send_lost(app: &App, environment: &EnvironmentId) -> Result<(), Error> {
    let now = app.clock.now();
    for action in list::of_last_days(app, environment, now).await? {
        send_if_lost(app, &action, now).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_asks_for_work_on_an_action() {
        let action = BulkActionId::parse(&format!("bulk_{}", "a".repeat(32))).expect("an id");
        for watches in [false, true] {
            let bulk = BulkWork { action: action.clone(), watches };
            let text = serde_json::to_string(&BulkMessage { bulk: bulk.clone() }).expect("text");
            assert_eq!(BulkMessage::parse(&text), Some(bulk));
        }
        assert_eq!(BulkMessage::parse(r#"{"v":1,"run_id":"run_x"}"#), None);
        assert_eq!(BulkMessage::parse(r#"{"bulk":{"action":"x"}}"#), None);
    }
}
