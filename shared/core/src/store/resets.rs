//! What a reset meant, by its request: beside the keys, for a day.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{EnvironmentId, RequestId, RunId};
use serde::{Deserialize, Serialize};

use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use super::{KeyAddress, Store};
use crate::clock::Timestamp;
use crate::error::Error;

/// How long a request is known.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Which key a reset was to free, and whose it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetRecord {
    environment: EnvironmentId,
    place: String,
    hash: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    run_id: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    claimed_at: Option<Timestamp>,
}

impl ResetRecord {
    /// A reset of the key at `address`, held by the claim of this run and moment, or by nobody.
    #[must_use]
    pub fn new(address: KeyAddress<'_>, claim: Option<(RunId, Timestamp)>) -> Self {
        let (run_id, claimed_at) = claim.unzip();
        let KeyAddress { environment, place, hash } = address;
        Self { environment: environment.clone(), place: place.to_string(), hash: hash.to_string(), run_id, claimed_at }
    }

    /// Whether it was of the key at this address.
    #[must_use]
    pub fn is_of(&self, address: KeyAddress<'_>) -> bool {
        *self == Self { run_id: self.run_id.clone(), claimed_at: self.claimed_at, ..Self::new(address, None) }
    }

    /// The claim that held the key.
    #[must_use]
    pub fn claim(&self) -> Option<(&RunId, Timestamp)> {
        self.run_id.as_ref().zip(self.claimed_at)
    }
}

fn read(item: HashMap<String, AttributeValue>) -> Result<ResetRecord, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a reset", error))
}

impl Store {
    /// Remembers what a request to reset meant, unless it is known. What it meant when it came first.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn remember_reset(
        &self,
        request: &RequestId,
        record: ResetRecord,
        now: Timestamp,
    ) -> Result<ResetRecord, Error> {
        let item = serde_dynamo::to_item(&record).map_err(|error| Error::unreadable("a reset", error))?;
        // No key stands there: between an environment and a hash there is always a task or a group.
        let pk = text(format!("{}##reset:{}", record.environment, request.as_str()));
        let until = now.plus(KEPT);
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.keys)
            .set_item(Some(item))
            .item("pk", pk)
            .item("kept_until", moment(until))
            .item("expires_at", number(until.seconds_rounded_up()))
            .condition_expression("attribute_not_exists(pk) OR kept_until <= :now")
            .expression_attribute_values(":now", moment(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match written("dynamodb:PutItem", put)? {
            Written::Done(_) => Ok(record),
            Written::Refused(Some(there)) => read(there),
            Written::Refused(None) => Err(Error::unreadable("a reset", "it was not shown")),
        }
    }
}
