//! The message of a wait token's completion, on the `completions` queue.

use oncekey_wire::{EnvironmentId, TokenId};
use serde::{Deserialize, Serialize};

use super::message::VERSION;
use crate::error::Error;

/// A message that completes a token and wakes those who wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMessage {
    /// Which token, and what with.
    pub completes: TokenEvent,
}

/// A completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEvent {
    /// [`VERSION`].
    pub v: u32,
    /// The token's environment.
    pub environment: EnvironmentId,
    /// The token.
    pub token: TokenId,
    /// The JSON text that it is completed with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<String>,
}

impl TokenMessage {
    /// The message that completes a token with this JSON text.
    #[must_use]
    pub fn new(environment: &EnvironmentId, token: &TokenId, output: Option<&str>) -> Self {
        let (environment, token) = (environment.clone(), token.clone());
        Self { completes: TokenEvent { v: VERSION, environment, token, output: output.map(str::to_owned) } }
    }

    /// The completion that a message tells, if it tells one.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn parse(body: &str) -> Result<Option<TokenEvent>, Error> {
        // As it is written, so that an event is read once.
        if !body.starts_with(r#"{"completes":"#) {
            return Ok(None);
        }
        let unreadable = |why: String| Error::unreadable("a token's completion", why);
        let message: Self = serde_json::from_str(body).map_err(|error| unreadable(error.to_string()))?;
        match message.completes.v {
            1..=VERSION => Ok(Some(message.completes)),
            newer => Err(unreadable(format!("its version is {newer}, and this code reads up to {VERSION}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_read_as_it_is_written_and_what_is_none_is_told_from_one_that_cannot_be_read() {
        let environment = EnvironmentId::parse("acme/prod").expect("an environment");
        let token = TokenId::fresh(crate::Timestamp::from_millis(7));
        let message = TokenMessage::new(&environment, &token, Some("{}"));
        let text = serde_json::to_string(&message).expect("text");
        assert_eq!(TokenMessage::parse(&text).expect("a completion"), Some(message.completes));
        assert_eq!(TokenMessage::parse(r#"{"v":1,"run_id":"run_x"}"#).expect("none"), None);
        for text in [&text.replace("\"v\":1", "\"v\":99"), r#"{"completes":{}}"#] {
            assert!(TokenMessage::parse(text).is_err(), "{text}");
        }
    }
}
