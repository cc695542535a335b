//! Wait tokens: an item each, in the shards of its environment, in the order in which they were made; and their keys, beside
//! those of runs.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{EnvironmentId, KeyHash, TokenId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use super::{SHARDS, Store};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::token::{StoredToken, TokenClaim};

/// All of a token but what it was completed with.
const LISTED: &str = "id, #status, created_at, timeout_at, completed_at, #key, key_ends_at, tags, code";

fn partition(environment: &EnvironmentId, shard: u32) -> AttributeValue {
    text(format!("tokens#{environment}#{shard}"))
}

fn key(environment: &EnvironmentId, id: &TokenId) -> HashMap<String, AttributeValue> {
    let run_id = partition(environment, id.shard(SHARDS));
    HashMap::from([("run_id".to_owned(), run_id), ("item".to_owned(), text(id.as_str()))])
}

fn item(value: &impl Serialize) -> Result<HashMap<String, AttributeValue>, Error> {
    serde_dynamo::to_item(value).map_err(|error| Error::unreadable("a token", error))
}

fn read<T: DeserializeOwned>(item: HashMap<String, AttributeValue>) -> Result<T, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a token", error))
}

fn ended<T>(written: Written<T>) -> Result<TokenWritten, Error> {
    Ok(match written {
        Written::Done(_) => TokenWritten::Now,
        Written::Refused(Some(there)) => TokenWritten::Before(Box::new(read(there)?)),
        Written::Refused(None) => TokenWritten::Gone,
    })
}

/// What came of writing a token's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenWritten {
    /// It stands.
    Now,
    /// Another stands, or its time is over: what is there.
    Before(Box<StoredToken>),
    /// There is no such token.
    Gone,
}

impl Store {
    /// Puts a token unless it is there. The one that is there, if so.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn put_token(
        &self,
        environment: &EnvironmentId,
        token: &StoredToken,
        kept_until: Timestamp,
    ) -> Result<Option<StoredToken>, Error> {
        let mut item = item(token)?;
        item.extend(key(environment, &token.id));
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item))
            .item("expires_at", number(kept_until.seconds_rounded_up()))
            .condition_expression("attribute_not_exists(run_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match written("dynamodb:PutItem", put.send().await)? {
            Written::Done(_) => Ok(None),
            Written::Refused(Some(there)) => read(there).map(Some),
            Written::Refused(None) => Err(Error::unreadable("a token", "it was not shown")),
        }
    }

    /// A token, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn token(&self, environment: &EnvironmentId, id: &TokenId) -> Result<Option<StoredToken>, Error> {
        let get = self.client.get_item().table_name(&self.tables.runs).set_key(Some(key(environment, id)));
        let answer = get.consistent_read(true).send().await.map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// Completes a token with this JSON text, if nobody has, its time is not over at `now`: one conditional
    /// write.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn complete_token(
        &self,
        environment: &EnvironmentId,
        id: &TokenId,
        output: Option<&str>,
        now: Timestamp,
    ) -> Result<TokenWritten, Error> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(key(environment, id)))
            .update_expression("SET #status = :completed, completed_at = :now")
            .condition_expression("#status = :waiting AND timeout_at > :now")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":completed", text("COMPLETED"))
            .expression_attribute_values(":waiting", text("WAITING"))
            .expression_attribute_values(":now", moment(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(output) = output {
            update = update
                .update_expression("SET #status = :completed, completed_at = :now, #output = :output")
                .expression_attribute_names("#output", "output")
                .expression_attribute_values(":output", text(output));
        }
        ended(written("dynamodb:UpdateItem", update.send().await)?)
    }

    /// Writes that the time of a token is over, unless it has ended: one conditional write.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn time_out_token(&self, environment: &EnvironmentId, id: &TokenId) -> Result<TokenWritten, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(key(environment, id)))
            .update_expression("SET #status = :timed_out")
            .condition_expression("#status = :waiting")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":timed_out", text("TIMED_OUT"))
            .expression_attribute_values(":waiting", text("WAITING"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        ended(written("dynamodb:UpdateItem", update.send().await)?)
    }

    /// Up to `limit` tokens of one shard, without what they were completed with, between two texts (exclusive): newest first, or
    /// oldest first if `ascending`.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub(crate) async fn tokens(
        &self,
        environment: &EnvironmentId,
        shard: u32,
        (above, below): (&str, &str),
        ascending: bool,
        limit: usize,
    ) -> Result<Vec<StoredToken>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.tables.runs)
            .key_condition_expression("run_id = :of AND #item BETWEEN :above AND :below")
            .expression_attribute_names("#item", "item")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":of", partition(environment, shard))
            .expression_attribute_values(":above", text(above))
            .expression_attribute_values(":below", text(below))
            .projection_expression(LISTED)
            .scan_index_forward(ascending)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        // An answer ends after a megabyte of what was read, which has what the tokens were completed with.
        let mut items = query.into_paginator().items().send();
        let mut tokens = Vec::new();
        while tokens.len() < limit
            && let Some(item) = items.next().await
        {
            let token: StoredToken = read(item.map_err(Error::aws("dynamodb:Query"))?)?;
            // BETWEEN includes both ends.
            if token.id.as_str() > above && token.id.as_str() < below {
                tokens.push(token);
            }
        }
        Ok(tokens)
    }

    /// Claims a token's key until `claim` ends, unless another holds it at `now`. Who holds it, if so.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn claim_token(
        &self,
        environment: &EnvironmentId,
        hash: &KeyHash,
        claim: &TokenClaim,
        now: Timestamp,
    ) -> Result<Option<TokenClaim>, Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.keys)
            .set_item(Some(item(claim)?))
            // No key of a run stands there: between an environment and a hash there is always a task or a group.
            .item("pk", text(format!("{environment}##token:{hash}")))
            .item("expires_at", number(claim.ends_at.seconds_rounded_up()))
            .condition_expression("attribute_not_exists(pk) OR ends_at <= :now")
            .expression_attribute_values(":now", moment(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match written("dynamodb:PutItem", put.send().await)? {
            Written::Done(_) => Ok(None),
            Written::Refused(Some(there)) => read(there).map(Some),
            Written::Refused(None) => Err(Error::unreadable("a token's key", "it was not shown")),
        }
    }
}
