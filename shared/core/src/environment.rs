//! API keys: each opens exactly one environment, and only its sha256 is ever stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use oncekey_wire::EnvironmentId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::store::{ApiKeyRecord, Store};

/// How long an API key is trusted without asking again, and so how long a revoked one may still work.
const CACHED: Duration = Duration::from_secs(60);
/// Most keys remembered; far above what one process sees in a minute.
const MAX_CACHED: usize = 10_000;

/// sha256 of an API key, in hex: what the environments table knows it by.
#[must_use]
pub fn hash_api_key(key: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(key.as_bytes()))
}

/// A new API key. It can be shown once, to whoever asked for it; its `Debug` does not.
pub struct ApiKey(String);

impl ApiKey {
    /// A key of 160 random bits: `tr_prod_…`, which the official client does not take for one that asks us for tokens.
    fn generate(environment: &EnvironmentId) -> Self {
        let name = environment.as_str().rsplit('/').next().unwrap_or_default();
        let random = Sha256::digest([Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat());
        Self(format!("tr_{name}_{}", BASE32_NOPAD.encode(&random[..20]).to_lowercase()))
    }

    /// The key itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hint(&self.0))
    }
}

/// What may be shown of a key: up to its random part, and the last four characters.
fn hint(key: &str) -> String {
    let shown = key.rfind('_').map_or(0, |end| end + 1).min(key.len().saturating_sub(8));
    let tail = key.len().saturating_sub(4);
    format!("{}…{}", key.get(..shown).unwrap_or_default(), key.get(tail..).unwrap_or_default())
}

impl ApiKeyRecord {
    /// The record of a key that opens `environment` from `now` on.
    #[must_use]
    pub fn new(environment: EnvironmentId, key: &str, now: Timestamp) -> Self {
        Self { hash: hash_api_key(key), environment, hint: hint(key), created_at: now, valid_until: None }
    }

    /// The short name of the key, for people: the first characters of its hash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.hash.get(..10).unwrap_or_default()
    }

    /// Whether it opens its environment at `now`.
    #[must_use]
    pub fn opens(&self, now: Timestamp) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }
}

/// Makes the first key of an environment.
///
/// # Errors
/// [`Error::Unprocessable`] when it has one already, [`Error::Aws`].
pub async fn create(store: &Store, clock: &Clock, environment: &EnvironmentId) -> Result<ApiKey, Error> {
    if !live(store, clock, environment).await?.is_empty() {
        return Err(Error::Unprocessable(format!("{environment} is there already: rotate its key to get another")));
    }
    add_key(store, clock, environment).await
}

/// Makes another key of an environment, and ends its present ones after `overlap`.
///
/// # Errors
/// [`Error::NotFound`] when it has none, [`Error::Aws`].
pub async fn rotate(
    store: &Store,
    clock: &Clock,
    environment: &EnvironmentId,
    overlap: Duration,
) -> Result<ApiKey, Error> {
    let present = live(store, clock, environment).await?;
    if present.is_empty() {
        return Err(Error::NotFound(format!("there is no environment {environment} with a live key: create it")));
    }
    // The new one first: were we to die in between, the environment is never without a key.
    let key = add_key(store, clock, environment).await?;
    let until = clock.now().plus(overlap);
    for record in present {
        store.end_api_key(&record.hash, until).await?;
    }
    Ok(key)
}

/// Ends a key of an environment now; processes that have seen it lately trust it for another minute.
///
/// # Errors
/// [`Error::NotFound`] when the environment has no live key of this [name](ApiKeyRecord::name), [`Error::Aws`].
pub async fn revoke(
    store: &Store,
    clock: &Clock,
    environment: &EnvironmentId,
    name: &str,
) -> Result<ApiKeyRecord, Error> {
    let found = live(store, clock, environment).await?.into_iter().find(|record| record.name() == name);
    let record =
        found.ok_or_else(|| Error::NotFound(format!("{environment} has no live key {name:?}: list its keys")))?;
    store.end_api_key(&record.hash, clock.now()).await?;
    Ok(record)
}

