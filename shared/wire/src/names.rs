//! How names are made, read and spread.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// A number that spreads ids evenly over `shards`.
pub(crate) fn shard_of(id: &str, shards: u32) -> u32 {
    let sum = id.bytes().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b)));
    sum % shards
}

/// 160 bits of the sha256 of three parts, of which the first two can hold no NUL, so that no two triples hash alike.
pub(crate) fn name_of(parts: [&str; 3]) -> String {
    let digest = Sha256::digest(parts.join("\0").as_bytes());
    BASE32_NOPAD.encode(&digest[..20]).to_ascii_lowercase()
}

/// Whether a text can be the end of an id.
pub(crate) fn is_name(text: &str) -> bool {
    let base32 = |b: u8| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b);
    text.len() == 32 && text.bytes().all(base32)
}

/// What every name that is a text can do.
macro_rules! text_id {
    ($id:ty) => {
        impl std::fmt::Display for $id {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $id {
            // Whoever reads a field knows what it is called.
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text).map_err(|invalid| invalid.message)
            }
        }
        impl AsRef<str> for $id {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl From<$id> for String {
            fn from(id: $id) -> String {
                id.0
            }
        }
        impl From<&$id> for String {
            fn from(id: &$id) -> String {
                id.0.clone()
            }
        }
    };
}
pub(crate) use text_id;
