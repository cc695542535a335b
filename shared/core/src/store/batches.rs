//! Batches, in the runs table: one item a batch.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{BatchId, EnvironmentId};
use serde::{Deserialize, Serialize};

use super::Store;
use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::runs::batch::{Batch, BatchKey};

/// How long a batch is kept: 30 days.
const KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 60 * 60);

/// What the caller asked for, as one JSON text.
#[derive(Serialize, Deserialize)]
struct Spec {
    environment: EnvironmentId,
    run_count: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<KeySpec>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    by_token: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeySpec {
    sent: String,
    shown: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ttl: Option<String>,
}

fn batch_key(id: &BatchId) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(id.as_str())), ("item".to_owned(), text("batch"))])
}

fn read(id: &BatchId, item: &HashMap<String, AttributeValue>) -> Result<Batch, Error> {
    let unreadable = |why: &str| Error::unreadable(format!("batch {id}"), why);
    let spec = item.get("spec").and_then(|spec| spec.as_s().ok()).ok_or_else(|| unreadable("it has no spec"))?;
    let spec: Spec = serde_json::from_str(spec).map_err(|error| unreadable(&error.to_string()))?;
    let number = |name: &str| {
        let number = item.get(name).and_then(|value| value.as_n().ok()).and_then(|number| number.parse().ok());
        number.ok_or_else(|| unreadable("a number is missing"))
    };
    let items = match item.get("items").and_then(|items| items.as_s().ok()) {
        Some(items) => serde_json::from_str(items).map_err(|error| unreadable(&error.to_string()))?,
        None => BTreeMap::new(),
    };
    Ok(Batch {
        id: id.clone(),
        environment: spec.environment,
        run_count: spec.run_count,
        key: spec.key.map(|KeySpec { sent, shown, ttl }| BatchKey { sent, shown, ttl }),
        parent: spec.parent,
        by_token: spec.by_token,
        created_at: Timestamp::from_millis(number("created_at")?),
        updated_at: Timestamp::from_millis(number("updated_at")?),
        version: u64::try_from(number("version")?).unwrap_or_default(),
        items,
    })
}

impl Store {
    /// Puts a batch on condition that it is absent, or that its 30 days are over. `None` if it was, else the batch that is
    /// there.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn create_batch(&self, batch: &Batch) -> Result<Option<Batch>, Error> {
        let spec = Spec {
            environment: batch.environment.clone(),
            run_count: batch.run_count,
            key: batch.key.clone().map(|BatchKey { sent, shown, ttl }| KeySpec { sent, shown, ttl }),
            parent: batch.parent.clone(),
            by_token: batch.by_token.clone(),
        };
        let spec = serde_json::to_string(&spec).map_err(|error| Error::unreadable("a batch", error))?;
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(batch_key(&batch.id)))
            .item("spec", text(spec))
            .item("created_at", moment(batch.created_at))
            .item("updated_at", moment(batch.updated_at))
            .item("version", number(batch.version))
            .item("ends_at", moment(batch.created_at.plus(KEPT)))
            .item("expires_at", number(batch.created_at.plus(KEPT).seconds_rounded_up()))
            .condition_expression("attribute_not_exists(run_id) OR ends_at <= :now")
            .expression_attribute_values(":now", moment(batch.created_at))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match written("dynamodb:PutItem", put)? {
            Written::Done(_) => Ok(None),
            Written::Refused(Some(there)) => read(&batch.id, &there).map(Some),
            Written::Refused(None) => Err(Error::unreadable("a batch", "it was not shown")),
        }
    }

    /// Reads a batch, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.runs)
            .set_key(Some(batch_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(|item| read(id, &item)).transpose()
    }

    /// Remembers what became of a batch's items, on condition that nobody has changed them since `batch` was read. Whether
    /// nobody had.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn put_batch_items(&self, batch: &Batch) -> Result<bool, Error> {
        let items = serde_json::to_string(&batch.items).map_err(|error| Error::unreadable("a batch", error))?;
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(batch_key(&batch.id)))
            // One text and one condition: an expression with a thousand parts is longer than DynamoDB takes.
            .update_expression("SET #items = :items, updated_at = :now, version = :next")
            .condition_expression("version = :version")
            .expression_attribute_names("#items", "items")
            .expression_attribute_values(":items", text(items))
            .expression_attribute_values(":now", moment(batch.updated_at))
            .expression_attribute_values(":version", number(batch.version))
            .expression_attribute_values(":next", number(batch.version + 1))
            .send()
            .await;
        Ok(written("dynamodb:UpdateItem", updated)?.is_done())
    }
}
