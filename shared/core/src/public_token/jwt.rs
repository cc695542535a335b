//! JSON Web Tokens as the official client signs them: HS256 with the text of an API key, and nothing else.

use std::fmt;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use oncekey_wire::EnvironmentId;
use serde::Deserialize;
use serde_json::{Number, Value, json};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::error::Error;

/// Who the client says has made a token, and for whom.
const ISSUER: &str = "https://id.trigger.dev";
const AUDIENCE: &str = "https://api.trigger.dev";
/// The longest token, in bytes: some hundred scopes, and what API Gateway takes for all headers together is 10 KB.
const MAX_BYTES: usize = 8 * 1024;
/// The longest a token may have to live; so long it must be known of one that was used once.
const MAX_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How much a clock may be ahead of ours whose owner makes one of the longest life.
const SKEW: Duration = Duration::from_secs(60 * 60);
/// SHA-256's block, in bytes: HMAC hashes a key that is longer, and takes any other as it is.
const BLOCK: usize = 64;

/// Whether tokens that this API key signs can be verified by its hash alone. HMAC begins by hashing a key that is longer than a
/// block, so the hash, which is stored, is as good as the key; of a shorter one the key itself would be needed.
#[must_use]
pub fn signs(api_key: &str) -> bool {
    api_key.len() > BLOCK
}

/// Whether a text is meant to be a public token: no API key has a dot.
#[must_use]
pub fn looks_like_one(bearer: &str) -> bool {
    bearer.contains('.')
}

/// What signs and verifies. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// That of an API key that [signs], by its hash in hex.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when it is no hash.
    pub fn of_hash(hash: &str) -> Result<Self, Error> {
        let hash = HEXLOWER.decode(hash.as_bytes());
        hash.map(Self).map_err(|error| Error::unreadable("the hash of an API key", error))
    }

    /// That of an API key whose text is known.
    #[must_use]
    pub fn of_text(api_key: &str) -> Self {
        Self(api_key.as_bytes().to_vec())
    }

    /// `None` never: HMAC takes keys of any length.
    fn mac(&self, signed: &str) -> Option<Hmac<Sha256>> {
        Some(Hmac::<Sha256>::new_from_slice(&self.0).ok()?.chain_update(signed))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood: there is none.
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<Number>,
    nbf: Option<Number>,
    sub: Option<String>,
    #[serde(rename = "pub", default)]
    public: bool,
    kid: Option<String>,
    scopes: Option<Vec<String>>,
    otu: Option<bool>,
}

/// A token as it came, of which nothing may be believed yet.
pub struct Unverified<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    claims: Claims,
}

/// What a token says whose signature was found right.
#[derive(Debug)]
pub struct Verified {
    pub(super) scopes: Vec<String>,
    pub(super) is_one_time: bool,
    pub(super) expires_at: Timestamp,
}

