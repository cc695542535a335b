//! What a public token may not ask for: whoever was given one for a task reaches the runs that it makes, and no others.

use crate::error::Error;
use crate::payload::PayloadType;
use crate::public_token::TokenUse;
use crate::request::held::{OnKeyHeld, OnPayloadMismatch};
use crate::request::{Parentage, TriggerRequest};

impl TriggerRequest {
    /// The same, asked for with this public token.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the option that reaches other runs, or what others have stored.
    pub fn by_token(self, token: TokenUse) -> Result<Self, Error> {
        let is_child = self.parentage != Parentage::None || self.options.placement.contains_key("parentRunId");
        let is_in_group = self.key.as_ref().is_some_and(|key| key.group.is_some());
        let refused = [
            (is_child, "options.parentRunId"),
            (self.on_key_held == OnKeyHeld::Replace, "onKeyHeld \"replace\""),
            // It tells whether a guess is what another has triggered with.
            (self.on_payload_mismatch == OnPayloadMismatch::Error, "onPayloadMismatch \"error\""),
            (self.debounce.is_some(), "options.debounce"),
            (is_in_group, "options.idempotencyKeyGroup"),
            (self.payload.kind == PayloadType::Store, "options.payloadType \"application/store\""),
        ];
        match refused.into_iter().find(|(is_asked, _)| *is_asked) {
            Some((_, option)) => Err(not_by_token(option)),
            None => Ok(Self { token: Some(token), ..self }),
        }
    }
}

/// The refusal of an option.
#[must_use]
pub fn not_by_token(option: &str) -> Error {
    Error::forbidden(format!(
        "{option} reaches more than the run that is triggered: leave it out, or trigger with the API key"
    ))
}
