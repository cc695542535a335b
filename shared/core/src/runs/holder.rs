//! Who holds a key.

use crate::app::App;
use crate::error::Error;
use crate::protocol::debounce::stands_for;
use crate::protocol::overdue::end_if_overdue;
use crate::store::{KeyAddress, KeyRecord};

/// Who holds a key, which an error calls as `shown`, and until when.
///
/// # Errors
/// [`Error::NotFound`] when nobody does: its window may be over, or its run have come to an end that frees it though it is
/// not cleared yet; [`Error::Aws`], [`Error::Unreadable`].
pub async fn look_up(app: &App, address: KeyAddress<'_>, shown: &str) -> Result<KeyRecord, Error> {
    let record = app.store.key(address).await?.filter(|record| record.window_ends_at > app.clock.now());
    let mut record = record.ok_or_else(|| free(address, shown))?;
    let run = match app.store.run(&record.run_id).await? {
        Some(run) => Some(end_if_overdue(app, run).await?),
        None => None,
    };
    // Without a run, its claimer is a moment behind, or died: either way the key names a run to come.
    let Some(run) = run else { return Ok(record) };
    let is_its = record.made(address, &run);
    let run = stands_for(app, run).await?;
    if !is_its || record.is_freed_by(&run) {
        return Err(free(address, shown));
    }
    record.run_id = run.id;
    Ok(record)
}

/// Nobody holds this key.
pub(crate) fn free(KeyAddress { place, .. }: KeyAddress<'_>, shown: &str) -> Error {
    Error::NotFound(format!(
        "no live idempotency key {shown:?} for {place}: it was never used, has been reset, its run came to an end that frees it, or its window is over"
    ))
}
