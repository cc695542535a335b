//! What a run is given and what it returns: text of a declared type.

pub(crate) mod number;
pub mod path;

use data_encoding::BASE64URL_NOPAD;
use oncekey_wire::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::payload::number::mark_inexact;
use crate::payload::path::BlobPath;

/// How a payload's text is to be read. The names are the wire's.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadType {
    /// JSON, as it was sent.
    #[default]
    #[serde(rename = "application/json")]
    Json,
    /// JSON `{"json": value, "meta": …}`: the official client's way to carry dates, maps and the like.
    #[serde(rename = "application/super+json")]
    SuperJson,
    /// The bare text.
    #[serde(rename = "text/plain")]
    Text,
    /// The path of an object in the store, which has a type of its own.
    #[serde(rename = "application/store")]
    Store,
}

impl PayloadType {
    /// The wire's name, which is a media type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::SuperJson => "application/super+json",
            Self::Text => "text/plain",
            Self::Store => "application/store",
        }
    }

    /// Whether it is JSON, which goes without saying.
    #[must_use]
    pub fn is_json(&self) -> bool {
        *self == Self::Json
    }

    /// The type that an object in the store declares; JSON unless it is another of ours.
    #[must_use]
    pub fn of_content_type(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or_default().trim();
        [Self::SuperJson, Self::Text].into_iter().find(|kind| kind.as_str() == essence).unwrap_or_default()
    }
}

/// A payload or an output: text, and how to read it. Checked when it was parsed, so reading cannot fail on our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The text as it was sent; `None` when there is none.
    pub text: Option<String>,
    /// How to read it.
    pub kind: PayloadType,
}

impl Payload {
    /// The largest payload: 3 MB, which a Lambda's request carries however it is escaped.
    pub const MAX_BYTES: usize = 3 * 1024 * 1024;
    /// The largest payload that is kept in its run: 200 KB, so that the run with its output fits DynamoDB's 400 KB an item.
    pub const MAX_INLINE_BYTES: usize = 200 * 1024;

    /// Takes a payload as it stands in a trigger's body.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not of its declared type, [`Error::TooLarge`] beyond [`Payload::MAX_BYTES`].
    pub fn from_wire(raw: Option<&RawValue>, kind: PayloadType) -> Result<Self, Error> {
        let Some(raw) = raw else {
            return Ok(Self { text: None, kind });
        };
        let malformed = |error: serde_json::Error| Error::json("payload", &error);
        let text = match kind {
            PayloadType::Json => raw.get().to_owned(),
            // A string that holds the JSON, as the client sends it, or the JSON itself.
            PayloadType::SuperJson if !raw.get().starts_with('"') => raw.get().to_owned(),
            PayloadType::SuperJson => serde_json::from_str::<String>(raw.get()).map_err(malformed)?,
            PayloadType::Text | PayloadType::Store if !raw.get().starts_with('"') => {
                let text = format!("with payloadType {}, give a string", kind.as_str());
                return Err(Error::invalid("payload", text));
            }
            PayloadType::Text | PayloadType::Store => serde_json::from_str::<String>(raw.get()).map_err(malformed)?,
        };
        if text.len() > Self::MAX_BYTES {
            return Err(Error::TooLarge(format!(
                "payload: {} bytes; the limit is {} (3 MB). Store it elsewhere and send a reference",
                text.len(),
                Self::MAX_BYTES
            )));
        }
        if kind == PayloadType::Store {
            BlobPath::parse("payload", &text)?;
        }
        let payload = Self { text: Some(text), kind };
        payload.value().map_err(malformed)?;
        Ok(payload)
    }

    /// What the task sees: the JSON value, the value within SuperJSON, or the text as a string. Of one in the store, which
    /// is to be fetched first, the path.
    ///
    /// # Errors
    /// The parser's, when the text is not of its declared type.
    pub fn value(&self) -> Result<Option<Value>, serde_json::Error> {
        self.json()?.map(|json| json.read()).transpose()
    }

    /// The same as it was written, to the last digit.
    ///
    /// # Errors
    /// As [`Payload::value`].
    pub fn json(&self) -> Result<Option<Json>, serde_json::Error> {
        let Some(text) = &self.text else { return Ok(None) };
        Ok(match self.kind {
            PayloadType::Text | PayloadType::Store => Some(Json::of(text)?),
            PayloadType::Json => Some(serde_json::from_str(text)?),
            PayloadType::SuperJson => serde_json::from_str::<SuperJson>(text)?.json,
        })
    }

