//! Payloads at rest: DynamoDB bills a write by the started kilobyte of the whole item, so a payload is kept compressed
//! whenever that saves one.

use std::collections::HashMap;
use std::io::{Read, Write};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::payload::Payload;

/// The attribute that holds the payload: a text, or its bytes after raw DEFLATE (RFC 1951).
const PAYLOAD: &str = "payload";
/// What a write unit covers, in bytes: a DynamoDB price.
const UNIT: usize = 1024;

type Item = HashMap<String, AttributeValue>;

/// Compresses the payload of an item that is about to be written, if that makes it cheaper.
pub(super) fn compress(item: &mut Item) {
    let Some(AttributeValue::S(payload)) = item.get(PAYLOAD) else { return };
    if payload.len() <= UNIT {
        return;
    }
    let Some(deflated) = deflate(payload.as_bytes()) else { return };
    let before = size(item);
    let after = (before + deflated.len()).saturating_sub(payload.len());
    if after.div_ceil(UNIT) < before.div_ceil(UNIT) {
        item.insert(PAYLOAD.to_owned(), AttributeValue::B(Blob::new(deflated)));
    }
}

/// Makes the payload of an item that was read a text again.
///
/// # Errors
/// When it is not what [`compress`] writes.
pub(super) fn restore(item: &mut Item) -> Result<(), std::io::Error> {
    if let Some(AttributeValue::B(deflated)) = item.get(PAYLOAD) {
        let mut text = String::new();
        // Never more than was let in.
        DeflateDecoder::new(deflated.as_ref()).take(Payload::MAX_BYTES as u64).read_to_string(&mut text)?;
        item.insert(PAYLOAD.to_owned(), AttributeValue::S(text));
    }
    Ok(())
}

fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// An item's size as DynamoDB reckons it: names and values; a number about half its digits.
fn size(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        _ => 1,
    };
    item.iter().map(|(name, held)| name.len() + value(held)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(payload: &str) -> Item {
        HashMap::from([
            ("run_id".to_owned(), AttributeValue::S("run_".to_owned() + &"a".repeat(32))),
            (PAYLOAD.to_owned(), AttributeValue::S(payload.to_owned())),
        ])
    }

    fn is_compressed(payload: &str) -> bool {
        let mut item = item(payload);
        compress(&mut item);
        let compressed = item[PAYLOAD].is_b();
        restore(&mut item).expect("what was written");
        assert_eq!(item[PAYLOAD].as_s().expect("text"), payload);
        compressed
    }

    /// Text that no compressor makes smaller by much.
    fn noise(length: usize) -> String {
        let mut random = fastrand::Rng::with_seed(7);
        (0..length).map(|_| random.char('\u{20}'..'\u{7e}')).collect()
    }

    #[test]
    fn a_payload_is_compressed_exactly_when_that_saves_a_write_unit() {
        assert!(!is_compressed(&"x".repeat(1024)), "one unit by itself");
        assert!(is_compressed(&"x".repeat(1025)));
        assert!(is_compressed(&"x".repeat(200 * 1024)));
        assert!(!is_compressed(&noise(1500)), "two units either way");
    }
}
