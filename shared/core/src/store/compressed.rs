//! Texts at rest: DynamoDB bills a write by the started kilobyte of the whole item, so a long text is kept compressed
//! whenever that saves one: as a text, or as its bytes after raw DEFLATE (RFC 1951).

use std::collections::HashMap;
use std::io::{Read, Write};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::payload::Payload;

/// The attribute that holds a run's payload, if it stands in the run's own item.
pub(super) const PAYLOAD: &str = "payload";
/// No text up to this is worth compressing, in bytes.
const SHORT: usize = 128;
/// What a write unit covers, in bytes: a DynamoDB price.
const UNIT: usize = 1024;

type Item = HashMap<String, AttributeValue>;

/// Compresses a text of an item that is about to be written, if that makes it cheaper when it has grown by so many bytes, or by
/// so many.
pub(super) fn compress(item: &mut Item, attribute: &str, grown_by: &[usize]) {
    let Some(AttributeValue::S(text)) = item.get(attribute) else { return };
    if text.len() <= SHORT {
        return;
    }
    let (whole, without) = (size(&*item), size(&*item).saturating_sub(text.len()));
    let saves = |by: &usize, length: usize| units(without + by + length) < units(whole + by);
    if !grown_by.iter().any(|by| saves(by, 0)) {
        return;
    }
    let Some(deflated) = deflate(text.as_bytes()) else { return };
    if grown_by.iter().any(|by| saves(by, deflated.len())) {
        item.insert(attribute.to_owned(), AttributeValue::B(Blob::new(deflated)));
    }
}

/// Makes a text of an item that was read a text again.
///
/// # Errors
/// When it is not what [`compress`] writes.
pub(super) fn restore(item: &mut Item, attribute: &str) -> Result<(), std::io::Error> {
    if let Some(AttributeValue::B(deflated)) = item.get(attribute) {
        let mut text = String::new();
        // Never more than was let in.
        DeflateDecoder::new(deflated.as_ref()).take(Payload::MAX_BYTES as u64).read_to_string(&mut text)?;
        item.insert(attribute.to_owned(), AttributeValue::S(text));
    }
    Ok(())
}

/// Write units that an item of this size costs.
pub(super) fn units(size: usize) -> usize {
    size.div_ceil(UNIT)
}

/// How many bytes a text takes when it is compressed.
pub(super) fn deflated(text: &str) -> Option<usize> {
    deflate(text.as_bytes()).map(|bytes| bytes.len())
}

fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// The size of these attributes as DynamoDB reckons it: names and values; a number about half its digits.
pub(super) fn size<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a AttributeValue)>) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::M(attributes) => 3 + size(attributes),
        _ => 1,
    };
    attributes.into_iter().map(|(name, held)| name.len() + value(held)).sum()
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
        compress(&mut item, PAYLOAD, &[0]);
        let compressed = item[PAYLOAD].is_b();
        restore(&mut item, PAYLOAD).expect("what was written");
        assert_eq!(item[PAYLOAD].as_s().expect("text"), payload);
        compressed
    }

    /// Text that no compressor makes smaller by much.
    fn noise(length: usize) -> String {
        let mut random = fastrand::Rng::with_seed(7);
        (0..length).map(|_| random.char('\u{20}'..'\u{7e}')).collect()
    }

    #[test]
    fn a_text_is_compressed_exactly_when_that_saves_a_write_unit() {
        // Forty-two bytes of the run's id, and the names.
        let beside = "run_id".len() + 36 + PAYLOAD.len();
        assert!(!is_compressed(&"x".repeat(1024 - beside)), "one unit as it is");
        assert!(is_compressed(&"x".repeat(1025 - beside)));
        assert!(is_compressed(&"x".repeat(200 * 1024)));
        assert!(!is_compressed(&noise(1500)), "two units either way");
    }
}
