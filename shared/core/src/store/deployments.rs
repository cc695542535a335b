//! Deployments: the workers of an environment are the items of one partition of the runs table. The schedules that one declares
//! are written in one transaction with a look at it, so that who is late with an earlier one writes nothing.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem};
use oncekey_wire::{EnvironmentId, WorkerName};

use super::crons::{self, PutIf};
use super::expression::{number, text};
use super::{Store, conditional::written};
use crate::cron::CronSchedule;
use crate::deployment::StoredDeployment;
use crate::error::Error;

fn partition(environment: &EnvironmentId) -> String {
    format!("workers#{environment}")
}

fn key(environment: &EnvironmentId, worker: &WorkerName) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(partition(environment))), ("item".to_owned(), text(worker.as_str()))])
}

fn read(item: HashMap<String, AttributeValue>) -> Result<StoredDeployment, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a deployment", error))
}

/// A schedule that a deployment declares, or declares no longer.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'a> {
    /// It is put, on this condition.
    Put(&'a CronSchedule, PutIf<'a>),
    /// It is deleted as long as it is as it was.
    Gone(&'a CronSchedule),
}

impl Store {
    /// A worker's deployment, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn deployment(
        &self,
        environment: &EnvironmentId,
        worker: &WorkerName,
    ) -> Result<Option<StoredDeployment>, Error> {
        let get = self.client.get_item().table_name(&self.tables.runs).set_key(Some(key(environment, worker)));
        let answer = get.consistent_read(true).send().await.map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// The deployments of an environment that can be read, by their workers' names.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn deployments(&self, environment: &EnvironmentId) -> Result<Vec<StoredDeployment>, Error> {
        self.readable(partition(environment), false, read).await
    }

    /// The same, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn current_deployments(&self, environment: &EnvironmentId) -> Result<Vec<StoredDeployment>, Error> {
        self.readable(partition(environment), true, read).await
    }

    /// Puts a deployment, unless there is one already of its number. Whether it was put.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Refused`] for one that is too large.
    pub async fn put_deployment(
        &self,
        environment: &EnvironmentId,
        deployment: &StoredDeployment,
    ) -> Result<bool, Error> {
        let mut item: HashMap<_, _> =
            serde_dynamo::to_item(deployment).map_err(|error| Error::unreadable("a deployment", error))?;
        item.extend(key(environment, &deployment.worker));
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(run_id) OR #number < :number")
            .expression_attribute_names("#number", "number")
            .expression_attribute_values(":number", number(deployment.number));
        Ok(written("dynamodb:PutItem", put.send().await)?.is_done())
    }

    /// Writes what a deployment declares. Whether it was written: not if another was deployed since, or the schedule is not as it
    /// was.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn write_declared(
        &self,
        environment: &EnvironmentId,
        deployment: &StoredDeployment,
        declared: Declared<'_>,
    ) -> Result<bool, Error> {
        const CALL: &str = "dynamodb:TransactWriteItems";
        let table = &self.tables.runs;
        let unlike = |error| Error::aws(CALL)(error);
        let still = ConditionCheck::builder()
            .table_name(table)
            .set_key(Some(key(environment, &deployment.worker)))
            .condition_expression("#number = :number")
            .expression_attribute_names("#number", "number")
            .expression_attribute_values(":number", number(deployment.number))
            .build()
            .map_err(unlike)?;
        let write = TransactWriteItem::builder();
        let write = match declared {
            Declared::Put(schedule, condition) => {
                let (condition, values) = crons::condition(condition);
                let put = Put::builder()
                    .table_name(table)
                    .set_item(Some(crons::item(schedule)?))
                    .condition_expression(condition)
                    .set_expression_attribute_values(values)
                    .build();
                write.put(put.map_err(unlike)?)
            }
            Declared::Gone(schedule) => {
                let (condition, values) = crons::condition(PutIf::As(schedule));
                let delete = Delete::builder()
                    .table_name(table)
                    .set_key(Some(crons::key(environment, &schedule.id)))
                    .condition_expression(condition)
                    .set_expression_attribute_values(values)
                    .build();
                write.delete(delete.map_err(unlike)?)
            }
        };
        let check = TransactWriteItem::builder().condition_check(still).build();
        let sent = self.client.transact_write_items().transact_items(check).transact_items(write.build()).send().await;
        match sent {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if is_refused(error.err()) => Ok(false),
            Err(error) => Err(Error::aws(CALL)(error)),
        }
    }
}

/// Whether a condition did not hold. What another write stood in the way of passes, and is an error until then.
fn is_refused(error: &TransactWriteItemsError) -> bool {
    let TransactWriteItemsError::TransactionCanceledException(canceled) = error else { return false };
    canceled.cancellation_reasons().iter().any(|reason| reason.code() == Some("ConditionalCheckFailed"))
}
