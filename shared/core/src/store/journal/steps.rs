//! What a run's steps gave, an item each.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use data_encoding::HEXLOWER;
use oncekey_wire::RunId;
use sha2::{Digest, Sha256};

use super::super::Store;
use super::super::conditional::{Written, written};
use super::super::expression::{moment, number, text};
use super::{BORN, item_key};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::payload::path::BlobPath;

const PREFIX: &str = "step#";
const HASHED_PREFIX: &str = "step_hash#";
/// A longer name stands as its hash: a sort key has at most 1,024 bytes.
const MAX_NAME_BYTES: usize = 200;

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// Its JSON text.
    Inline(String),
    /// Where that is stored, as it is large.
    Stored(BlobPath),
}

/// The name of the item of a step of this name.
#[must_use]
pub fn step_item(name: &str) -> String {
    if name.len() <= MAX_NAME_BYTES {
        return format!("{PREFIX}{name}");
    }
    format!("{HASHED_PREFIX}{}", HEXLOWER.encode(&Sha256::digest(name)))
}

/// What an item of this name holds, if it is a step's.
pub(super) fn read(name: &str, item: &HashMap<String, AttributeValue>) -> Result<Option<StepResult>, Error> {
    if !name.starts_with(PREFIX) && !name.starts_with(HASHED_PREFIX) {
        return Ok(None);
    }
    let attribute = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    if let Some(path) = attribute("stored_result") {
        return BlobPath::parse("stored_result", &path).map(StepResult::Stored).map(Some);
    }
    let result = attribute("result").ok_or_else(|| Error::unreadable("a step", "it has no result"))?;
    Ok(Some(StepResult::Inline(result)))
}

impl Store {
    /// Journals what a step of a run made at `born` gave, unless that is known. What is there now: of two who ran it at
    /// once, the first one's.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn put_step(
        &self,
        run: &RunId,
        born: Timestamp,
        name: &str,
        result: StepResult,
        until: Timestamp,
    ) -> Result<StepResult, Error> {
        let item = step_item(name);
        let put = self.client.put_item().table_name(&self.tables.runs).set_item(Some(item_key(run, &item)));
        let put = match &result {
            StepResult::Inline(result) => put.item("result", text(result)),
            StepResult::Stored(path) => put.item("stored_result", text(path.as_str())),
        };
        let put = put
            .item("expires_at", number(until.seconds_rounded_up()))
            .item(BORN, moment(born))
            // Or there is one of an earlier run of this id.
            .condition_expression("attribute_not_exists(run_id) OR (attribute_exists(born) AND born <> :born)")
            .expression_attribute_values(":born", moment(born))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match written("dynamodb:PutItem", put.send().await)? {
            Written::Done(_) => Ok(result),
            Written::Refused(there) => {
                let there = read(&item, &there.unwrap_or_default())?;
                there.ok_or_else(|| Error::unreadable("a step", "it was refused, and not shown"))
            }
        }
    }
}
