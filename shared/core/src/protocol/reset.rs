//! Reset: a person or program frees a key. The run that held it goes on untouched (R40).

use oncekey_wire::{RequestId, RunId};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::fingerprint::other_request;
use crate::runs::holder::free;
use crate::store::{KeyAddress, ResetRecord};
use crate::telemetry::metrics::{Metric, record};

/// Frees a key, which an error calls as `shown`. It ends the claim that holds the key when it looks, and no later one: a
/// delete whose answer is lost is sent again by the SDK, and may come after the next claim.
///
/// # Errors
/// [`Error::NotFound`] when nobody holds it or its window is over (R42), [`Error::Aws`], [`Error::Unreadable`].
pub async fn reset(app: &App, address: KeyAddress<'_>, shown: &str) -> Result<(), Error> {
    let Some((run, claimed_at)) = claim(app, address).await? else { return Err(free(address, shown)) };
    reset_claim(app, address, &run, claimed_at).await
}

/// The claim that holds a key now.
async fn claim(app: &App, address: KeyAddress<'_>) -> Result<Option<(RunId, Timestamp)>, Error> {
    let holder = app.store.key(address).await?.filter(|holder| holder.window_ends_at > app.clock.now());
    Ok(holder.map(|holder| (holder.run_id, holder.created_at)))
}

/// Frees a key, once for a request: sent again, it answers what it answered, and leaves the key to whoever claimed it since.
/// A request is known for a day.
///
/// # Errors
/// As [`reset`]; [`Error::Unprocessable`] when the request's id was used to free another key.
pub async fn reset_once(app: &App, address: KeyAddress<'_>, shown: &str, request: &RequestId) -> Result<(), Error> {
    let record = ResetRecord::new(address, claim(app, address).await?);
    // Before the delete: whoever dies in between has said which claim it meant, and the next try ends that one.
    let meant = app.store.remember_reset(request, record, app.clock.now()).await?;
    if !meant.is_of(address) {
        return Err(other_request());
    }
    let Some((run, claimed_at)) = meant.claim() else { return Err(free(address, shown)) };
    reset_claim(app, address, run, claimed_at).await
}

/// Frees a key if the claim of this run and moment holds it; whoever else holds it keeps it.
///
/// # Errors
/// [`Error::Aws`].
pub async fn reset_claim(app: &App, address: KeyAddress<'_>, run: &RunId, claimed_at: Timestamp) -> Result<(), Error> {
    if app.store.free_key(address, run, claimed_at).await? {
        tell(app, address);
    }
    Ok(())
}

fn tell(app: &App, KeyAddress { environment, place, hash }: KeyAddress<'_>) {
    record(Metric::KeyReset, app.clock.now());
    tracing::info!(key_hash = %hash, %place, %environment, "key reset");
}
