//! Settings of queues: those of an environment are the items of one partition of the runs table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_wire::{EnvironmentId, QueueLabel};

use super::Store;
use super::conditional::written;
use super::expression::{number, text};
use crate::error::Error;
use crate::flow::{Bound, EnvironmentSetting, QueueSetting, Subject};

/// The item of the environment itself; those of queues begin otherwise.
const ENVIRONMENT: &str = "environment";

fn key(environment: &EnvironmentId, item: String) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(partition(environment))), ("item".to_owned(), text(item))])
}

fn partition(environment: &EnvironmentId) -> String {
    format!("queues#{environment}")
}

fn name_of(queue: &QueueLabel) -> String {
    format!("queue#{queue}")
}

fn unreadable(error: serde_dynamo::Error) -> Error {
    Error::unreadable("the setting of a queue", error)
}

fn read(item: HashMap<String, AttributeValue>) -> Result<Subject, Error> {
    let name = item.get("item").and_then(|name| name.as_s().ok());
    if name.is_some_and(|name| name == ENVIRONMENT) {
        return serde_dynamo::from_item(item).map(Subject::Environment).map_err(unreadable);
    }
    serde_dynamo::from_item(item).map(Subject::Queue).map_err(unreadable)
}

impl Store {
    /// What was ever said of the queues of an environment.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn settings(&self, environment: &EnvironmentId, is_consistent: bool) -> Result<Vec<Subject>, Error> {
        self.readable(partition(environment), is_consistent, read).await
    }

    /// What holds for a queue, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn bound(&self, environment: &EnvironmentId, queue: &QueueLabel) -> Result<Bound, Error> {
        let (queue, all) =
            tokio::try_join!(self.queue_setting(environment, queue), self.environment_setting(environment))?;
        Ok(Bound::of(queue.as_ref(), all.as_ref()))
    }

    /// The setting of a queue, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn queue_setting(
        &self,
        environment: &EnvironmentId,
        queue: &QueueLabel,
    ) -> Result<Option<QueueSetting>, Error> {
        let item = self.setting(environment, name_of(queue)).await?;
        item.map(|item| serde_dynamo::from_item(item).map_err(unreadable)).transpose()
    }

    /// The setting of an environment, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn environment_setting(&self, environment: &EnvironmentId) -> Result<Option<EnvironmentSetting>, Error> {
        let item = self.setting(environment, ENVIRONMENT.to_owned()).await?;
        item.map(|item| serde_dynamo::from_item(item).map_err(unreadable)).transpose()
    }

    async fn setting(
        &self,
        environment: &EnvironmentId,
        item: String,
    ) -> Result<Option<HashMap<String, AttributeValue>>, Error> {
        let get = self.client.get_item().table_name(&self.tables.runs).set_key(Some(key(environment, item)));
        let answer = get.consistent_read(true).send().await.map_err(Error::aws("dynamodb:GetItem"))?;
        Ok(answer.item)
    }

    /// Puts a setting, unless there is one of its generation or a later one. Whether it was put.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_setting(&self, environment: &EnvironmentId, setting: &Subject) -> Result<bool, Error> {
        let unwritable = |error| Error::unreadable("the setting of a queue", error);
        let (name, generation, item) = match setting {
            Subject::Queue(queue) => (name_of(&queue.queue), queue.generation, serde_dynamo::to_item(queue)),
            Subject::Environment(all) => (ENVIRONMENT.to_owned(), all.generation, serde_dynamo::to_item(all)),
        };
        let mut item: HashMap<_, _> = item.map_err(unwritable)?;
        item.extend(key(environment, name));
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(run_id) OR generation < :generation")
            .expression_attribute_values(":generation", number(generation));
        Ok(written("dynamodb:PutItem", put.send().await)?.is_done())
    }
}
