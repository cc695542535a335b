//! Cron schedules: those of an environment are the items of one partition of the runs table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_wire::EnvironmentId;

use super::Store;
use super::conditional::written;
use super::expression::{moment, text};
use crate::clock::Timestamp;
use crate::cron::{CronSchedule, ScheduleId, Tick};
use crate::error::Error;

/// On which condition a schedule is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutIf<'a> {
    /// There is none of its id.
    Absent,
    /// The one that is there is as this one was: nobody has changed it, and it has not ticked.
    As(&'a CronSchedule),
}

fn partition(environment: &EnvironmentId) -> String {
    format!("schedules#{environment}")
}

pub(super) fn key(environment: &EnvironmentId, id: &ScheduleId) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(partition(environment))), ("item".to_owned(), text(id.as_str()))])
}

fn read(item: HashMap<String, AttributeValue>) -> Result<CronSchedule, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a schedule", error))
}

/// The whole item of a schedule.
pub(super) fn item(schedule: &CronSchedule) -> Result<HashMap<String, AttributeValue>, Error> {
    let mut item: HashMap<_, _> =
        serde_dynamo::to_item(schedule).map_err(|error| Error::unreadable("a schedule", error))?;
    item.extend(key(&schedule.environment, &schedule.id));
    Ok(item)
}

/// A condition, as DynamoDB is told it.
pub(super) fn condition(condition: PutIf<'_>) -> (&'static str, Option<HashMap<String, AttributeValue>>) {
    match condition {
        PutIf::Absent => ("attribute_not_exists(run_id)", None),
        PutIf::As(there) => {
            let values =
                [(":next".to_owned(), moment(there.next_at)), (":generation".to_owned(), text(&there.generation))];
            ("generation = :generation AND next_at = :next", Some(HashMap::from(values)))
        }
    }
}

impl Store {
    /// A schedule, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn cron_schedule(
        &self,
        environment: &EnvironmentId,
        id: &ScheduleId,
    ) -> Result<Option<CronSchedule>, Error> {
        let get = self.client.get_item().table_name(&self.tables.runs).set_key(Some(key(environment, id)));
        let answer = get.consistent_read(true).send().await.map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// All schedules of an environment that can be read, by their ids.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn cron_schedules(&self, environment: &EnvironmentId) -> Result<Vec<CronSchedule>, Error> {
        self.readable(partition(environment), false, read).await
    }

    /// The same, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn current_cron_schedules(&self, environment: &EnvironmentId) -> Result<Vec<CronSchedule>, Error> {
        self.readable(partition(environment), true, read).await
    }

    /// All items of a partition of the runs table that can be read.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub(super) async fn readable<T>(
        &self,
        partition: String,
        is_consistent: bool,
        read: impl Fn(HashMap<String, AttributeValue>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let query = self.client.query().table_name(&self.tables.runs).key_condition_expression("run_id = :of");
        let query = query.consistent_read(is_consistent).expression_attribute_values(":of", text(&partition));
        let mut pages = query.into_paginator().items().send();
        let mut all = Vec::new();
        while let Some(item) = pages.next().await {
            match read(item.map_err(Error::aws("dynamodb:Query"))?) {
                Ok(one) => all.push(one),
                // It keeps nobody from the others.
                Err(error) => tracing::error!(partition, %error, "left out"),
            }
        }
        Ok(all)
    }

    /// Puts a schedule. Whether its condition held.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_cron_schedule(&self, schedule: &CronSchedule, condition: PutIf<'_>) -> Result<bool, Error> {
        let (condition, values) = self::condition(condition);
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item(schedule)?))
            .condition_expression(condition)
            .set_expression_attribute_values(values);
        Ok(written("dynamodb:PutItem", put.send().await)?.is_done())
    }

    /// Notes that the `next` tick is under way after this one, which the message `by` carries out, unless another has noted it.
    /// Whether it was noted now.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn advance_cron_schedule(&self, tick: &Tick, next: Timestamp, by: &str) -> Result<bool, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(key(&tick.environment, &tick.schedule)))
            .update_expression("SET next_at = :next, last_at = :at, noted_by = :by")
            .condition_expression("generation = :generation AND next_at = :at")
            .expression_attribute_values(":next", moment(next))
            .expression_attribute_values(":by", text(by))
            .expression_attribute_values(":at", moment(tick.at))
            .expression_attribute_values(":generation", text(&tick.generation));
        Ok(written("dynamodb:UpdateItem", update.send().await)?.is_done())
    }

    /// Deletes a schedule, if it is there.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn delete_cron_schedule(&self, environment: &EnvironmentId, id: &ScheduleId) -> Result<(), Error> {
        let delete = self.client.delete_item().table_name(&self.tables.runs).set_key(Some(key(environment, id)));
        delete.send().await.map_err(Error::aws("dynamodb:DeleteItem"))?;
        Ok(())
    }
}
