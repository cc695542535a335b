//! Batches: many triggers under one id, sent in two calls, each of which may be repeated.
//!
//! A batch remembers which indexes it has, and the run or the error of each. An item is triggered under the name
//! `{batch}.{index}`, so that a call that died half-way and is sent again names the same runs.

use std::collections::BTreeMap;

use oncekey_wire::{BatchId, EnvironmentId, RequestId, RunId, TaskId};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::{IdempotencyKey, KeyHash};
use crate::protocol::trigger::{Triggered, trigger_all};
use crate::public_token::TokenUse;
use crate::request::values::parent_text;
use crate::request::{Envelope, KeyHeaders, Parentage, TriggerBody, TriggerRequest};
use crate::run::TriggerFunction;

/// Most items a batch has.
pub const MAX_ITEMS: u32 = 1_000;
/// How much of the task of a refused item is kept, in characters.
const MAX_SHOWN_TASK: usize = 60;
/// How much of the words of its refusal.
const MAX_SHOWN_ERROR: usize = 160;
/// Items that are triggered before the batch's record is written: a call that is cut off has no more than these to do again.
const AT_ONCE: usize = 250;
/// How often outcomes are added while other calls add theirs.
const ROUNDS: u32 = 20;

/// What a batch was created for.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Where.
    pub environment: EnvironmentId,
    /// What makes this request this request.
    pub request_id: RequestId,
    /// How many items it will have, up to [`MAX_ITEMS`].
    pub run_count: u32,
    /// What the keys of its items are made of (R53).
    pub key: Option<BatchKey>,
    /// The run that triggers its items, as it was named: it may be of another service.
    pub parent: Option<String>,
    /// The public token that asks, if it is one.
    pub token: Option<TokenUse>,
}

/// A batch's key. It is not a key of its own: it stands for those of the items that have none, and is claimed by nobody (R53).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchKey {
    /// As it stood on the wire: 64 hex characters or any text. This alone decides.
    pub sent: String,
    /// What to show of it.
    pub shown: String,
    /// The window of items that name none.
    pub ttl: Option<String>,
}

impl BatchKey {
    /// The key of the item at `index`. Made of the key as it was sent, never of the text that is shown: two keys may be
    /// shown alike.
    fn of_item(&self, index: u32) -> IdempotencyKey {
        let hash = KeyHash::of_text(&format!("{}-{index}", self.sent));
        IdempotencyKey { text: Some(format!("{}-{index}", self.shown)), ..IdempotencyKey::of_hash(hash) }
    }
}

/// A batch as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// Where it belongs.
    pub environment: EnvironmentId,
    /// How many items it has, once all have come.
    pub run_count: u32,
    /// What the keys of its items are made of.
    pub key: Option<BatchKey>,
    /// The run that triggers its items, as it was named.
    pub parent: Option<String>,
    /// The public token that created it, by a hash of it: no other fills it.
    pub by_token: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When items came last.
    pub updated_at: Timestamp,
    /// How often its items were written: who writes next must have seen them all.
    pub version: u64,
    /// What became of the items that have come, by index.
    pub items: BTreeMap<u32, BatchItem>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum BatchItem {
    /// It is this run, new or cached.
    Run {
        /// The run's id.
        id: RunId,
    },
    /// It could not be triggered (R51).
    Error {
        /// Its task.
        task: String,
        /// Why.
        error: String,
    },
}

impl Batch {
    /// Whether all items have come.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.items.len() >= self.run_count as usize
    }

    /// Whether any item could not be triggered.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.items.values().any(|item| matches!(item, BatchItem::Error { .. }))
    }
}

/// One item, as it came.
#[derive(Debug)]
pub struct NewItem<'a> {
    /// Its place.
    pub index: u32,
    /// Its task, unchecked: a bad one is this item's error and nobody else's.
    pub task: String,
    /// What it asks for, or why it could not be read.
    pub body: Result<TriggerBody<'a>, Error>,
    /// What the call's headers say of all its items' keys.
    pub headers: KeyHeaders,
}