    /// The path of a packet that its caller may still change.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not a path, which was refused before.
    pub(crate) fn packet(&self) -> Result<Option<BlobPath>, Error> {
        let text = self.text.as_ref().filter(|_| self.kind == PayloadType::Store);
        let path = text.map(|text| BlobPath::parse("payload", text)).transpose()?;
        Ok(path.filter(|path| !path.is_ours()))
    }

    /// The value with a [text](number::mark_inexact) in the place of each number that no double stands for.
    pub(crate) fn marked_value(&self) -> Option<Value> {
        let json = self.json().ok().flatten()?;
        serde_json::from_str(&mark_inexact(json.get())).ok()
    }

    /// sha256 of the canonical JSON (RFC 8785) of what the task sees: equal for equal values, however they are spelled, and
    /// different for numbers that differ in any digit.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let value = self.marked_value().unwrap_or(Value::Null);
        let canonical = serde_json_canonicalizer::to_vec(&value).unwrap_or_default();
        BASE64URL_NOPAD.encode(&Sha256::digest(&canonical))
    }
}

#[derive(Deserialize)]
struct SuperJson {
    #[serde(default)]
    json: Option<Json>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(raw: &str, kind: PayloadType) -> Result<Payload, Error> {
        let raw: Box<RawValue> = serde_json::from_str(raw).expect("json");
        Payload::from_wire(Some(&raw), kind)
    }

    #[test]
    fn super_json_gives_its_value_and_keeps_its_text() {
        let sent = r#""{\"json\":{\"at\":\"2026-01-01\"},\"meta\":{\"values\":{\"at\":[\"Date\"]}}}""#;
        let payload = payload(sent, PayloadType::SuperJson).expect("payload");
        assert_eq!(payload.value().expect("value"), Some(serde_json::json!({"at": "2026-01-01"})));
        assert!(payload.text.expect("text").contains("meta"));
    }

    #[test]
    fn what_is_not_of_its_type_is_refused_by_name() {
        for (raw, kind) in [
            (r#""no json""#, PayloadType::SuperJson),
            ("5", PayloadType::Text),
            (r#""\ud800""#, PayloadType::Json),
            (&"[".repeat(200).chars().chain("]".repeat(200).chars()).collect::<String>(), PayloadType::Json),
        ] {
            let error = payload(raw, kind).expect_err(raw).to_string();
            assert!(error.starts_with("payload: "), "{error}");
        }
    }

    #[test]
    fn the_fingerprint_does_not_depend_on_spelling() {
        let one = payload(r#"{"a":1.0,"b":[2]}"#, PayloadType::Json).expect("payload");
        let other = payload(r#"{ "b": [2], "a": 1 }"#, PayloadType::Json).expect("payload");
        let third = payload(r#"{"a":1,"b":[3]}"#, PayloadType::Json).expect("payload");
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_ne!(one.fingerprint(), third.fingerprint());
    }

    #[test]
    fn the_fingerprint_tells_numbers_apart_that_doubles_do_not() {
        let of = |raw| payload(raw, PayloadType::Json).expect("payload").fingerprint();
        for (one, other) in [
            ("9007199254740993", "9007199254740992"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("100000000000000000001", "100000000000000000002"),
            (
                r#"{"a": 100000000000000000001, "b": 100000000000000000002}"#,
                r#"{"a": 100000000000000000002, "b": 100000000000000000001}"#,
            ),
            ("0.12345678901234567891", "0.12345678901234567892"),
        ] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
        for spelled in ["1", "1.0", "1e0", "10E-1"] {
            assert_eq!(of(spelled), of("1"), "{spelled}");
        }
        assert_eq!(of("100000000000000000001"), of("1000000000000000000010e-1"));
    }

    #[test]
    fn the_limit_is_3_mb_and_is_named() {
        let fits = format!("\"{}\"", "x".repeat(Payload::MAX_BYTES - 2));
        assert!(payload(&fits, PayloadType::Json).is_ok());
        let error = payload(&format!("\"{}\"", "x".repeat(Payload::MAX_BYTES)), PayloadType::Json).expect_err("large");
        assert!(matches!(&error, Error::TooLarge(text) if text.contains("3145728 (3 MB)")), "{error}");
    }
}
