//! Fingerprint: how a request is known that is sent again, and what is said of one that asks for something else under an id, or a
//! key, that was used.

use data_encoding::BASE64URL_NOPAD;
use oncekey_wire::RunId;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::request::TriggerRequest;
use crate::request::held::OnPayloadMismatch;
use crate::run::Run;
use crate::store::KeyAddress;

/// A request id that comes again with something else.
pub(super) fn other_request() -> Error {
    Error::Unprocessable(
        "this request id was used for a trigger with another key or payload: give each request an id of its own"
            .to_owned(),
    )
}

/// A fingerprint of the key and the payload that a run is asked for with.
pub(super) fn request_fingerprint(request: &TriggerRequest) -> String {
    let place = request.key.as_ref().map(|key| format!("{}#{}", key.place(&request.task), key.hash));
    // A tick is its schedule and its time: what its task is told of others differs between deliveries.
    let request_id = &request.request_id;
    let payload = if request_id.is_tick() { request_id.as_str().to_owned() } else { request.payload.fingerprint() };
    let debounced = request.debounce.as_ref().map(|debounce| format!("\ndebounce {}", debounce.hash));
    let whole = format!("{}\n{payload}{}", place.unwrap_or_default(), debounced.unwrap_or_default());
    let whole = Sha256::digest(whole);
    // 96 bits: it guards against mistakes, and every byte of a run is written again with each of its moves.
    BASE64URL_NOPAD.encode(whole.get(..12).unwrap_or_default())
}

/// Whether the run that is there was made, or another pushed in its name, by a helper of a claim of this key: what was asked for says
/// nothing of the request that names it, which may claim the key again once it was freed.
pub(super) fn was_helped(there: &Run, key: Option<KeyAddress<'_>>) -> bool {
    there.spec.helped && key.is_some() && KeyAddress::of_run(there) == key
}

/// Refuses a duplicate with another payload than that of the run `holder`, if its trigger asked for that.
pub(super) fn guard_payload(guard: OnPayloadMismatch, key: &str, holder: &RunId) -> Result<(), Error> {
    match guard {
        OnPayloadMismatch::Ignore => Ok(()),
        OnPayloadMismatch::Error => Err(Error::Unprocessable(format!(
            "idempotency key {key:?} is held by {holder}, which was triggered with another payload: send that payload, or \
             another key"
        ))),
    }
}