/// How many of a call's items were new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// New ones.
    pub accepted: usize,
    /// Ones whose index the batch had already.
    pub deduplicated: usize,
}

/// Creates a batch. The same request sent again gets the batch that it made; any other request makes another, whatever its
/// key (R53).
///
/// # Errors
/// [`Error::Invalid`] for a count out of range, [`Error::Unprocessable`] when this request's id was used for another batch,
/// [`Error::Aws`].
pub async fn create(app: &App, new: NewBatch) -> Result<Batch, Error> {
    if new.run_count > MAX_ITEMS {
        let message = format!("a batch has at most {MAX_ITEMS} items");
        return Err(Error::invalid("runCount", message));
    }
    new.parent.as_ref().map(|id| parent_text("parentRunId", id)).transpose()?;
    let now = app.clock.now();
    let batch = Batch {
        id: BatchId::named(&new.environment, &new.request_id),
        environment: new.environment,
        run_count: new.run_count,
        key: new.key,
        parent: new.parent,
        by_token: new.token.as_ref().map(|token| token.digest.clone()),
        created_at: now,
        updated_at: now,
        version: 0,
        items: BTreeMap::new(),
    };
    if let Some(token) = &new.token {
        app.store.use_token(&batch.environment, token, batch.id.as_str()).await?;
    }
    let asked = |batch: &Batch| (batch.run_count, batch.key.clone(), batch.by_token.clone());
    match app.store.create_batch(&batch).await? {
        None => Ok(batch),
        Some(there) if asked(&there) == asked(&batch) => Ok(there),
        Some(_) => Err(Error::Unprocessable(
            "this request id was used for a batch with another runCount or key: give each request an id of its own"
                .to_owned(),
        )),
    }
}

/// The batch with this id, if it is of this environment.
///
/// # Errors
/// [`Error::NotFound`] otherwise, [`Error::Aws`].
pub async fn find(app: &App, environment: &EnvironmentId, id: &BatchId) -> Result<Batch, Error> {
    let batch = app.store.batch(id).await?.filter(|batch| batch.environment == *environment);
    batch.ok_or_else(|| Error::NotFound(format!("there is no batch {id} in {environment}")))
}

