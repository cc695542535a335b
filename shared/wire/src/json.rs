//! JSON as it was written.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// A JSON value as it was written, to the last digit of its numbers: read it as the type that it is meant to be.
///
/// ```
/// # use oncekey_wire::Json;
/// let json: Json = serde_json::from_str("[123456789012345678901234567890, 1.50]")?;
/// assert_eq!(json.to_string(), "[123456789012345678901234567890, 1.50]");
/// let (large, price): (u128, f64) = json.read()?;
/// assert_eq!((large, price), (123_456_789_012_345_678_901_234_567_890, 1.5));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// A value of yours, written as JSON.
    ///
    /// # Errors
    /// The serializer's, when JSON cannot say it.
    pub fn of(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        to_raw_value(value).map(Self)
    }

    /// Its text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Reads it as a type of yours.
    ///
    /// # Errors
    /// The parser's, when it is not of that type.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.get())
    }

    /// The value, in which a number beyond 64 bits is the nearest double.
    #[must_use]
    pub fn value(&self) -> Value {
        self.read().unwrap_or_default()
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.get() == "null"
    }

    /// Its text, spread over lines and indented.
    #[must_use]
    pub fn pretty(&self) -> String {
        let (mut text, mut depth) = (String::new(), 0usize);
        let new_line = |text: &mut String, depth: usize| {
            text.push('\n');
            text.extend(std::iter::repeat_n("  ", depth));
        };
        let (mut in_string, mut escaped) = (false, false);
        let mut characters = self.get().chars().peekable();
        while let Some(character) = characters.next() {
            if in_string {
                text.push(character);
                in_string = escaped || character != '"';
                escaped = character == '\\' && !escaped;
                continue;
            }
            match character {
                ' ' | '\n' | '\r' | '\t' => {}
                '{' | '[' => {
                    text.push(character);
                    while characters.next_if(char::is_ascii_whitespace).is_some() {}
                    if characters.peek().is_some_and(|next| !matches!(next, '}' | ']')) {
                        depth += 1;
                        new_line(&mut text, depth);
                    } else {
                        text.extend(characters.next());
                    }
                }
                '}' | ']' => {
                    depth = depth.saturating_sub(1);
                    new_line(&mut text, depth);
                    text.push(character);
                }
                ',' => {
                    text.push(',');
                    new_line(&mut text, depth);
                }
                ':' => text.push_str(": "),
                _ => {
                    in_string = character == '"';
                    text.push(character);
                }
            }
        }
        text
    }
}

/// As it was written.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// Equal texts.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl PartialEq<Value> for Json {
    fn eq(&self, other: &Value) -> bool {
        self.value() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spread_over_lines_reads_as_serde_writes_it() {
        for text in [r#"{"a":[1,{"b":"x, y: {\"z\"}"},[],{}],"c\\":null}"#, "[]", "7", r#""a""#, "[ ]", "{ \"a\" : 1 }"]
        {
            let json: Json = serde_json::from_str(text).expect("json");
            assert_eq!(json.pretty(), serde_json::to_string_pretty(&json.value()).expect("json"));
        }
    }
}
