//! The keys table: who holds which key, until when.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{EnvironmentId, RunId, TaskId};
use serde::{Deserialize, Serialize};

use super::Store;
use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::{IdempotencyKey, KeyHash, KeyPlace, KeyRelease, Scope};
use crate::run::Run;

/// Who holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The run that the key stands for.
    pub run_id: RunId,
    /// When it was claimed; equal to the run's own `created_at` if the claim is the one that made the run.
    pub created_at: Timestamp,
    /// From this moment on the key is free (I5), whether or not DynamoDB has deleted the item.
    pub window_ends_at: Timestamp,
    /// [`Payload::fingerprint`](crate::payload::Payload::fingerprint) of what it was claimed with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fingerprint: Option<String>,
    /// From this moment on its claimer is dead for certain, so that others may make its run with another payload.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub helped_from: Option<Timestamp>,
    /// The caller's own text of the key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The scope the caller chose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<Scope>,
    /// Which ends of its run free it.
    #[serde(skip_serializing_if = "KeyRelease::is_default", default)]
    pub release: KeyRelease,
}

impl KeyRecord {
    /// The claim of `key` by a run that is made at `now`.
    #[must_use]
    pub fn new(run_id: RunId, key: Option<&IdempotencyKey>, now: Timestamp, window_ends_at: Timestamp) -> Self {
        Self {
            run_id,
            created_at: now,
            window_ends_at,
            fingerprint: None,
            helped_from: None,
            key: key.and_then(|key| key.text.clone()),
            scope: key.and_then(|key| key.scope),
            release: KeyRelease::default(),
        }
    }

    /// Whether `run`, for which the key stands, has given it up: it came to an end that frees it, though the key may not be cleared
    /// yet, or made way for another run.
    #[must_use]
    pub fn is_freed_by(&self, run: &Run) -> bool {
        self.release.frees(run.status) || run.replaced_by.is_some()
    }

    /// Whether this is the claim that made `run`, and not one made for it later by a request that was sent again after
    /// the key had been freed, nor one of another key by whoever uses a request's id twice.
    #[must_use]
    pub fn made(&self, address: KeyAddress<'_>, run: &Run) -> bool {
        let is_its = KeyAddress::of_run(run) == Some(address);
        is_its && self.run_id == run.id && self.created_at == run.spec.created_at
    }
}

/// What came of a claim.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours, and nobody held it.
    Free,
    /// It is ours, in the place of this claim: its window is over, or it is the one said to be dead.
    Over(KeyRecord),
    /// This claim holds it.
    HeldBy(KeyRecord),
    /// Somebody holds it, and DynamoDB did not say who.
    Unknown,
}

/// Where in the table a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAddress<'a> {
    /// The environment.
    pub environment: &'a EnvironmentId,
    /// The task, or the group of tasks.
    pub place: KeyPlace<'a>,
    /// The key's hash.
    pub hash: &'a KeyHash,
}

impl<'a> KeyAddress<'a> {
    /// The address of the key that a run was triggered with.
    #[must_use]
    pub fn of_run(run: &'a Run) -> Option<Self> {
        let key = &run.spec.key.as_ref()?.key;
        Some(Self::of_key(&run.spec.environment, &run.spec.task, key))
    }

    /// The address of a key that a trigger of `task` names.
    #[must_use]
    pub fn of_key(environment: &'a EnvironmentId, task: &'a TaskId, key: &'a IdempotencyKey) -> Self {
        Self { environment, place: key.place(task), hash: &key.hash }
    }

    fn partition_key(&self) -> AttributeValue {
        text(format!("{}#{}#{}", self.environment, self.place, self.hash))
    }
}

fn read(item: HashMap<String, AttributeValue>) -> Result<KeyRecord, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a key item", error))
}

