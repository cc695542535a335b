//! Wait: a run gives up its worker until what it waits for has come.
//!
//! It writes what it waits for into its journal, registers itself on each child that is not final yet, and suspends on
//! condition that its counter of wake-ups is still what it was. Whoever ends a child takes it out of the journal's set;
//! when the set is empty the run is woken. No wake-up can fall in between: one that comes while the run is still awake
//! raises the counter, and so the suspension is refused.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::message::RunMessage;
use crate::queue::name::QueueName;
use crate::run::Run;
use crate::run::status::RunStatus;
use crate::run::waiter::Waiter;
use crate::store::{Move, Moved, WaitRecord};

/// What came of an attempt to suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// The run waits; its worker lets go of it.
    Suspended,
    /// There was a wake-up meanwhile: look whether it was for this wait, and try again with this count.
    LookAgain {
        /// Wake-ups so far.
        wakes: u32,
    },
    /// The run is not this attempt's any more: it was cancelled, or its lease ran out.
    Lost,
}

/// Journals that `waiter` waits for `children`, and registers it with each. The record as it now is: children that are
/// final already are not in its set. Doing it again finds what was done.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn await_children(
    app: &App,
    waiter: &Waiter,
    record: WaitRecord,
    until: Timestamp,
) -> Result<WaitRecord, Error> {
    let mut record = app.store.put_wait(waiter, record, until).await?;
    for child in record.pending.clone() {
        if !app.store.register_waiter(&child, waiter).await? {
            record = app.store.remove_pending(waiter, &child).await?.unwrap_or(record);
        }
    }
    Ok(record)
}

/// Journals that `waiter` waits until `record.due_at`, and sends the message that will wake it then.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn await_time(
    app: &App,
    waiter: &Waiter,
    queue: &QueueName,
    record: WaitRecord,
    until: Timestamp,
) -> Result<WaitRecord, Error> {
    let record = app.store.put_wait(waiter, record, until).await?;
    app.queues.send_run(&RunMessage::wake(waiter, queue, record.due_at)).await?;
    Ok(record)
}

/// Suspends `run`, whose attempt has computed for `spent`, for `waiter`, unless there was a wake-up since `seen`: one
/// conditional write.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn suspend(
    app: &App,
    run: &Run,
    waiter: &Waiter,
    seen: u32,
    spent: Duration,
    until: Timestamp,
) -> Result<Suspension, Error> {
    let let_go = Move::Suspend { turn: run.turn, waiter, seen, spent, until };
    Ok(match app.store.move_run(&run.id, let_go, app.clock.now()).await? {
        Moved::To(_) => Suspension::Suspended,
        Moved::Refused(now) if now.status == RunStatus::Executing && now.turn == run.turn => {
            Suspension::LookAgain { wakes: now.wakes }
        }
        Moved::Refused(_) | Moved::Gone => Suspension::Lost,
    })
}

/// Tells everybody who waits for `child` that it has ended.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; to be done again from the start.
pub async fn wake_waiters(app: &App, child: &Run) -> Result<(), Error> {
    for waiter in &child.waiters {
        let left = app.store.remove_pending(waiter, &child.id).await?;
        // Gone: the journal was deleted with its run, long ago.
        if left.is_some_and(|record| record.pending.is_empty()) {
            wake(app, waiter).await?;
        }
    }
    Ok(())
}

/// Wakes a run whose wait is over. Done twice, it sends the resume message twice, and one of them is dropped.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn wake(app: &App, waiter: &Waiter) -> Result<(), Error> {
    loop {
        match app.store.move_run(&waiter.run, Move::Wake { waiter }, app.clock.now()).await? {
            Moved::To(run) => return app.queues.send_run(&RunMessage::of(&run)).await,
            Moved::Refused(run) if run.turn.attempt != waiter.attempt => return Ok(()),
            Moved::Refused(run) if run.status == RunStatus::Queued && run.waiting_on.as_ref() == Some(waiter) => {
                return app.queues.send_run(&RunMessage::of(&run)).await;
            }
            Moved::Refused(run) if run.status == RunStatus::Executing => {
                // Still awake, perhaps about to suspend: after this it cannot without looking again. If it has suspended
                // meanwhile, look again ourselves: whoever woke it may have died before the message was sent.
                let raised = app.store.raise_wakes(&waiter.run).await?;
                if raised.is_none_or(|run| run.status == RunStatus::Executing) {
                    return Ok(());
                }
            }
            Moved::Refused(_) | Moved::Gone => return Ok(()),
        }
    }
}
