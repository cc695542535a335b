//! Public tokens: what a browser or another program may be given instead of an API key. Whoever has the key signs one with it,
//! without asking us; it opens what its scopes name, until it expires or the key ends.
//!
//! Pure: who signed one is looked up elsewhere, and what a scope opens is said by whoever opens it.

mod jwt;

use std::time::Duration;

use data_encoding::HEXLOWER;
use oncekey_wire::EnvironmentId;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use self::jwt::{SigningKey, Unverified, looks_like_one, signs};
use crate::clock::Timestamp;
use crate::error::Error;

/// How long the token of a handle lasts that is made here, as the official client's own do.
const OF_A_HANDLE: Duration = Duration::from_secs(60 * 60);

/// The name by which a token says which API key signed it. The key's hash verifies what the key signs, so whoever had it
/// could sign: it is no name that may be shown, and what is derived of it leads back to it in our table alone.
#[must_use]
pub fn signer_id(hash: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(format!("signs public tokens: {hash}")))[..32].to_owned()
}

/// An API key that signs, as far as it is known here.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Its [name](signer_id).
    pub id: String,
    /// The environment that it opens.
    pub environment: EnvironmentId,
    /// What verifies.
    pub key: SigningKey,
}

impl Signer {
    /// The claims that a token of this key must have, beside its scopes.
    #[must_use]
    pub fn claims(&self) -> Value {
        json!({ "sub": self.environment, "pub": true, "kid": self.id })
    }

    /// A token with these scopes, for whoever has no API key to sign one with.
    #[must_use]
    pub fn sign(&self, scopes: &[String], now: Timestamp) -> String {
        let mut claims = self.claims();
        claims["scopes"] = json!(scopes);
        jwt::sign(&self.key, claims, now, now.plus(OF_A_HANDLE))
    }
}

/// A token whose signature, time and environment were found right.
#[derive(Clone, Debug)]
pub struct PublicToken {
    /// Who signed it, and where it opens anything.
    pub signer: Signer,
    /// What it opens, as its maker wrote it: `read:runs:run_…`.
    scopes: Vec<String>,
    /// What is remembered of it by what it makes.
    pub used: TokenUse,
}

/// A token as what it makes remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The token's own name: a hash of it, from which nobody gets it back.
    pub digest: String,
    /// Until when it must be known that it was used, if it may be used once.
    pub once_until: Option<Timestamp>,
}

impl PublicToken {
    /// The token that `text` is, as `claimed` by it and verified.
    #[must_use]
    pub(crate) fn new(text: &str, signer: Signer, claimed: jwt::Verified) -> Self {
        let digest = HEXLOWER.encode(&Sha256::digest(text))[..32].to_owned();
        let once_until = claimed.is_one_time.then_some(claimed.expires_at);
        Self { signer, scopes: claimed.scopes, used: TokenUse { digest, once_until } }
    }

    /// Where it opens anything.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentId {
        &self.signer.environment
    }

    /// Whether it has this very scope.
    #[must_use]
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|has| has == scope)
    }

    /// Whether it has a scope of this kind, such as `read:tags`, for the thing of this name.
    #[must_use]
    pub fn has_for(&self, kind: &str, name: &str) -> bool {
        let name_in = |scope: &'_ String| scope.strip_prefix(kind)?.strip_prefix(':').map(|named| named == name);
        self.scopes.iter().any(|scope| name_in(scope) == Some(true))
    }

    /// Whether it has any scope of this kind.
    #[must_use]
    pub fn has_any(&self, kind: &str) -> bool {
        self.scopes.iter().any(|scope| scope.strip_prefix(kind).is_some_and(|rest| rest.starts_with(':')))
    }

    /// What it is told who needs a scope that it does not have.
    #[must_use]
    pub fn lacks(&self, needed: &str) -> Error {
        let has = match self.scopes.as_slice() {
            [] => "none".to_owned(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        Error::forbidden(format!(
            "this public token does not cover what it is used for: it has the scope {has}, and needs {needed}"
        ))
    }
}
