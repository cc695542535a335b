//! The runs table: one item a run, moved along by conditional writes.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::RunId;

use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use super::list::{Position, list_pk};
use super::{SHARDS, Store, compressed};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::status::RunStatus;
use crate::run::turn::Turn;
use crate::run::{KEPT, Run};

/// What a run's moves add to its item, about: its lease, its history, its end.
pub(super) const GROWS_BY: usize = 192;
/// And what a short output adds.
const SHORT_OUTPUT: usize = 256;
/// The sort key of the run itself, among the items of its partition.
pub(super) const RUN_ITEM: &str = "run";

pub(super) fn read(mut item: HashMap<String, AttributeValue>) -> Result<Run, Error> {
    compressed::restore(&mut item, compressed::PAYLOAD).map_err(|error| Error::unreadable("a run's payload", error))?;
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a run item", error))
}

/// A run as the table holds it: its own fields, its place in the list, its end.
pub(super) fn item(run: &Run) -> Result<HashMap<String, AttributeValue>, Error> {
    let mut item: HashMap<String, AttributeValue> =
        serde_dynamo::to_item(run).map_err(|error| Error::unreadable("a run", error))?;
    item.insert("item".to_owned(), text(RUN_ITEM));
    if let Some(finished_at) = run.finished_at {
        let expires_at = finished_at.plus(KEPT).max(run.kept_until());
        item.insert("expires_at".to_owned(), number(expires_at.seconds_rounded_up()));
    }
    // What only says which run stands for another is in no list.
    if run.pushed_to.is_none() {
        item.insert("list_pk".to_owned(), text(list_pk(&run.spec.environment, run.id.shard(SHARDS))));
        item.insert("list_sk".to_owned(), text(Position::of(run).to_string()));
    }
    compressed::compress(&mut item, compressed::PAYLOAD, &[GROWS_BY, GROWS_BY + SHORT_OUTPUT]);
    Ok(item)
}

pub(super) fn run_key(id: &RunId) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(id.as_str())), ("item".to_owned(), text(RUN_ITEM))])
}

impl Store {
    /// Puts a run on condition that it is absent. `None` if it was, else the one that is there: made by a worker that was
    /// ahead of us or by an earlier try of the same request.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn create_run(&self, run: &Run) -> Result<Option<Run>, Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item(run)?))
            .condition_expression("attribute_not_exists(run_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match written("dynamodb:PutItem", put)? {
            Written::Done(_) => Ok(None),
            Written::Refused(Some(there)) => read(there).map(Some),
            Written::Refused(None) => self.run(&run.id).await,
        }
    }

    /// Reads a run, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn run(&self, id: &RunId) -> Result<Option<Run>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// Notes that a message carries a rescheduled run to this start, if nobody has moved it since it was moved for the so-manyth time.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn note_carried(&self, id: &RunId, to: Timestamp, reschedules: u32) -> Result<(), Error> {
        let noted = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .update_expression("SET carried_to = :to")
            .condition_expression("retry_at = :to AND reschedules = :moves")
            .expression_attribute_values(":to", moment(to))
            .expression_attribute_values(":moves", number(reschedules))
            .send()
            .await;
        written("dynamodb:UpdateItem", noted).map(drop)
    }

    /// Notes that the wake-up of a run that waits until `until` was sent again now.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn note_wake_sent(&self, id: &RunId, until: Timestamp, now: Timestamp) -> Result<(), Error> {
        let noted = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .update_expression("SET wake_sent_at = :now")
            .condition_expression("waits_until = :until")
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":until", moment(until))
            .send()
            .await;
        written("dynamodb:UpdateItem", noted).map(drop)
    }

    /// Where a run stands, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn position(&self, id: &RunId) -> Result<Option<(RunStatus, Turn)>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .projection_expression("#status, attempt, #resume")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#resume", "resume")
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        #[derive(serde::Deserialize)]
        struct Stored {
            status: RunStatus,
            #[serde(flatten)]
            turn: Turn,
        }
        let Some(item) = answer.item else { return Ok(None) };
        let read: Stored = serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a run item", error))?;
        Ok(Some((read.status, read.turn)))
    }

    /// Reads runs; those that are gone are left out.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn runs(&self, ids: &[&RunId]) -> Result<Vec<Run>, Error> {
        let keys = ids.iter().map(|id| run_key(id)).collect();
        self.batch_get_items(&self.tables.runs, keys).await?.into_iter().map(read).collect()
    }

    /// The items of a run's partition whose names are between these, strongly consistent: to be sent, or gone through by
    /// pages.
    pub(super) fn items_between(&self, partition: &str, first: &str, last: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.tables.runs)
            .key_condition_expression("run_id = :of AND #item BETWEEN :first AND :last")
            .expression_attribute_names("#item", "item")
            .expression_attribute_values(":of", text(partition))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .consistent_read(true)
    }

    /// Counts a wake-up of a run that is awake. The run as it now is, or `None` if it is gone.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn raise_wakes(&self, run: &RunId) -> Result<Option<Run>, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(run)))
            .update_expression("ADD wakes :one")
            .condition_expression("attribute_exists(run_id)")
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let answer = written("dynamodb:UpdateItem", updated)?.done();
        answer.and_then(|answer| answer.attributes).map(read).transpose()
    }
}
