//! What makes and completes a wait token, parsed at the door.

use std::time::Duration;

use oncekey_wire::{Json, TokenStatus};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::window::Window;
#[cfg(feature = "openapi")]
use crate::request::described::TagsSchema;
use crate::request::ignored::Ignored;
use crate::request::values::{delay_until, tags};

/// The longest key, in characters.
const MAX_KEY: usize = 2048;
/// The longest text of what a token is completed with, in bytes.
pub const MAX_DATA_BYTES: usize = 128 * 1024;
/// How long a token waits that does not say so.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The body of `POST /api/v1/waitpoints/tokens`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TokenBody {
    /// When its time is over: a span from now like `1h30m`, or an ISO 8601 date, up to 365 days away; ten minutes if absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    timeout: Option<Value>,
    /// There is one token of a key while its window lasts. Up to 2,048 characters; an empty one is none.
    #[cfg_attr(feature = "openapi", schema(max_length = 2048))]
    idempotency_key: Option<String>,
    /// How long the key gives that token: a whole number and `s`, `m`, `h` or `d`, from 1s to 365d; 30 days if absent.
    #[serde(rename = "idempotencyKeyTTL")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9]+[smhd]$"))]
    idempotency_key_ttl: Option<String>,
    /// A tag, or up to ten, each of 1 to 128 characters.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TagsSchema>))]
    tags: Option<Value>,
}

/// What a token is to be, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// When its time is over.
    pub timeout_at: Timestamp,
    /// Its key, if it has one, and until when that gives it.
    pub key: Option<(String, Timestamp)>,
    /// Its tags.
    pub tags: Vec<String>,
}

impl TokenBody {
    /// Reads one that came at `now`; nothing at all is one without options.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, [`Error::Unprocessable`] for fields that nobody reads.
    pub fn parse(text: &[u8], now: Timestamp) -> Result<TokenRequest, Error> {
        let (body, ignored) = if text.is_empty() { Default::default() } else { Ignored::parse_plain::<Self>(text)? };
        ignored.refused()?;
        let window = body.idempotency_key_ttl.as_deref();
        let window = window.map(|text| Window::from_wire("idempotencyKeyTTL", text)).transpose()?.unwrap_or_default();
        let key = body.idempotency_key.filter(|key| !key.is_empty());
        let length = key.as_ref().map_or(0, |key| key.chars().count());
        if length > MAX_KEY {
            let text = format!("is {length} characters long; the limit is {MAX_KEY}");
            return Err(Error::invalid("idempotencyKey", text));
        }
        let over = || Error::invalid("timeout", "is over already: give a span like \"1h\", or a date to come");
        let timeout_at = match body.timeout.filter(|value| !value.is_null()) {
            None => now.plus(DEFAULT_TIMEOUT),
            Some(value) => delay_until("timeout", &value, now)?.ok_or_else(over)?,
        };
        let tags = body.tags.filter(|value| !value.is_null()).map(|value| tags("tags", value)).transpose()?;
        Ok(TokenRequest { timeout_at, key: key.map(|key| (key, window.end(now))), tags: tags.unwrap_or_default() })
    }
}

/// The body of `POST /api/v1/waitpoints/tokens/{id}/complete`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompleteBody {
    /// What the token is completed with: any JSON of up to 128 KB.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    data: Option<Json>,
}

impl CompleteBody {
    /// Reads one: the JSON text of its data.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::TooLarge`], [`Error::Unprocessable`] for fields that nobody reads.
    pub fn parse(text: &[u8]) -> Result<Option<String>, Error> {
        let (body, ignored) = if text.is_empty() { Default::default() } else { Ignored::parse_plain::<Self>(text)? };
        ignored.refused()?;
        body.data.map(|data| bounded("data", data.get().to_owned())).transpose()
    }
}

/// What a body that was sent to a token's URL completes it with: its JSON, or else its text, unless it is said to be JSON.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Invalid`] for what is not UTF-8, or not the JSON that it is said to be.
pub fn called_back_with(body: Vec<u8>, is_said_to_be_json: bool) -> Result<Option<String>, Error> {
    let text = String::from_utf8(body).map_err(|_| Error::invalid("body", "it is not UTF-8"))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let text = match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => text,
        // It may have been cut off, and a token is completed once.
        Err(error) if is_said_to_be_json => return Err(Error::json("body", &error)),
        Err(_) => Value::from(text).to_string(),
    };
    bounded("body", text).map(Some)
}

fn bounded(field: &str, text: String) -> Result<String, Error> {
    if text.len() > MAX_DATA_BYTES {
        let size = text.len();
        return Err(Error::TooLarge(format!("{field}: {size} bytes of JSON; the limit is {MAX_DATA_BYTES} (128 KB)")));
    }
    // Nested no deeper than whoever waits can read, and of whole characters.
    serde_json::from_str::<Value>(&text).map_err(|error| Error::json(field, &error))?;
    Ok(text)
}

/// The status of this name.
///
/// # Errors
/// [`Error::Invalid`] naming those that there are.
pub fn status(field: &str, name: &str) -> Result<TokenStatus, Error> {
    let status = TokenStatus::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(name));
    status.ok_or_else(|| {
        Error::invalid(field, format!("{name:?} is not a status; there are: WAITING, COMPLETED, TIMED_OUT"))
    })
}
