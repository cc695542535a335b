//! Who is it that calls: the environment that an API key opens, or that a public token was signed for. Good ones are remembered for
//! a minute.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use oncekey_wire::EnvironmentId;

use crate::clock::{Clock, Timestamp};
use crate::environment::{hash_api_key, live};
use crate::error::Error;
use crate::public_token::{PublicToken, Signer, SigningKey, Unverified, signer_id};
use crate::store::{ApiKeyRecord, Store};

/// How long an API key is trusted without asking again, and so how long a revoked one may still work.
const CACHED: Duration = Duration::from_secs(60);
/// Most keys remembered; far above what one process sees in a minute.
const MAX_CACHED: usize = 10_000;

/// What an API key opens.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The environment.
    pub environment: EnvironmentId,
    /// The key as one that signs public tokens, if it is long enough.
    pub signer: Option<Signer>,
}

/// An API key that is no secret.
#[derive(Debug)]
struct Fixed {
    hash: String,
    signer: String,
    key: SigningKey,
}

/// Looks API keys up, remembering good ones for a minute.
#[derive(Clone, Debug)]
pub struct Environments {
    store: Store,
    clock: Clock,
    fixed: Arc<[Fixed]>,
    seen: Arc<RwLock<HashMap<String, (ApiKeyRecord, Timestamp)>>>,
    /// Which key has which name as a signer, which never changes.
    signers: Arc<RwLock<HashMap<String, String>>>,
    known: Arc<RwLock<HashMap<EnvironmentId, Timestamp>>>,
}

impl Environments {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        let fixed = Arc::from([]);
        Self { store, clock, fixed, seen: Arc::default(), signers: Arc::default(), known: Arc::default() }
    }

    /// The same where some API keys are no secret, as those of a stack on this machine: they sign public tokens though they are
    /// short, and nothing of that is stored.
    #[must_use]
    pub fn knowing<'a>(mut self, api_keys: impl IntoIterator<Item = &'a str>) -> Self {
        let fixed = |key: &str| {
            let hash = hash_api_key(key);
            Fixed { signer: signer_id(&hash), hash, key: SigningKey::of_text(key) }
        };
        self.fixed = api_keys.into_iter().map(fixed).collect();
        self
    }

    /// What `api_key` opens. The key is looked up by its hash, so no comparison's time tells of it.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a key that is unknown or has ended, [`Error::Aws`].
    pub async fn opened_by(&self, api_key: &str) -> Result<Opened, Error> {
        let record = self.record(&hash_api_key(api_key), self.clock.now()).await?.ok_or(Error::Unauthorized(
            "this API key is unknown: check TRIGGER_SECRET_KEY, or whether it was revoked or rotated",
        ))?;
        Ok(Opened { signer: self.signer_of(&record)?, environment: record.environment })
    }

    /// The environment of the API key that has this [name](Environments::name_of).
    ///
    /// # Errors
    /// As [`Environments::opened_by`].
    pub async fn opened_by_name(&self, name: &str) -> Result<EnvironmentId, Error> {
        let ended =
            || Error::Unauthorized("the API key of this session was revoked or rotated: sign in with the present one");
        let hash = self.signed_with(name).await?.unwrap_or_else(|| name.to_owned());
        Ok(self.record(&hash, self.clock.now()).await?.ok_or_else(ended)?.environment)
    }

    /// A name of an API key that opens something, which may be kept outside of our tables: of one that signs, its hash may not.
    #[must_use]
    pub fn name_of(api_key: &str, opened: &Opened) -> String {
        opened.signer.as_ref().map_or_else(|| hash_api_key(api_key), |signer| signer.id.clone())
    }

    /// The public token that this text is. Nothing is believed of it before its signature is found right.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], naming what is wrong with it; [`Error::Aws`], [`Error::Unreadable`].
    pub async fn public_token(&self, text: &str) -> Result<PublicToken, Error> {
        let unverified = Unverified::parse(text)?;
        let unknown =
            "no API key is known that signed this public token: it is of another stack, or not as it was made";
        let hash = self.signed_with(unverified.signer()?).await?.ok_or(Error::Unauthorized(unknown))?;
        let now = self.clock.now();
        let ended =
            "the API key that signed this public token was revoked or rotated: make another with the present one";
        let record = self.record(&hash, now).await?.ok_or(Error::Unauthorized(ended))?;
        let signer = self.signer_of(&record)?.ok_or(Error::Unauthorized(unknown))?;
        let verified = unverified.verify(&signer.key, &record.environment, now)?;
        Ok(PublicToken::new(text, signer, verified))
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

    /// The record of the key with this hash, if it opens its environment at `now`.
    async fn record(&self, hash: &str, now: Timestamp) -> Result<Option<ApiKeyRecord>, Error> {
        let record = match self.remembered(hash, now) {
            Some(record) => Some(record),
            None => self.store.api_key(hash).await?,
        };
        let Some(record) = record.filter(|record| record.opens(now)) else { return Ok(None) };
        self.remember(hash, record.clone(), now);
        Ok(Some(record))
    }

    fn signer_of(&self, record: &ApiKeyRecord) -> Result<Option<Signer>, Error> {
        let environment = record.environment.clone();
        if let Some(fixed) = self.fixed.iter().find(|fixed| fixed.hash == record.hash) {
            return Ok(Some(Signer { id: fixed.signer.clone(), environment, key: fixed.key.clone() }));
        }
        let Some(id) = record.signer.clone() else { return Ok(None) };
        Ok(Some(Signer { id, environment, key: SigningKey::of_hash(&record.hash)? }))
    }

    /// The hash of the key that has this name as a signer.
    async fn signed_with(&self, signer: &str) -> Result<Option<String>, Error> {
        if let Some(fixed) = self.fixed.iter().find(|fixed| fixed.signer == signer) {
            return Ok(Some(fixed.hash.clone()));
        }
        // What is no such name is not looked for: it is whatever somebody wrote.
        if signer.len() != 32 || !signer.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        if let Some(hash) = self.signers.read().ok().and_then(|known| known.get(signer).cloned()) {
            return Ok(Some(hash));
        }
        let Some(hash) = self.store.signer(signer).await? else { return Ok(None) };
        if let Ok(mut known) = self.signers.write() {
            if known.len() >= MAX_CACHED {
                known.clear();
            }
            known.insert(signer.to_owned(), hash.clone());
        }
        Ok(Some(hash))
    }

    fn remembered(&self, hash: &str, now: Timestamp) -> Option<ApiKeyRecord> {
        let seen = self.seen.read().ok()?;
        seen.get(hash).filter(|(_, at)| now.since(*at) < CACHED).map(|(record, _)| record.clone())
    }

    fn remember(&self, hash: &str, record: ApiKeyRecord, now: Timestamp) {
        if let Ok(mut seen) = self.seen.write() {
            if seen.len() >= MAX_CACHED {
                seen.clear();
            }
            // What is remembered is not remembered anew: a key that was revoked is found out a minute after it was read.
            let fresh = seen.get(hash).is_none_or(|(_, at)| now.since(*at) >= CACHED);
            if fresh {
                seen.insert(hash.to_owned(), (record, now));
            }
        }
    }
}
