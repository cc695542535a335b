//! Who has signed in: a session lives in its cookie, signed, and holds names of the API keys it was opened with. It ends
//! after half a day, and each of its environments as soon as its API key is revoked.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::AppendHeaders;
use cookie::{Cookie, SameSite};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use oncekey_core::environments::Environments;
use oncekey_core::store::Store;
use oncekey_core::{App, Clock, EnvironmentId, Error, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::sync::OnceCell;
use uuid::Uuid;

const NAME: &str = "oncekey_session";
/// How long one may stay signed in.
const LASTS: Duration = Duration::from_secs(12 * 60 * 60);
/// Most environments a session sees, so that its cookie stays under the 4 KB that browsers keep.
const MAX_KEYS: usize = 20;

/// What a cookie says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Names of the API keys that it was opened with, from which nobody learns to sign as the key does. One without is for the form
    /// to sign in alone.
    keys: Vec<String>,
    /// The one whose environment is shown.
    pub(crate) chosen: usize,
    /// What every form of its pages must carry.
    pub token: String,
    /// From then on it opens nothing.
    until: Timestamp,
}

impl Session {
    fn new(keys: Vec<String>, chosen: usize, now: Timestamp) -> Self {
        Self { keys, chosen, token: random(), until: now.plus(LASTS) }
    }

    /// One that has not signed in.
    pub(crate) fn nobody(now: Timestamp) -> Self {
        Self::new(Vec::new(), 0, now)
    }

    /// The session after its bearer has shown another API key. Its token is new, so nobody who planted the old cookie
    /// knows it.
    pub(crate) fn and(&self, key: String, now: Timestamp) -> Self {
        let mut keys: Vec<String> = self.keys.iter().filter(|other| **other != key).cloned().collect();
        keys.truncate(MAX_KEYS - 1);
        keys.insert(0, key);
        Self::new(keys, 0, now)
    }

    /// The session with another of its environments in view.
    pub(crate) fn choosing(&self, chosen: usize) -> Self {
        Self { chosen: chosen.min(self.keys.len().saturating_sub(1)), ..self.clone() }
    }
}

/// 122 random bits as text.
pub(crate) fn random() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Reads and writes the cookies of sessions.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Store,
    clock: Clock,
    environments: Environments,
    secret: Arc<OnceCell<String>>,
}

impl Sessions {
    pub(crate) fn new(app: &App) -> Self {
        let (store, clock, environments) = (app.store.clone(), app.clock.clone(), app.environments.clone());
        Self { store, clock, environments, secret: Arc::default() }
    }

    async fn signature(&self) -> Result<Hmac<Sha256>, Error> {
        let fresh = || async { self.store.session_secret(&format!("{}{}", random(), random())).await };
        let secret = self.secret.get_or_try_init(fresh).await?;
        let keyed = Hmac::new_from_slice(secret.as_bytes());
        keyed.map_err(|error| Error::Unreadable { what: "the secret of sessions".to_owned(), why: error.to_string() })
    }

    /// The session that a request's cookie proves.
    pub(crate) async fn of(&self, headers: &HeaderMap) -> Result<Option<Session>, Error> {
        let Some(text) = cookie_of(headers) else { return Ok(None) };
        let Some((told, signed)) = text.split_once('.') else { return Ok(None) };
        let Ok(signed) = BASE64URL_NOPAD.decode(signed.as_bytes()) else { return Ok(None) };
        if self.signature().await?.chain_update(told).verify_slice(&signed).is_err() {
            return Ok(None);
        }
        let told = BASE64URL_NOPAD.decode(told.as_bytes()).ok();
        let session = told.and_then(|json| serde_json::from_slice::<Session>(&json).ok());
        Ok(session.filter(|session| self.clock.now() < session.until))
    }

    /// The header that makes a browser keep `session`.
    pub(crate) async fn keep(
        &self,
        session: &Session,
    ) -> Result<AppendHeaders<[(axum::http::HeaderName, HeaderValue); 1]>, Error> {
        let json = serde_json::to_vec(session).map_err(|error| unwritable(&error))?;
        let told = BASE64URL_NOPAD.encode(&json);
        let signed = self.signature().await?.chain_update(&told).finalize().into_bytes();
        let cookie = Cookie::build((NAME, format!("{told}.{}", BASE64URL_NOPAD.encode(&signed))))
            .http_only(true)
            .secure(true)
            .same_site(SameSite::Strict)
            .path("/")
            .max_age(cookie::time::Duration::seconds(session.until.since(self.clock.now()).as_secs() as i64));
        let header = HeaderValue::from_str(&cookie.to_string()).map_err(|error| unwritable(&error))?;
        Ok(AppendHeaders([(SET_COOKIE, header)]))
    }

    /// The environments that a session may see now, each with its place in it.
    pub(crate) async fn environments(&self, session: &Session) -> Result<Vec<(usize, EnvironmentId)>, Error> {
        let mut seen: Vec<(usize, EnvironmentId)> = Vec::new();
        for (place, key) in session.keys.iter().enumerate() {
            match self.environments.opened_by_name(key).await {
                // Two keys of one environment are one door.
                Ok(environment) if seen.iter().any(|(_, other)| *other == environment) => {}
                Ok(environment) => seen.push((place, environment)),
                Err(Error::Unauthorized(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }
}

fn unwritable(error: &dyn std::fmt::Display) -> Error {
    Error::Unreadable { what: "a session".to_owned(), why: error.to_string() }
}

fn cookie_of(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    all.flat_map(Cookie::split_parse)
        .flatten()
        .find(|cookie| cookie.name() == NAME)
        .map(|found| found.value().to_owned())
}

/// Somebody who has signed in. A handler that takes one runs for nobody else: others are asked to sign in.
pub(crate) struct Visitor {
    pub session: Session,
    /// The environment in view.
    pub environment: EnvironmentId,
    /// All that may be seen, each with its place in the session.
    pub environments: Vec<(usize, EnvironmentId)>,
}
