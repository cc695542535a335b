//! Keep: what stands beside a run, its journal included, lasts as long as somebody may still read it.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::{KEPT, Run};

/// What a run may still read is kept this much longer than it is known to need it: longer than the messages of a turn can
/// be under way, dead-lettered ones included (28 days).
pub const SPARE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// When an item that is needed until `until` shall expire.
#[must_use]
pub fn expiry(until: Timestamp) -> Timestamp {
    until.plus(SPARE * 2)
}

/// Until when what is put beside `run` at `now`, before its start or at its end, is kept: beyond its start, all messages that
/// are under way for it, and its record, however early it ends.
#[must_use]
pub fn beside_until(run: &Run, now: Timestamp) -> Timestamp {
    expiry(run.spec.due_at().max(now)).max(run.kept_until())
}

/// Sees that the payload and the steps of a run which is tried again after `pause` are still there then. It costs nothing
/// unless the pause is long or the run is old.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn keep_for_retry(app: &App, run: &Run, pause: Duration) -> Result<(), Error> {
    let now = app.clock.now();
    if pause < SPARE / 2 && now.since(run.spec.created_at) < SPARE / 2 {
        return Ok(());
    }
    let mut items = app.store.journal(&run.id, run.spec.created_at, run.turn.attempt).await?.step_items();
    items.extend(beside(run));
    app.store.renew(&run.id, &items, expiry(now.plus(pause))).await
}

/// Sees that what stands beside a delayed run is still there when it starts at `due_at`, and after that. It costs nothing
/// unless that is long after its first start.
///
/// # Errors
/// [`Error::Aws`].
pub(crate) async fn keep_for_start(app: &App, run: &Run, due_at: Timestamp) -> Result<(), Error> {
    if due_at.since(run.spec.due_at()) < SPARE {
        return Ok(());
    }
    app.store.renew(&run.id, &beside(run), expiry(due_at)).await
}

/// Sees that what stands beside a run that has ended lasts as long as its record. It costs nothing unless the run ended long
/// after its start.
///
/// # Errors
/// [`Error::Aws`].
pub(super) async fn keep_for_record(app: &App, run: &Run) -> Result<(), Error> {
    let Some(finished_at) = run.finished_at else { return Ok(()) };
    if finished_at.since(run.spec.due_at()) < SPARE {
        return Ok(());
    }
    app.store.renew(&run.id, &beside(run), finished_at.plus(KEPT).max(run.kept_until())).await
}

fn beside(run: &Run) -> Vec<String> {
    run.beside().map(|name| name.as_str().to_owned()).collect()
}
