//! What is read.

use std::io::Read;

use oncekey_client::Json;

use super::failure::Failure;

/// JSON that is given as an argument, called `name` where that is what is wrong; `@FILE` is read from a file, `-` from standard
/// input.
pub(crate) fn json(name: &str, text: &str) -> Result<Json, Failure> {
    let (from, text) = match text.strip_prefix('@') {
        Some(path) => (path, std::fs::read_to_string(path)),
        None if text == "-" => {
            let mut read = String::new();
            ("standard input", std::io::stdin().read_to_string(&mut read).map(|_| read))
        }
        None => (name, Ok(text.to_owned())),
    };
    let text = text.map_err(|error| Failure::Usage(format!("{from} cannot be read: {error}")))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{from} is not JSON: {error}. A text needs its quotes")))
}
