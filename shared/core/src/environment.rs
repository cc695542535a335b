//! API keys: each opens exactly one environment, and only its sha256 is ever stored.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::ids::EnvironmentId;
use crate::store::Store;

/// How long an API key is trusted without asking again, and so how long a revoked one may still work.
const CACHED: Duration = Duration::from_secs(60);
/// Most keys remembered; far above what one process sees in a minute.
const MOST_CACHED: usize = 10_000;

/// sha256 of an API key, in hex: what the environments table knows it by.
pub fn hash_api_key(key: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(key.as_bytes()))
}

/// Looks API keys up, remembering good ones for a minute.
#[derive(Clone, Debug)]
pub struct Environments {
    store: Store,
    clock: Clock,
    seen: Arc<RwLock<HashMap<String, (EnvironmentId, Timestamp)>>>,
}

impl Environments {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, seen: Arc::default() }
    }

    /// The environment that `api_key` opens. The key is looked up by its hash, so no comparison's time tells of it.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for an unknown key, [`Error::Aws`].
    pub async fn opened_by(&self, api_key: &str) -> Result<EnvironmentId, Error> {
        let hash = hash_api_key(api_key);
        let now = self.clock.now();
        if let Some((environment, at)) = self.seen.read().ok().and_then(|seen| seen.get(&hash).cloned())
            && now.since(at) < CACHED
        {
            return Ok(environment);
        }
        let record = self.store.environment_of(&hash).await?;
        let environment = record
            .ok_or(Error::Unauthorized("this API key is unknown: check TRIGGER_SECRET_KEY, or whether it was revoked"))?
            .environment;
        if let Ok(mut seen) = self.seen.write() {
            if seen.len() >= MOST_CACHED {
                seen.clear();
            }
            seen.insert(hash, (environment.clone(), now));
        }
        Ok(environment)
    }
}
