//! API keys: each opens exactly one environment, and only its sha256 is ever stored.

use std::fmt;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use oncekey_wire::EnvironmentId;
use sha2::{Digest, Sha256, Sha512};
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::public_token::{signer_id, signs};
use crate::store::{ApiKeyRecord, Store};

/// sha256 of an API key, in hex: what the environments table knows it by.
#[must_use]
pub fn hash_api_key(key: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(key.as_bytes()))
}

/// A new API key. It can be shown once, to whoever asked for it; its `Debug` does not.
pub struct ApiKey(String);

impl ApiKey {
    /// A key of 320 random bits: `tr_prod_…`, which the official client does not take for one that asks us for tokens. It is so
    /// long that its hash verifies the [public tokens](crate::public_token) that it signs.
    fn generate(environment: &EnvironmentId) -> Self {
        let name = environment.as_str().rsplit('/').next().unwrap_or_default();
        let random: Vec<u8> = (0..3).flat_map(|_| Uuid::new_v4().into_bytes()).collect();
        Self(format!("tr_{name}_{}", BASE32_NOPAD.encode(&Sha512::digest(random)[..40]).to_lowercase()))
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
        let hash = hash_api_key(key);
        let signer = signs(key).then(|| signer_id(&hash));
        Self { hash, environment, hint: hint(key), created_at: now, valid_until: None, signer }
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

/// The keys that open an environment now.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(crate) async fn live(
    store: &Store,
    clock: &Clock,
    environment: &EnvironmentId,
) -> Result<Vec<ApiKeyRecord>, Error> {
    let now = clock.now();
    let all = store.api_keys().await?;
    Ok(all.into_iter().filter(|record| record.environment == *environment && record.opens(now)).collect())
}

async fn add_key(store: &Store, clock: &Clock, environment: &EnvironmentId) -> Result<ApiKey, Error> {
    let key = ApiKey::generate(environment);
    store.put_api_key(&ApiKeyRecord::new(environment.clone(), key.reveal(), clock.now())).await?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_names_its_environment_and_is_shown_masked() {
        let key = ApiKey::generate(&EnvironmentId::parse("acme/prod").expect("an environment"));
        let text = key.reveal();
        assert!(text.starts_with("tr_prod_") && text.len() == "tr_prod_".len() + 64, "{text}");
        assert_eq!(format!("{key:?}"), format!("tr_prod_…{}", &text[text.len() - 4..]));
        let shortest = ApiKey::generate(&EnvironmentId::parse("a/b").expect("an environment"));
        assert!(signs(shortest.reveal()));
        assert_eq!(hint("tr_dev_local"), "tr_d…ocal");
        assert_eq!(hint("k"), "…k");
    }
}
