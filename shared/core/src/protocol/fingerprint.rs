//! Fingerprint: how a request is known that is sent again, and what is said of one whose id was used otherwise.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::request::TriggerRequest;

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
