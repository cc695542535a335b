//! Who waits for a run or a wait token: an item each beside it, until its end has reached them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_wire::{RunId, TokenId};

use super::Store;
use super::expression::{moment, number, text};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::waiter::Waiter;

/// Where these items stand among those of a run: before the run itself, so that its journal is read without them.
const PREFIX: &str = "awaited_by#";
/// What comes after all of them.
const AFTER_PREFIX: &str = "awaited_by$";

/// Children of one wait whose names stand in one item, so that it stays under a kilobyte.
pub(super) const PER_CHUNK: usize = 20;

/// The chunk that has the child at this place.
pub(super) fn chunk_of(index: usize) -> u32 {
    u32::try_from(index / PER_CHUNK).unwrap_or(u32::MAX)
}

/// A wait that is to learn of the end of a run, or of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The wait.
    pub waiter: Waiter,
    /// The chunk of its set that has the run.
    pub chunk: u32,
    /// How many runs the wait waits for in all.
    pub children: u32,
    /// When the run that waits was made; not where an older version registered it.
    pub born: Option<Timestamp>,
}

impl Registration {
    /// That of `waiter` with the child at `index` of as many `children`.
    pub(crate) fn of(waiter: &Waiter, born: Timestamp, index: usize, children: usize) -> Self {
        let children = u32::try_from(children).unwrap_or(u32::MAX);
        Self { waiter: waiter.clone(), chunk: chunk_of(index), children, born: Some(born) }
    }

    /// One that an older version added to the set in the run's own item: all its children stand in one chunk.
    pub(crate) fn of_old(waiter: Waiter) -> Self {
        Self { waiter, chunk: 0, children: 2, born: None }
    }

    fn key(&self, awaited: &str) -> HashMap<String, AttributeValue> {
        let item = format!("{PREFIX}{}#{}", self.waiter, self.chunk);
        HashMap::from([("run_id".to_owned(), text(awaited)), ("item".to_owned(), text(item))])
    }

    fn item(&self, born: Timestamp, awaited: &str) -> HashMap<String, AttributeValue> {
        let mut item = self.key(awaited);
        item.insert("born".to_owned(), moment(born));
        item.insert("children".to_owned(), number(self.children));
        item
    }

    fn read(item: &HashMap<String, AttributeValue>) -> Option<Self> {
        let (waiter, chunk) = item.get("item")?.as_s().ok()?.strip_prefix(PREFIX)?.rsplit_once('#')?;
        let children = item.get("children")?.as_n().ok()?;
        let born = item.get("born").and_then(|born| born.as_n().ok()?.parse().ok()).map(Timestamp::from_millis);
        let (chunk, children) = (chunk.parse().ok()?, children.parse().ok()?);
        Some(Self { waiter: Waiter::parse(waiter)?, chunk, children, born })
    }
}

impl Store {
    /// Registers a wait, of a run made at `born`, with every run that it waits for. They stand until somebody deletes them:
    /// whoever ends the run, or finds that it has ended.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn register(&self, waiter: &Waiter, born: Timestamp, children: &[RunId]) -> Result<(), Error> {
        let item = |(index, child): (usize, &RunId)| {
            Registration::of(waiter, born, index, children.len()).item(born, child.as_str())
        };
        self.put_all(&self.tables.runs, children.iter().enumerate().map(item).collect()).await
    }

    /// Registers a wait, of a run made at `born`, with a token. It stands until the token is completed, or `until`: of the end of
    /// the token's time its wait learns by itself.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn register_with_token(
        &self,
        waiter: &Waiter,
        born: Timestamp,
        token: &TokenId,
        until: Timestamp,
    ) -> Result<(), Error> {
        let mut item = Registration::of(waiter, born, 0, 1).item(born, token.as_str());
        item.insert("expires_at".to_owned(), number(until.seconds_rounded_up()));
        let put = self.client.put_item().table_name(&self.tables.runs).set_item(Some(item));
        put.send().await.map(|_| ()).map_err(Error::aws("dynamodb:PutItem"))
    }

    /// The first `most` of those who wait for a run or a token, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn registrations(&self, awaited: &str, most: i32) -> Result<Vec<Registration>, Error> {
        let query = self.items_between(awaited, PREFIX, AFTER_PREFIX).limit(most);
        let answer = query.send().await.map_err(Error::aws("dynamodb:Query"))?;
        let read =
            |item| Registration::read(&item).ok_or_else(|| Error::unreadable("a waiter item", format!("{item:?}")));
        answer.items.unwrap_or_default().into_iter().map(read).collect()
    }

    /// Deletes a registration: its wait knows of the end.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn unregister(&self, awaited: &str, registration: &Registration) -> Result<(), Error> {
        let delete = self.client.delete_item().table_name(&self.tables.runs).set_key(Some(registration.key(awaited)));
        delete.send().await.map(|_| ()).map_err(Error::aws("dynamodb:DeleteItem"))
    }
}
