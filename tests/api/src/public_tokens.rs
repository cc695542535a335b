//! Public tokens as a client makes them, and as none does.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Oncekey, answer};

/// Signed as every client does.
pub const HS256: &str = r#"{"alg":"HS256"}"#;

/// A token of these parts, signed with this key whatever its header says.
#[must_use]
pub fn signed(header: &str, claims: &Value, key: &str) -> String {
    let [header, claims] = [header, &claims.to_string()].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{header}.{claims}").as_bytes());
    format!("{header}.{claims}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

/// Whoever has been given a public token.
pub struct Holder<'a> {
    oncekey: &'a Oncekey,
    /// The token.
    pub token: String,
    http: reqwest::Client,
}

impl Oncekey {
    /// What a token with these scopes says, for a quarter of an hour.
    ///
    /// # Panics
    /// When the API key signs none.
    pub async fn claims(&self, scopes: &[&str]) -> Value {
        let (status, mut claims) = answer(self.post("/api/v1/auth/jwt/claims", "")).await;
        assert_eq!(status, StatusCode::OK, "{claims}");
        claims["scopes"] = json!(scopes);
        claims["iss"] = json!("https://id.trigger.dev");
        claims["aud"] = json!("https://api.trigger.dev");
        claims["exp"] = json!(self.clock.now().millis() / 1000 + 900);
        claims
    }

    /// Whoever is given a token with these scopes.
    pub async fn holder(&self, scopes: &[&str]) -> Holder<'_> {
        self.holding(signed(HS256, &self.claims(scopes).await, self.api_key()))
    }

    /// Whoever is given a token with these scopes that may be used once.
    pub async fn holder_once(&self, scopes: &[&str]) -> Holder<'_> {
        let mut claims = self.claims(scopes).await;
        claims["otu"] = json!(true);
        // Two that are made in one second are two.
        claims["jti"] = json!(fastrand::u64(..).to_string());
        self.holding(signed(HS256, &claims, self.api_key()))
    }

    /// Whoever holds this token, whatever it is.
    #[must_use]
    pub fn holding(&self, token: String) -> Holder<'_> {
        Holder { oncekey: self, token, http: reqwest::Client::new() }
    }
}

impl Holder<'_> {
    /// A request with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.oncekey.url(path)).bearer_auth(&self.token)
    }

    /// What a GET is answered.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// What a POST is answered, as one of the official client's.
    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).header("x-trigger-source", "sdk").body(body.to_string())).await
    }

    /// The same under a request id.
    pub async fn post_as(&self, id: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.request(Method::POST, path).header("x-trigger-request-idempotency-key", id);
        answer(request.body(body.to_string())).await
    }
}

/// The words of a refusal, whose status must be this one.
#[allow(clippy::must_use_candidate, reason = "the status alone is enough at times")]
pub fn refusal((status, answer): (StatusCode, Value), wanted: StatusCode) -> String {
    assert_eq!(status, wanted, "{answer}");
    answer["error"].as_str().unwrap().to_owned()
}
