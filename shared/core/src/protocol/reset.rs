//! Reset: a person or program frees a key. The run that held it goes on untouched (R40).

use crate::app::App;
use crate::error::Error;
use crate::runs::holder::free;
use crate::store::KeyAddress;
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
