//! JSON objects, read with the place of what is wrong in them.

use serde::Deserialize;

use crate::error::Error;
use crate::request::object::Object;

/// Parses a JSON object, naming the field that is wrong.
///
/// # Errors
/// [`Error::Invalid`] with the path of the field and the parser's words.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Error> {
    parse_with(text, |deserializer| Object::deserialize(deserializer).map(|Object(parsed)| parsed))
}

/// What reads a JSON text, and knows where in it it is.
pub(super) type Tracked<'a, 'b, 'de> =
    serde_path_to_error::Deserializer<'a, 'b, &'a mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>>;

pub(super) fn parse_with<'de, T>(
    text: &'de [u8],
    read: impl FnOnce(Tracked<'_, '_, 'de>) -> serde_json::Result<T>,
) -> Result<T, Error> {
    if text.trim_ascii().is_empty() {
        return Err(Error::invalid("body", "it is empty: send a JSON object, {} if there is nothing to say"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let parsed = read(tracked).map_err(|error| {
        let path = track.path().to_string();
        let field = if path == "." || path == "?" { "body".to_owned() } else { path };
        Error::json(field, &error)
    })?;
    deserializer.end().map_err(|error| Error::json("body", &error))?;
    Ok(parsed)
}
