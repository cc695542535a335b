//! Where a large payload or output is, when it is not in its run.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// Where we put what we store ourselves, by its content.
pub(crate) const PAYLOADS: &str = "payloads";
pub(crate) const OUTPUTS: &str = "outputs";
/// The longest path, in characters; with its environment it fits S3's 1,024 bytes.
const MAX_PATH: usize = 512;

/// The path of an object within its environment: names of `A-Z a-z 0-9 _ . -` with `/` between.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobPath(String);

impl BlobPath {
    /// Reads a path.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        let fits = |name: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            !name.is_empty() && !name.bytes().all(|b| b == b'.') && name.bytes().all(allowed)
        };
        if text.len() <= MAX_PATH && text.split('/').all(fits) {
            return Ok(Self(text.to_owned()));
        }
        let message =
            format!("a stored path is up to {MAX_PATH} characters: names of A-Z a-z 0-9 _ . - with / between");
        Err(Error::invalid(field, message))
    }

    /// Reads a path for a caller to put an object to: not to where ours are, which would then not be what they are named by.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming `field`.
    pub fn for_caller(field: &str, text: &str) -> Result<Self, Error> {
        if is_ours(text) {
            return Err(Error::invalid(field, format!("{PAYLOADS}/ and {OUTPUTS}/ are written by the server alone")));
        }
        Self::parse(field, text)
    }

    /// Whether it is one of those that we write, and so named by its content.
    pub(crate) fn is_ours(&self) -> bool {
        is_ours(&self.0)
    }

    /// The path that content of this kind gets.
    pub(crate) fn of_content(kind: &str, content: &str) -> Self {
        Self(format!("{kind}/{}", HEXLOWER.encode(&Sha256::digest(content.as_bytes()))))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_ours(path: &str) -> bool {
    [PAYLOADS, OUTPUTS].into_iter().any(|ours| path.split('/').next() == Some(ours))
}

impl TryFrom<String> for BlobPath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse("path", &text)
    }
}

impl From<BlobPath> for String {
    fn from(path: BlobPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_its_environment() {
        for path in ["trigger/packet_a-B_9/payload.json", "a", "a.b/..c"] {
            assert_eq!(BlobPath::parse("path", path).expect(path).as_str(), path);
        }
        let long = "a".repeat(513);
        for path in ["", "/a", "a//b", "a/", "..", "a/../b", "a/./b", "a b", "a?b", "a%2Fb", "é", &long] {
            assert!(BlobPath::parse("path", path).is_err(), "{path}");
        }
    }
}
