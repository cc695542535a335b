//! How much Lambda carries: an event to a function, and an answer from it, as JSON.

/// The largest event, and the largest answer: 6 MB each.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 6_291_456;

/// How many bytes a text takes as a JSON string.
pub(crate) fn as_json(text: &[u8]) -> usize {
    let byte = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..=0x1F => 6,
        _ => 1,
    };
    text.iter().map(byte).sum::<usize>() + 2
}

/// How many bytes others take as base64 in a JSON string.
pub(crate) fn as_base64(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4 + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_as_json_has_it() {
        for text in ["", "plain", "\"quoted\" \\ back", "\n\r\t\u{8}\u{C}", "\0\u{1F}\u{7F}", "é€😀"] {
            assert_eq!(as_json(text.as_bytes()), serde_json::to_string(text).expect("JSON").len(), "{text:?}");
        }
    }
}
