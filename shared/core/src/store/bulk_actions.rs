//! Bulk actions, in the runs table: one item an action, which the index of the list of runs lists too, in a partition of its own.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{BulkActionId, BulkActionStatus, EnvironmentId};

use super::Store;
use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use crate::bulk::StoredBulkAction;
use crate::clock::Timestamp;
use crate::error::Error;

/// A place in an environment's list of bulk actions: creation, then id, as one sortable text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BulkPosition {
    created_at: Timestamp,
    id: BulkActionId,
}

impl BulkPosition {
    fn of(action: &StoredBulkAction) -> Self {
        Self { created_at: action.created_at, id: action.id.clone() }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (millis, id) = text.split_once('#')?;
        let created_at = Timestamp::from_millis(millis.parse().ok().filter(|millis| *millis >= 0)?);
        Some(Self { created_at, id: BulkActionId::parse(id).ok()? })
    }

    pub(crate) fn id(&self) -> &BulkActionId {
        &self.id
    }
}

/// Padded, so that texts sort as numbers do.
impl std::fmt::Display for BulkPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:015}#{}", self.created_at.millis(), self.id)
    }
}

/// No environment's runs are listed there: its name has no `#`.
fn list_pk(environment: &EnvironmentId) -> String {
    format!("bulk#{environment}")
}

fn key(id: &BulkActionId) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(id.as_str())), ("item".to_owned(), text("bulk"))])
}

fn item(action: &StoredBulkAction) -> Result<HashMap<String, AttributeValue>, Error> {
    let mut item: HashMap<_, _> =
        serde_dynamo::to_item(action).map_err(|error| Error::unreadable("a bulk action", error))?;
    item.extend(key(&action.id));
    item.insert("list_pk".to_owned(), text(list_pk(&action.environment)));
    item.insert("list_sk".to_owned(), text(BulkPosition::of(action).to_string()));
    item.insert("ends_at".to_owned(), moment(action.ends_at()));
    item.insert("expires_at".to_owned(), number(action.ends_at().seconds_rounded_up()));
    Ok(item)
}

fn read(item: HashMap<String, AttributeValue>) -> Result<StoredBulkAction, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a bulk action", error))
}

impl Store {
    /// Puts an action on condition that it is absent, or that its days are over. `None` if it was, else the one that is there.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn create_bulk_action(&self, action: &StoredBulkAction) -> Result<Option<StoredBulkAction>, Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item(action)?))
            .condition_expression("attribute_not_exists(run_id) OR ends_at <= :now")
            .expression_attribute_values(":now", moment(action.created_at))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match written("dynamodb:PutItem", put.send().await)? {
            Written::Done(_) => Ok(None),
            Written::Refused(Some(there)) => read(there).map(Some),
            Written::Refused(None) => Err(Error::unreadable("a bulk action", "it was not shown")),
        }
    }

    /// An action, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn bulk_action(&self, id: &BulkActionId) -> Result<Option<StoredBulkAction>, Error> {
        let get = self.client.get_item().table_name(&self.tables.runs).set_key(Some(key(id)));
        let answer = get.consistent_read(true).send().await.map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// Puts `next` on condition that nobody has worked on the action or stopped it since it was as `seen`. Whether nobody had.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn write_bulk_action(&self, seen: &StoredBulkAction, next: &StoredBulkAction) -> Result<bool, Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item(next)?))
            .condition_expression("version = :version AND #status = :status")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":version", number(seen.version))
            .expression_attribute_values(":status", text(seen.status.as_str()));
        Ok(written("dynamodb:PutItem", put.send().await)?.is_done())
    }

    /// Stops an action that goes on. Whether it did.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn abort_bulk_action(&self, id: &BulkActionId, now: Timestamp) -> Result<bool, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(key(id)))
            .update_expression("SET #status = :aborted, completed_at = :now")
            .condition_expression("#status = :pending")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":aborted", text(BulkActionStatus::Aborted.as_str()))
            .expression_attribute_values(":pending", text(BulkActionStatus::Pending.as_str()))
            .expression_attribute_values(":now", moment(now));
        Ok(written("dynamodb:UpdateItem", update.send().await)?.is_done())
    }

    /// Notes that somebody was sent for to work on the action, unless somebody has worked on it or sent since it was as `seen`.
    /// Whether it was noted.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn note_bulk_action_sent(&self, seen: &StoredBulkAction, now: Timestamp) -> Result<bool, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(key(&seen.id)))
            .update_expression("SET updated_at = :now")
            .condition_expression("version = :version AND updated_at = :seen")
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":version", number(seen.version))
            .expression_attribute_values(":seen", moment(seen.updated_at));
        Ok(written("dynamodb:UpdateItem", update.send().await)?.is_done())
    }

    /// Up to `limit` places of an environment's list of actions, beyond `from` (exclusive) and up to `to` (inclusive): newest
    /// first, or oldest first if `ascending`.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub(crate) async fn bulk_action_places(
        &self,
        environment: &EnvironmentId,
        range: (&str, &str),
        ascending: bool,
        limit: usize,
    ) -> Result<Vec<BulkPosition>, Error> {
        let most = i32::try_from(limit).unwrap_or(i32::MAX);
        let places = self.positions(&list_pk(environment), range, ascending, most).await?;
        Ok(places.iter().filter_map(|place| BulkPosition::parse(place)).take(limit).collect())
    }

    /// Those of the actions with these ids that are there, in any order.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Throttled`], [`Error::Unreadable`].
    pub(crate) async fn bulk_actions(
        &self,
        ids: impl Iterator<Item = &BulkActionId>,
    ) -> Result<Vec<StoredBulkAction>, Error> {
        let items = self.batch_get_items(&self.tables.runs, ids.map(key).collect()).await?;
        items.into_iter().map(read).collect()
    }
}