/// Triggers the items that the batch does not have yet, lowest index first among those that share a key, and remembers
/// what became of each. The batch as it now is.
///
/// # Errors
/// [`Error::Unprocessable`] for an index beyond the batch's count, [`Error::Forbidden`] for a public token that did not create
/// it, [`Error::NotFound`], [`Error::Aws`]: then the call is to be sent again, and finds what it did.
pub async fn add_items(
    app: &App,
    environment: &EnvironmentId,
    id: &BatchId,
    items: Vec<NewItem<'_>>,
    token: Option<&TokenUse>,
) -> Result<(Batch, Accepted), Error> {
    let batch = find(app, environment, id).await?;
    if token.is_some_and(|token| batch.by_token.as_ref() != Some(&token.digest)) {
        let text = format!(
            "this public token did not create {id}: send its items with the token that did, or with the API key"
        );
        return Err(Error::forbidden(text));
    }
    if let Some(item) = items.iter().find(|item| item.index >= batch.run_count) {
        return Err(Error::Unprocessable(format!(
            "index: {} is beyond the batch, which was created for {} items",
            item.index, batch.run_count
        )));
    }
    let sent = items.len();
    let mut new: BTreeMap<u32, NewItem<'_>> = BTreeMap::new();
    for item in items {
        if !batch.items.contains_key(&item.index) {
            new.entry(item.index).or_insert(item);
        }
    }
    let accepted = Accepted { accepted: new.len(), deduplicated: sent - new.len() };
    if new.is_empty() {
        return Ok((batch, accepted));
    }
    let mut done = BTreeMap::new();
    let (mut asked, mut requests) = (Vec::new(), Vec::new());
    for (index, item) in new {
        let task = item.task.clone();
        match request_of(app, &batch, item, token) {
            Ok(request) => {
                asked.push((index, task));
                requests.push(request);
            }
            Err(error) => drop(done.insert(index, refused(&task, &error))),
        }
    }
    let (mut batch, mut failed) = (batch, None);
    let mut asked = asked.into_iter();
    loop {
        let part: Vec<_> = requests.drain(..requests.len().min(AT_ONCE)).collect();
        for ((index, task), triggered) in asked.by_ref().take(part.len()).zip(trigger_all(app, part).await) {
            match outcome(&task, triggered) {
                Ok(item) => drop(done.insert(index, item)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // What was done is remembered as it goes, and before the call fails: sent again, it has that much less to do.
        if !done.is_empty() {
            batch = remember(app, batch, std::mem::take(&mut done)).await?;
        }
        match failed {
            Some(error) => return Err(error),
            None if requests.is_empty() => return Ok((batch, accepted)),
            None => {}
        }
    }
}

/// An item that was refused, in texts so short that a thousand of them fit the batch's record.
fn refused(task: &str, error: &Error) -> BatchItem {
    let cut = |text: &str, most: usize| -> String {
        if text.chars().nth(most).is_none() {
            text.to_owned()
        } else {
            text.chars().take(most).collect::<String>() + "…"
        }
    };
    BatchItem::Error { task: cut(task, MAX_SHOWN_TASK), error: cut(&error.to_string(), MAX_SHOWN_ERROR) }
}

/// Adds outcomes to a batch, beside those that other calls add meanwhile.
async fn remember(app: &App, mut batch: Batch, done: BTreeMap<u32, BatchItem>) -> Result<Batch, Error> {
    for _ in 0..ROUNDS {
        for (index, outcome) in &done {
            batch.items.entry(*index).or_insert_with(|| outcome.clone());
        }
        batch.updated_at = app.clock.now();
        if app.store.put_batch_items(&batch).await? {
            return Ok(batch);
        }
        batch = find(app, &batch.environment, &batch.id).await?;
    }
    Err(Error::Contended(batch.id.to_string()))
}

/// The trigger that an item asks for.
fn request_of(app: &App, batch: &Batch, item: NewItem<'_>, token: Option<&TokenUse>) -> Result<TriggerRequest, Error> {
    let request_id = RequestId::from_batch(&batch.id, item.index);
    let task = TaskId::parse(&item.task)?;
    let body = item.body?;
    let key = batch.key.as_ref();
    let ttl = key.and_then(|key| key.ttl.clone()).filter(|_| !body.names_a_window());
    let envelope = Envelope {
        // The key's own header was the batch's.
        key: KeyHeaders { key: None, ttl, ..item.headers },
        ..Envelope::new(batch.environment.clone(), task, request_id, app.clock.now())
    };
    let mut request = body.check(envelope)?;
    if let Some(token) = token {
        // That it may be used once was seen to when the batch was created.
        request = request.by_token(TokenUse { once_until: None, ..token.clone() })?;
    }
    request.key = request.key.or_else(|| key.map(|key| key.of_item(item.index)));
    if let (Some(id), Parentage::None) = (&batch.parent, &request.parentage) {
        request.parentage = Parentage::of_text(id);
        let text = parent_text("parentRunId", id)?.map(|text| ("parentRunId".to_owned(), text));
        request.options.placement.extend(text);
    }
    request.function = TriggerFunction::BatchTrigger;
    request.batch = Some(batch.id.clone());
    Ok(request)
}

/// What the item itself is to blame for is its outcome; what another try may mend is an error.
fn outcome(task: &str, triggered: Result<Triggered, Error>) -> Result<BatchItem, Error> {
    match triggered {
        Ok(triggered) => Ok(BatchItem::Run { id: triggered.handle.id }),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => Ok(refused(task, &error)),
    }
}