async fn live(store: &Store, clock: &Clock, environment: &EnvironmentId) -> Result<Vec<ApiKeyRecord>, Error> {
    let now = clock.now();
    let all = store.api_keys().await?;
    Ok(all.into_iter().filter(|record| record.environment == *environment && record.opens(now)).collect())
}

async fn add_key(store: &Store, clock: &Clock, environment: &EnvironmentId) -> Result<ApiKey, Error> {
    let key = ApiKey::generate(environment);
    store.put_api_key(&ApiKeyRecord::new(environment.clone(), key.reveal(), clock.now())).await?;
    Ok(key)
}

/// Looks API keys up, remembering good ones for a minute.
#[derive(Clone, Debug)]
pub struct Environments {
    store: Store,
    clock: Clock,
    seen: Arc<RwLock<HashMap<String, (ApiKeyRecord, Timestamp)>>>,
    known: Arc<RwLock<HashMap<EnvironmentId, Timestamp>>>,
}

impl Environments {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, seen: Arc::default(), known: Arc::default() }
    }

    /// The environment that `api_key` opens. The key is looked up by its hash, so no comparison's time tells of it.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a key that is unknown or has ended, [`Error::Aws`].
    pub async fn opened_by(&self, api_key: &str) -> Result<EnvironmentId, Error> {
        self.opened_by_hash(hash_api_key(api_key)).await
    }

    /// The environment that the API key with this [hash](hash_api_key) opens.
    ///
    /// # Errors
    /// As [`Environments::opened_by`].
    pub async fn opened_by_hash(&self, hash: String) -> Result<EnvironmentId, Error> {
        let now = self.clock.now();
        let record = match self.remembered(&hash, now) {
            Some(record) => Some(record),
            None => self.store.api_key(&hash).await?,
        };
        let record = record.filter(|record| record.opens(now)).ok_or(Error::Unauthorized(
            "this API key is unknown: check TRIGGER_SECRET_KEY, or whether it was revoked or rotated",
        ))?;
        let environment = record.environment.clone();
        self.remember(hash, record, now);
        Ok(environment)
    }

    /// Refuses an environment that no API key opens: nobody would see what is done in it. For callers that name one without
    /// a key.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is such a one, [`Error::Aws`], [`Error::Unreadable`].
    pub async fn require(&self, environment: &EnvironmentId) -> Result<(), Error> {
        let now = self.clock.now();
        let is_known = |known: &HashMap<EnvironmentId, Timestamp>| {
            known.get(environment).is_some_and(|at| now.since(*at) < CACHED)
        };
        if self.known.read().is_ok_and(|known| is_known(&known)) {
            return Ok(());
        }
        if live(&self.store, &self.clock, environment).await?.is_empty() {
            let text = format!(
                "there is no environment {environment} that an API key opens: make it with `oncekey env create`"
            );
            return Err(Error::invalid("environment", text));
        }
        if let Ok(mut known) = self.known.write() {
            known.insert(environment.clone(), now);
        }
        Ok(())
    }

    fn remembered(&self, hash: &str, now: Timestamp) -> Option<ApiKeyRecord> {
        let seen = self.seen.read().ok()?;
        seen.get(hash).filter(|(_, at)| now.since(*at) < CACHED).map(|(record, _)| record.clone())
    }

    fn remember(&self, hash: String, record: ApiKeyRecord, now: Timestamp) {
        if let Ok(mut seen) = self.seen.write() {
            if seen.len() >= MAX_CACHED {
                seen.clear();
            }
            // What is remembered is not remembered anew: a key that was revoked is found out a minute after it was read.
            let fresh = seen.get(&hash).is_none_or(|(_, at)| now.since(*at) >= CACHED);
            if fresh {
                seen.insert(hash, (record, now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_names_its_environment_and_is_shown_masked() {
        let key = ApiKey::generate(&EnvironmentId::parse("acme/prod").expect("an environment"));
        let text = key.reveal();
        assert!(text.starts_with("tr_prod_") && text.len() == "tr_prod_".len() + 32, "{text}");
        assert_eq!(format!("{key:?}"), format!("tr_prod_…{}", &text[text.len() - 4..]));
        assert_eq!(hint("tr_dev_local"), "tr_d…ocal");
        assert_eq!(hint("k"), "…k");
    }
}
