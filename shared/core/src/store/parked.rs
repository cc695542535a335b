//! Parked runs: those of a queue are the items of one partition of the runs table, lane by lane, and in each in the order in which they
//! are given places.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use oncekey_wire::{EnvironmentId, QueueLabel};

use super::Store;
use super::conditional::written;
use super::expression::text;
use crate::error::Error;
use crate::flow::{Lane, Parked};
use crate::run::Run;
use crate::run::turn::Turn;

fn partition(environment: &EnvironmentId, queue: &QueueLabel) -> String {
    format!("parked#{environment}#{queue}")
}

/// Padded, so that texts sort as turns do.
fn sorted(turn: Turn) -> AttributeValue {
    text(format!("{:010}/{:010}", turn.attempt, turn.resume))
}

/// What the item of a run is called in its lane: first by its priority, in seconds that it is older by, and its creation.
pub(crate) fn parked_name(lane: &Lane, run: &Run) -> String {
    let head_start = run.spec.options.priority_millis();
    let order = run.spec.created_at.millis().saturating_sub(head_start).max(0);
    lane.parked_name(&format!("{order:015}"), &run.id)
}

fn read(item: HashMap<String, AttributeValue>) -> Result<(String, Parked), Error> {
    let name = item.get("item").and_then(|name| name.as_s().ok()).cloned().unwrap_or_default();
    let parked = serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a parked run", error))?;
    Ok((name, parked))
}

impl Store {
    /// Puts a run among those that are parked in a lane, unless it is there already on this turn or a later one.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_parked(&self, lane: &Lane, run: &Run) -> Result<(), Error> {
        let parked = &Parked::of(run);
        let mut item: HashMap<_, _> =
            serde_dynamo::to_item(parked).map_err(|error| Error::unreadable("a parked run", error))?;
        item.insert("run_id".to_owned(), text(partition(&lane.environment, &lane.queue)));
        item.insert("item".to_owned(), text(parked_name(lane, run)));
        item.insert("turn".to_owned(), sorted(parked.holder.turn));
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(run_id) OR turn < :turn")
            .expression_attribute_values(":turn", sorted(parked.holder.turn));
        written("dynamodb:PutItem", put.send().await).map(drop)
    }

    /// Takes a run out of those that are parked, unless it is there on a later turn.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn delete_parked(&self, lane: &Lane, name: &str, until: Turn) -> Result<(), Error> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.tables.runs)
            .key("run_id", text(partition(&lane.environment, &lane.queue)))
            .key("item", text(name))
            .condition_expression("attribute_not_exists(run_id) OR turn <= :turn")
            .expression_attribute_values(":turn", sorted(until));
        written("dynamodb:DeleteItem", delete.send().await).map(drop)
    }

    /// Up to `limit` of those that are parked in a lane, the first first, each with its name.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn parked(&self, lane: &Lane, limit: usize, is_consistent: bool) -> Result<Vec<(String, Parked)>, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.tables.runs)
            .key_condition_expression("run_id = :of AND begins_with(#item, :lane)")
            .expression_attribute_names("#item", "item")
            .expression_attribute_values(":of", text(partition(&lane.environment, &lane.queue)))
            .expression_attribute_values(":lane", text(lane.prefix()))
            .consistent_read(is_consistent)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(Error::aws("dynamodb:Query"))?;
        answer.items.unwrap_or_default().into_iter().map(read).collect()
    }

    /// The next lane of a queue in which somebody is parked, beyond `after`.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn next_parked_lane(
        &self,
        environment: &EnvironmentId,
        queue: &QueueLabel,
        after: Option<&Lane>,
    ) -> Result<Option<Lane>, Error> {
        // All names of a lane begin with its prefix, which ends with `#`.
        let beyond = after.map_or_else(|| "-".to_owned(), |lane| format!("{}~", lane.prefix()));
        let answer = self
            .client
            .query()
            .table_name(&self.tables.runs)
            .key_condition_expression("run_id = :of AND #item > :after")
            .expression_attribute_names("#item", "item")
            .expression_attribute_values(":of", text(partition(environment, queue)))
            .expression_attribute_values(":after", text(beyond))
            .consistent_read(true)
            .limit(1)
            .send()
            .await
            .map_err(Error::aws("dynamodb:Query"))?;
        let item = answer.items.unwrap_or_default().pop();
        let name = item.and_then(|item| item.get("item").and_then(|name| name.as_s().ok()).cloned());
        Ok(name.and_then(|name| Lane::of_name(environment, queue, &name)))
    }

    /// How many runs of a queue are parked.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn parked_count(&self, environment: &EnvironmentId, queue: &QueueLabel) -> Result<u64, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.tables.runs)
            .key_condition_expression("run_id = :of")
            .expression_attribute_values(":of", text(partition(environment, queue)))
            .select(Select::Count);
        let mut pages = query.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(Error::aws("dynamodb:Query"))?;
            count += u64::try_from(page.count).unwrap_or_default();
        }
        Ok(count)
    }
}