impl Store {
    /// Claims a key: one conditional put, which succeeds when nobody holds the key, when the holder's window is over
    /// (R21, R23), or when the holder is exactly `dead`.
    ///
    /// # Errors
    /// [`Error::Aws`]; a refusal is not an error.
    pub async fn claim_key(
        &self,
        address: KeyAddress<'_>,
        record: &KeyRecord,
        dead: Option<&KeyRecord>,
    ) -> Result<Claimed, Error> {
        let item = serde_dynamo::to_item(record).map_err(|error| Error::unreadable("a key", error))?;
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.keys)
            .set_item(Some(item))
            .item("pk", address.partition_key())
            .item("expires_at", number(record.window_ends_at.seconds_rounded_up()))
            .expression_attribute_values(":now", moment(record.created_at))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let free = "attribute_not_exists(pk) OR window_ends_at <= :now";
        let put = match dead {
            None => put.condition_expression(free),
            Some(dead) => put
                .condition_expression(format!("{free} OR (run_id = :dead AND created_at = :dead_since)"))
                .expression_attribute_values(":dead", text(dead.run_id.as_str()))
                .expression_attribute_values(":dead_since", moment(dead.created_at)),
        };
        Ok(match written("dynamodb:PutItem", put.send().await)? {
            Written::Done(answer) => answer.attributes.map(read).transpose()?.map_or(Claimed::Free, Claimed::Over),
            Written::Refused(Some(holder)) => Claimed::HeldBy(read(holder)?),
            Written::Refused(None) => Claimed::Unknown,
        })
    }

    /// Clears the key of a run whose end frees it, on condition that it still names that run (I4, R35). Whether it did.
    ///
    /// # Errors
    /// [`Error::Aws`]; a key that names another run, or none, is not an error.
    pub async fn clear_key(&self, run: &Run) -> Result<bool, Error> {
        let Some(address) = KeyAddress::of_run(run) else { return Ok(false) };
        let cleared = self
            .client
            .delete_item()
            .table_name(&self.tables.keys)
            .key("pk", address.partition_key())
            .condition_expression("run_id = :run")
            .expression_attribute_values(":run", text(run.id.as_str()))
            .send()
            .await;
        Ok(written("dynamodb:DeleteItem", cleared)?.is_done())
    }

    /// Deletes a key on condition that the claim of this run and moment holds it. Whether it did.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn free_key(&self, address: KeyAddress<'_>, run: &RunId, claimed_at: Timestamp) -> Result<bool, Error> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.tables.keys)
            .key("pk", address.partition_key())
            .condition_expression("run_id = :run AND created_at = :claimed_at")
            .expression_attribute_values(":run", text(run.as_str()))
            .expression_attribute_values(":claimed_at", moment(claimed_at))
            .send()
            .await;
        Ok(written("dynamodb:DeleteItem", deleted)?.is_done())
    }

    /// Who holds a key, strongly consistent; also one whose window is over and that is not deleted yet.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn key(&self, address: KeyAddress<'_>) -> Result<Option<KeyRecord>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.keys)
            .key("pk", address.partition_key())
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// For each run, whether it holds the key it was triggered with at `now`.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn holds_key(&self, runs: &[Run], now: Timestamp) -> Result<Vec<bool>, Error> {
        let key_of = |run: &Run| KeyAddress::of_run(run).map(|address| address.partition_key());
        let mut wanted: Vec<AttributeValue> = Vec::new();
        for key in runs.iter().filter_map(key_of) {
            if !wanted.contains(&key) {
                wanted.push(key);
            }
        }
        let records = self.batch_get(&self.tables.keys, wanted, "pk").await?;
        let mut holders = HashMap::new();
        for item in records {
            if let Some(AttributeValue::S(pk)) = item.get("pk").cloned() {
                holders.insert(pk, read(item)?);
            }
        }
        let holds = |run: &Run| {
            let address = KeyAddress::of_run(run)?;
            let holder = holders.get(address.partition_key().as_s().ok()?)?;
            Some(holder.made(address, run) && !holder.is_freed_by(run) && holder.window_ends_at > now)
        };
        Ok(runs.iter().map(|run| holds(run).unwrap_or(false)).collect())
    }

    /// Reads the items of these keys of one table, consistently.
    async fn batch_get(
        &self,
        table: &str,
        keys: Vec<AttributeValue>,
        name: &str,
    ) -> Result<Vec<HashMap<String, AttributeValue>>, Error> {
        self.batch_get_items(table, keys.into_iter().map(|key| HashMap::from([(name.to_owned(), key)])).collect()).await
    }
}
