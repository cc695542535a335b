//! The list of an environment's runs: a sparse index of the runs table, in shards.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_wire::{EnvironmentId, RunId};

use super::expression::text;
use super::{RUNS_INDEX, Store};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::Run;

/// The partition of the index that lists one shard of an environment.
pub(super) fn list_pk(environment: &EnvironmentId, shard: u32) -> String {
    format!("{environment}#{shard}")
}

/// A place in an environment's list of runs: creation, then id, as one sortable text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    created_at: Timestamp,
    run: RunId,
}

impl Position {
    pub(crate) fn of(run: &Run) -> Self {
        Self { created_at: run.spec.created_at, run: run.id.clone() }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (millis, run) = text.split_once('#')?;
        let created_at = Timestamp::from_millis(millis.parse().ok().filter(|millis| *millis >= 0)?);
        Some(Self { created_at, run: RunId::parse(run).ok()? })
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }
}

/// Padded, so that texts sort as numbers do.
impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:015}#{}", self.created_at.millis(), self.run)
    }
}

impl Store {
    /// Up to `limit` places of one shard of an environment's list, beyond `from` (exclusive) and up to `to` (inclusive):
    /// newest first, or oldest first if `ascending`.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub(crate) async fn list_shard(
        &self,
        environment: &EnvironmentId,
        shard: u32,
        range: (&str, &str),
        ascending: bool,
        limit: i32,
    ) -> Result<Vec<Position>, Error> {
        let places = self.positions(&list_pk(environment, shard), range, ascending, limit).await?;
        Ok(places.iter().filter_map(|place| Position::parse(place)).collect())
    }

    /// The same of any partition of the index, as texts.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub(super) async fn positions(
        &self,
        list_pk: &str,
        (from, to): (&str, &str),
        ascending: bool,
        limit: i32,
    ) -> Result<Vec<String>, Error> {
        let (low, high) = if ascending { (from, to) } else { (to, from) };
        let answer = self
            .client
            .query()
            .table_name(&self.tables.runs)
            .index_name(RUNS_INDEX)
            .key_condition_expression("list_pk = :pk AND list_sk BETWEEN :low AND :high")
            .expression_attribute_values(":pk", text(list_pk))
            .expression_attribute_values(":low", text(low))
            .expression_attribute_values(":high", text(high))
            .scan_index_forward(ascending)
            .limit(limit.saturating_add(1))
            .send()
            .await
            .map_err(Error::aws("dynamodb:Query"))?;
        let place = |item: HashMap<String, AttributeValue>| {
            let place = item.get("list_sk").and_then(|value| value.as_s().ok()).cloned()?;
            // BETWEEN includes the end we come from.
            (place != from).then_some(place)
        };
        Ok(answer.items.unwrap_or_default().into_iter().filter_map(place).collect())
    }
}
