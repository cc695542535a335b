//! Keys made of payloads.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::key::{IdempotencyKey, KeyHash};
use crate::payload::number::marked;
use crate::payload::{Payload, PayloadType};

/// A key made of the payload, for callers who have none to give: equal payloads are one run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum KeySource {
    /// The whole payload.
    Payload,
    /// What these JSON pointers (RFC 6901) name in it, 1 to [`KeySource::MAX_POINTERS`].
    Pointers(Vec<String>),
}

impl TryFrom<Value> for KeySource {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        const WANTED: &str = "give \"payload\", or a list of 1 to 16 JSON pointers into it, like [\"/orderId\"]";
        match value {
            Value::String(text) if text == "payload" => Ok(Self::Payload),
            Value::Array(list) if (1..=Self::MAX_POINTERS).contains(&list.len()) => {
                let pointer = |value: Value| match value {
                    Value::String(text) if text.is_empty() || text.starts_with('/') => Ok(text),
                    _ => Err(WANTED),
                };
                Ok(Self::Pointers(list.into_iter().map(pointer).collect::<Result<_, _>>()?))
            }
            _ => Err(WANTED),
        }
    }
}

impl KeySource {
    /// Most pointers of one key.
    pub const MAX_POINTERS: usize = 16;

    /// The sha256 of the canonical JSON (RFC 8785) of the payload, or of an object from each pointer to what it names:
    /// neither the order of fields nor the spelling of numbers makes a difference.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is not a payload, a pointer names nothing or null in it, or a number has more digits than
    /// canonical JSON keeps, in which it would be taken for its neighbour.
    pub fn key_of(&self, payload: &Payload) -> Result<IdempotencyKey, Error> {
        let refuse = |why: String| Error::invalid("options.idempotencyKeyFrom", why);
        if payload.kind == PayloadType::Store {
            return Err(refuse("the payload is in the store: send it in the body, or give a key".into()));
        }
        let value = payload.marked_value().ok_or_else(|| refuse("there is no payload to make a key of".into()))?;
        if value.is_null() {
            return Err(refuse("the payload is null, which would be one key for all".into()));
        }
        let (picked, text) = match self {
            Self::Payload => (value, None),
            Self::Pointers(pointers) => {
                let mut picked = serde_json::Map::new();
                for pointer in pointers {
                    let found = value.pointer(pointer);
                    let found = found.ok_or_else(|| refuse(format!("the payload has nothing at {pointer:?}")))?;
                    if found.is_null() {
                        return Err(refuse(format!(
                            "the payload has null at {pointer:?}, which would be one key for all"
                        )));
                    }
                    picked.insert(pointer.clone(), found.clone());
                }
                let text = Value::Object(picked.clone()).to_string();
                (Value::Object(picked), Some(text).filter(|text| text.chars().count() <= KeyHash::MAX_CHARACTERS))
            }
        };
        if let Some(number) = inexact(&picked) {
            return Err(refuse(format!("{number} has too many digits to make a key of: send it as a text")));
        }
        let canonical = serde_json_canonicalizer::to_vec(&picked).map_err(|error| refuse(error.to_string()))?;
        Ok(IdempotencyKey { text, ..IdempotencyKey::of_hash(KeyHash::of_bytes(&canonical)) })
    }
}

/// A number in `value` that no double stands for: canonical JSON has only doubles.
fn inexact(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => marked(text),
        Value::Array(list) => list.iter().find_map(inexact),
        Value::Object(fields) => fields.values().find_map(inexact),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(source: Value, payload: &str) -> Result<IdempotencyKey, String> {
        let source = KeySource::try_from(source)?;
        let payload = Payload { text: Some(payload.to_owned()), kind: PayloadType::Json };
        source.key_of(&payload).map_err(|error| error.to_string())
    }

    #[test]
    fn neither_the_order_of_fields_nor_the_spelling_of_numbers_makes_a_difference() {
        let of = |payload| key(json!("payload"), payload).expect("a key").hash;
        assert_eq!(of(r#"{"a": 1.0, "b": [1e2]}"#), of(r#"{"b":[100],"a":1}"#));
        assert_ne!(of(r#"{"a": 1}"#), of(r#"{"a": "1"}"#));
        assert_ne!(of("[1, 2]"), of("[2, 1]"));
    }

    #[test]
    fn pointers_pick_what_counts() {
        let of = |payload| key(json!(["/order/id", "/a~1b"]), payload);
        let one = of(r#"{"order": {"id": 7, "at": 1}, "a/b": "c"}"#).expect("a key");
        assert_eq!(
            one,
            of(r#"{"a/b": "c", "order": {"at": 2, "id": 7.0}}"#)
                .map(|key| IdempotencyKey { text: one.text.clone(), ..key })
                .expect("a key")
        );
        assert_eq!(one.display_text(), r#"{"/order/id":7,"/a~1b":"c"}"#);
        let error = of(r#"{"order": {}}"#).expect_err("nothing there");
        assert_eq!(error, "options.idempotencyKeyFrom: the payload has nothing at \"/order/id\"");
    }

    #[test]
    fn null_is_no_key() {
        let error = key(json!(["/id"]), r#"{"id": null}"#).expect_err("null");
        assert!(error.ends_with("the payload has null at \"/id\", which would be one key for all"), "{error}");
        assert!(key(json!("payload"), "null").is_err());
        assert!(key(json!("payload"), r#"{"id": null}"#).is_ok());
    }

    #[test]
    fn numbers_that_canonical_json_would_confuse_are_refused() {
        assert!(key(json!("payload"), "9007199254740991").is_ok());
        for number in [
            "9007199254740993",
            "-9007199254740993",
            "[{\"a\": 18446744073709551615}]",
            "9007199254740993.0",
            "{\"n\": 100000000000000000001}",
            "0.12345678901234567891",
        ] {
            let error = key(json!("payload"), number).expect_err(number);
            assert!(error.contains("send it as a text"), "{error}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for source in [json!("body"), json!([]), json!(["orderId"]), json!([1]), json!({}), json!(vec![""; 17])] {
            assert!(key(source.clone(), "1").is_err(), "{source}");
        }
    }
}
