//! Keep: what a run has journalled lasts as long as somebody may still read it.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::Run;

/// What a run may still read is kept this much longer than it is known to need it: longer than the messages of a turn can
/// be under way, dead-lettered ones included (28 days).
pub const SPARE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// When an item that is needed until `until` shall expire.
#[must_use]
pub fn expiry(until: Timestamp) -> Timestamp {
    until.plus(SPARE * 2)
}

/// Sees that the steps of a run which is tried again after `pause` are still there then. It costs nothing unless the pause
/// is long or the run is old.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn keep_steps(app: &App, run: &Run, pause: Duration) -> Result<(), Error> {
    let now = app.clock.now();
    if pause < SPARE / 2 && now.since(run.spec.created_at) < SPARE / 2 {
        return Ok(());
    }
    let journal = app.store.journal(&run.id, run.turn.attempt).await?;
    app.store.renew(&run.id, &journal.step_items(), expiry(now.plus(pause))).await
}
