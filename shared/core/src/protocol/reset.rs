//! Reset: a person or program frees a key. The run that held it goes on untouched (R40).

use crate::app::App;
use crate::error::Error;
use crate::store::{KeyAddress, KeyRecord};
use crate::telemetry::metrics::{Metric, record};

/// Frees a key.
///
/// # Errors
/// [`Error::NotFound`] when nobody holds it or its window is over (R42), [`Error::Aws`].
pub async fn reset(app: &App, address: KeyAddress<'_>) -> Result<(), Error> {
    if app.store.reset_key(address, app.clock.now()).await? {
        let KeyAddress { environment, place, hash } = address;
        record(Metric::KeyReset, app.clock.now());
        tracing::info!(key_hash = %hash, %place, %environment, "key reset");
        return Ok(());
    }
    Err(free(address))
}

/// Who holds a key, and until when.
///
/// # Errors
/// [`Error::NotFound`] when nobody does: its window may be over, or its run have failed though the key is not cleared yet;
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn look_up(app: &App, address: KeyAddress<'_>) -> Result<KeyRecord, Error> {
    let record = app.store.key(address).await?.filter(|record| record.window_ends_at > app.clock.now());
    let record = record.ok_or_else(|| free(address))?;
    match app.store.run(&record.run_id).await? {
        Some(run) if run.status.frees_key() || !record.made(&run) => Err(free(address)),
        // Without a run, its claimer is a moment behind, or died: either way the key names a run to come.
        _ => Ok(record),
    }
}

fn free(KeyAddress { place, hash, .. }: KeyAddress<'_>) -> Error {
    Error::NotFound(format!(
        "no live idempotency key {hash} for {place}: it was never used, has been reset, its run failed, or its window is over"
    ))
}