fn wrong(why: &'static str) -> Error {
    Error::Unauthorized(why)
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified(…)")
    }
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Error::Unauthorized`]: it is too long, or no token that is signed with HS256.
    pub fn parse(token: &'a str) -> Result<Self, Error> {
        if token.len() > MAX_BYTES {
            return Err(wrong("this public token is longer than 8 KB: name fewer scopes"));
        }
        let unreadable = || {
            wrong(
                "this public token cannot be read: it is three parts with dots between, as auth.createPublicToken makes it",
            )
        };
        let (signed, signature) = token.rsplit_once('.').ok_or_else(unreadable)?;
        let (header, claims) = signed.split_once('.').ok_or_else(unreadable)?;
        let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| unreadable());
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| unreadable())?;
        if header.alg != "HS256" || header.crit.is_some() {
            return Err(wrong("this public token is not signed with HS256: make it with auth.createPublicToken"));
        }
        let claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| unreadable())?;
        Ok(Self { signed, signature: decoded(signature)?, claims })
    }

    /// The name of the API key that it says has signed it.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when it says none.
    pub fn signer(&self) -> Result<&str, Error> {
        self.claims.kid.as_deref().ok_or(wrong(
            "this public token does not say which API key signed it: make it outside of a task, with a key of `oncekey env rotate` \
             if yours is older than public tokens",
        ))
    }

    /// What it says, if this key has signed it, for this environment, and its time has come and is not over.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], naming what is wrong.
    pub fn verify(self, key: &SigningKey, environment: &EnvironmentId, now: Timestamp) -> Result<Verified, Error> {
        let Self { signed, signature, claims } = self;
        // Compared in a time that does not tell where they differ.
        let is_its = key.mac(signed).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
        if !is_its {
            return Err(wrong(
                "this public token's signature is not that of its API key: it was changed, or signed with another key",
            ));
        }
        let is_for_us = match &claims.aud {
            Some(Audience::One(one)) => one == AUDIENCE,
            Some(Audience::Many(many)) => many.iter().any(|one| one == AUDIENCE),
            None => false,
        };
        if claims.iss.as_deref() != Some(ISSUER) || !is_for_us || !claims.public {
            return Err(wrong("this token is not a public one of this API: make it with auth.createPublicToken"));
        }
        if claims.sub.as_deref() != Some(environment.as_str()) {
            return Err(wrong("this public token names another environment than that of the API key which signed it"));
        }
        let Some(expires_at) = claims.exp.as_ref().and_then(moment) else {
            return Err(wrong("this public token does not say when it expires: make it with auth.createPublicToken"));
        };
        if expires_at <= now {
            return Err(wrong("this public token has expired: make another"));
        }
        if expires_at > now.plus(MAX_LIFE + SKEW) {
            return Err(wrong(
                "this public token would be good for more than 30 days: give it an expirationTime within them",
            ));
        }
        if claims.nbf.as_ref().is_some_and(|from| moment(from).is_none_or(|from| from > now)) {
            return Err(wrong("this public token is not good yet: its nbf lies ahead"));
        }
        Ok(Verified { scopes: claims.scopes.unwrap_or_default(), is_one_time: claims.otu.unwrap_or(false), expires_at })
    }
}

/// The moment that is so many seconds after 1970; of a part of a second it is the beginning.
fn moment(seconds: &Number) -> Option<Timestamp> {
    let text = seconds.to_string();
    let whole: i64 = text.split('.').next()?.parse().ok()?;
    whole.checked_mul(1000).map(Timestamp::from_millis)
}

/// A token with these claims, signed as the client signs.
pub(super) fn sign(key: &SigningKey, mut claims: Value, now: Timestamp, expires_at: Timestamp) -> String {
    claims["iss"] = json!(ISSUER);
    claims["aud"] = json!(AUDIENCE);
    claims["iat"] = json!(now.millis() / 1000);
    claims["exp"] = json!(expires_at.millis() / 1000);
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#);
    let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    let signature = key.mac(&signed).map(|mac| BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()));
    format!("{signed}.{}", signature.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    /// What the client's own `generateJWT` made of these keys, with `kid` kkk…, until 1,790,000,900.
    const LONG: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY21lL2RldiIsInB1YiI6dHJ1ZSwia2lkIjoia2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2siLCJvdHUiOnRydWUsInNjb3BlcyI6WyJ0cmlnZ2VyOnRhc2tzOnNlbmQ6bWFpbCIsInJlYWQ6dGFnczrDvCJdLCJpc3MiOiJodHRwczovL2lkLnRyaWdnZXIuZGV2IiwiYXVkIjoiaHR0cHM6Ly9hcGkudHJpZ2dlci5kZXYiLCJleHAiOjE3OTAwMDA5MDB9.6NuvxYSO0WkT7659bYnJVA-i9Strd--tzuFIM9soyAY";
    const SHORT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY21lL2RldiIsInB1YiI6dHJ1ZSwia2lkIjoia2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2siLCJvdHUiOnRydWUsInNjb3BlcyI6WyJ0cmlnZ2VyOnRhc2tzOnNlbmQ6bWFpbCIsInJlYWQ6dGFnczrDvCJdLCJpc3MiOiJodHRwczovL2lkLnRyaWdnZXIuZGV2IiwiYXVkIjoiaHR0cHM6Ly9hcGkudHJpZ2dlci5kZXYiLCJleHAiOjE3OTAwMDA5MDB9.UnrG3Kvdmzkhc6YwHPKdX7hh3YcyN35W2X3qq10yPyg";
    /// Until 1,790,000,900.75, of the long key, without scopes.
    const WITH_A_PART: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY21lL2RldiIsInB1YiI6dHJ1ZSwia2lkIjoia2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2siLCJzY29wZXMiOltdLCJpc3MiOiJodHRwczovL2lkLnRyaWdnZXIuZGV2IiwiYXVkIjoiaHR0cHM6Ly9hcGkudHJpZ2dlci5kZXYiLCJleHAiOjE3OTAwMDA5MDAuNzV9.1ls77pe_7KsKPGfUO5QzR1olHQ7guRpfjW1ZqiGK8Yo";
    const EXPIRES: i64 = 1_790_000_900;

    fn long() -> SigningKey {
        let key = format!("tr_dev_{}", "abcdefghijklmnopqrstuvwxyz234567".repeat(2));
        assert!(signs(&key) && !signs("tr_dev_local"));
        SigningKey::of_hash(&HEXLOWER.encode(&Sha256::digest(key))).expect("a hash")
    }

    fn short() -> SigningKey {
        SigningKey::of_text("tr_dev_local")
    }

    fn acme() -> EnvironmentId {
        EnvironmentId::parse("acme/dev").expect("an environment")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn verify(token: &str, key: &SigningKey, now: Timestamp) -> Result<Verified, String> {
        Unverified::parse(token).and_then(|token| token.verify(key, &acme(), now)).map_err(|error| error.to_string())
    }

    /// A token of the long key, with some claims otherwise; `null` takes one out.
    fn made(change: &Value) -> String {
        let mut claims =
            json!({ "sub": "acme/dev", "pub": true, "kid": "k", "iss": ISSUER, "aud": AUDIENCE, "exp": EXPIRES });
        for (name, value) in change.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        claims.as_object_mut().expect("claims").retain(|_, value| !value.is_null());
        signed(r#"{"alg":"HS256"}"#, &claims.to_string(), &long())
    }

    fn signed(header: &str, claims: &str, key: &SigningKey) -> String {
        let [header, claims] = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
        let text = format!("{header}.{claims}");
        let signature = key.mac(&text).expect("a key").finalize().into_bytes();
        format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    #[test]
    fn what_the_client_signs_with_a_long_key_is_verified_by_its_hash_and_with_a_short_one_by_itself() {
        for (token, key, other) in [(LONG, long(), short()), (SHORT, short(), long())] {
            assert_eq!(Unverified::parse(token).expect("a token").signer().expect("named"), "k".repeat(32));
            let verified = verify(token, &key, at(EXPIRES - 1)).expect("its key");
            assert_eq!(verified.scopes, ["trigger:tasks:send:mail", "read:tags:ü"]);
            assert!(verified.is_one_time && verified.expires_at == at(EXPIRES));
            assert!(verify(token, &other, at(EXPIRES - 1)).expect_err("another").contains("signed with another key"));
        }
    }

    #[test]
    fn a_token_ends_at_its_second_or_in_it() {
        for token in [LONG, WITH_A_PART] {
            assert!(verify(token, &long(), Timestamp::from_millis(EXPIRES * 1000 - 1)).is_ok());
            assert!(verify(token, &long(), at(EXPIRES)).expect_err("over").contains("has expired"));
        }
        assert!(verify(LONG, &long(), at(EXPIRES - 31 * 86_400)).expect_err("early").contains("more than 30 days"));
    }

    #[test]
    fn what_is_signed_here_is_verified_here() {
        let claims = json!({ "sub": "acme/dev", "pub": true, "kid": "k", "scopes": ["read:runs:run_a"] });
        let token = sign(&long(), claims, at(1_000_000), at(1_003_600));
        let verified = verify(&token, &long(), at(1_003_599)).expect("ours");
        assert!(verified.scopes == ["read:runs:run_a"] && !verified.is_one_time);
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_not_its_keys() {
        let now = at(EXPIRES - 1);
        for place in 0..LONG.len() {
            let mut bytes = LONG.as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("text");
            assert!(verify(&changed, &long(), now).is_err(), "{place}");
        }
        // Its signature has one spelling, or one use would be as many as it has.
        for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
            let spelt = format!("{}{last}", &LONG[..LONG.len() - 1]);
            assert_eq!(verify(&spelt, &long(), now).is_ok(), spelt == LONG, "{last}");
        }
        for cut in [0, 1, LONG.len() - 44, LONG.len() - 43, LONG.len() - 1] {
            assert!(verify(&LONG[..cut], &long(), now).is_err(), "{cut}");
        }
        assert!(verify(&format!("{LONG}="), &long(), now).is_err());
        assert!(verify(&format!("{LONG}.{LONG}"), &long(), now).is_err());
    }

    #[test]
    fn no_algorithm_but_hs256_is_taken_whatever_else_is_right() {
        let claims =
            json!({ "sub": "acme/dev", "pub": true, "iss": ISSUER, "aud": AUDIENCE, "exp": EXPIRES }).to_string();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        ] {
            let error = verify(&signed(header, &claims, &long()), &long(), at(EXPIRES - 1)).expect_err(header);
            assert!(error.contains("not signed with HS256"), "{header}: {error}");
        }
        for header in ["{}", "[]", "", r#"{"alg":null}"#, r#"{"alg":"HS256","alg":"none"}"#] {
            assert!(verify(&signed(header, &claims, &long()), &long(), at(EXPIRES - 1)).is_err(), "{header}");
        }
        let unsigned = signed(r#"{"alg":"none"}"#, &claims, &long());
        assert!(verify(&unsigned[..=unsigned.rfind('.').expect("a dot")], &long(), at(EXPIRES - 1)).is_err());
    }

    #[test]
    fn what_is_wrong_with_its_claims_is_named() {
        for (change, why) in [
            (json!({ "exp": null }), "does not say when it expires"),
            (json!({ "exp": "1790000900" }), "cannot be read"),
            (json!({ "exp": -1 }), "has expired"),
            (json!({ "exp": 1e300 }), "does not say when"),
            (json!({ "exp": 9_007_199_254_740_991_i64 }), "more than 30 days"),
            (json!({ "nbf": EXPIRES }), "not good yet"),
            (json!({ "iss": "https://elsewhere" }), "not a public one"),
            (json!({ "aud": null }), "not a public one"),
            (json!({ "aud": ["https://elsewhere"] }), "not a public one"),
            (json!({ "pub": null }), "not a public one"),
            (json!({ "sub": "acme/prod" }), "another environment"),
            (json!({ "sub": null }), "another environment"),
            (json!({ "scopes": "read:runs" }), "cannot be read"),
            (json!({ "otu": "no" }), "cannot be read"),
        ] {
            let error = verify(&made(&change), &long(), at(EXPIRES - 1)).expect_err(why);
            assert!(error.contains(why), "{change}: {error}");
        }
        assert!(verify(&made(&json!({ "aud": ["x", AUDIENCE], "nbf": 1 })), &long(), at(EXPIRES - 1)).is_ok());
        let nameless = made(&json!({ "kid": null }));
        let error = Unverified::parse(&nameless).expect("a token").signer().expect_err("no name").to_string();
        assert!(error.contains("oncekey env rotate"), "{error}");
        let long_one = format!("{}.a.b", "a".repeat(MAX_BYTES));
        assert!(verify(&long_one, &long(), at(0)).expect_err("long").contains("longer than 8 KB"));
    }
}
