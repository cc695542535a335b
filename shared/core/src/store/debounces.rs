//! Debounce keys: which run is pushed by the triggers of one. They stand beside the keys of runs.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{EnvironmentId, KeyHash, RunId, TaskId};
use serde::{Deserialize, Serialize};

use super::Store;
use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use super::runs::run_key;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::ClaimedKey;
use crate::run::status::RunStatus;

/// Who holds a debounce key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DebounceClaim {
    /// The run that is pushed.
    pub run_id: RunId,
    /// When it was claimed: the run's own `created_at`.
    pub created_at: Timestamp,
    /// From this moment on the key is free.
    pub ends_at: Timestamp,
    /// The idempotency key that the run was triggered with: who makes the run of a claimer that died must know it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub claimed: Option<ClaimedKey>,
}

/// What came of a claim.
#[derive(Debug)]
pub enum Debounced {
    /// The key is ours.
    Ours,
    /// This claim holds it.
    HeldBy(DebounceClaim),
    /// Somebody holds it, and DynamoDB did not say who.
    Unknown,
}

impl Store {
    /// Has nobody push a delayed run any more that was pushed last by the trigger of `after`. Whether that was so.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn close_to_pushes(&self, run: &RunId, after: Option<&RunId>) -> Result<bool, Error> {
        let last = if after.is_some() { "pushed_by = :last" } else { "attribute_not_exists(pushed_by)" };
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(run)))
            .update_expression("SET closed = :closed")
            .condition_expression(format!("#status = :delayed AND {last}"))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":delayed", text(RunStatus::Delayed.as_str()))
            .expression_attribute_values(":closed", AttributeValue::Bool(true));
        let update = match after {
            Some(last) => update.expression_attribute_values(":last", text(last.as_str())),
            None => update,
        };
        Ok(written("dynamodb:UpdateItem", update.send().await)?.is_done())
    }

    /// Claims a debounce key: one conditional put, which succeeds when nobody holds it, its holder's time is over at `now`, or
    /// the holder is exactly `dead`.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`]; a refusal is not an error.
    pub async fn claim_debounce(
        &self,
        (environment, task, hash): (&EnvironmentId, &TaskId, &KeyHash),
        claim: &DebounceClaim,
        dead: Option<&DebounceClaim>,
        now: Timestamp,
    ) -> Result<Debounced, Error> {
        let unreadable = |error| Error::unreadable("a debounce key", error);
        let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(claim).map_err(unreadable)?;
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.keys)
            .set_item(Some(item))
            // No key of a run stands there: hashes have no colon.
            .item("pk", text(format!("{environment}#{task}#debounce:{hash}")))
            .item("expires_at", number(claim.ends_at.seconds_rounded_up()))
            .expression_attribute_values(":now", moment(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let free = "attribute_not_exists(pk) OR ends_at <= :now";
        let put = match dead {
            None => put.condition_expression(free),
            Some(dead) => put
                .condition_expression(format!("{free} OR (run_id = :dead AND created_at = :dead_since)"))
                .expression_attribute_values(":dead", text(dead.run_id.as_str()))
                .expression_attribute_values(":dead_since", moment(dead.created_at)),
        };
        Ok(match written("dynamodb:PutItem", put.send().await)? {
            Written::Done(_) => Debounced::Ours,
            Written::Refused(Some(there)) => Debounced::HeldBy(serde_dynamo::from_item(there).map_err(unreadable)?),
            Written::Refused(None) => Debounced::Unknown,
        })
    }
}
