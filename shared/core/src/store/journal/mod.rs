//! A run's journal: what its calls gave, what it waits for and what came of that, and its steps. Items of its own
//! partition beside the run, so that none grows with the others:
//!
//! - `segment#<attempt>#<resume>#<part>`: calls of the attempt, as the worker packed them before a suspension;
//! - `wait#<attempt>#<call>` and, of more than a few children, `wait#<attempt>#<call>#<chunk>`: who has not ended yet;
//! - `wait#<attempt>#<call>#<child>`: how a child ended;
//! - `step#<name>`: what a step gave.
//!
//! Each says when its run was made: a request id that comes again when its run's record has expired makes a run of the same
//! id, and what the first one journalled is none of its business.

mod segments;
mod steps;
mod waits;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, TryStreamExt, stream};
use oncekey_wire::RunId;

use super::Store;
use super::conditional::written;
use super::expression::{moment, number, text};
use crate::clock::Timestamp;
use crate::error::Error;

pub use steps::{StepResult, step_item};
pub use waits::{Settled, Wait};

/// Writes under way at once, where there may be many.
const AT_ONCE: usize = 10;

/// What a run has journalled, as far as its present attempt may ask for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    /// The calls of the present attempt, as the worker wrote them, oldest first.
    pub segments: Vec<String>,
    /// The waits of the present attempt, by call number.
    pub waits: HashMap<u32, Wait>,
    /// What each finished step gave, by its item's name.
    steps: HashMap<String, StepResult>,
    /// When each item expires.
    pub expiries: BTreeMap<String, Timestamp>,
}

/// When the run of an item was made; not in items that an older version wrote.
const BORN: &str = "born";

/// Whether an item is of the run of this id that was made then, as far as it says.
fn is_of(item: &HashMap<String, AttributeValue>, born: Timestamp) -> bool {
    item.get(BORN).is_none_or(|said| *said == moment(born))
}

fn item_key(run: &RunId, item: impl Into<String>) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(run.as_str())), ("item".to_owned(), text(item.into()))])
}

impl Store {
    /// Reads the journal of a run that was made at `born`: the calls and waits of `attempt` and all steps.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn journal(&self, run: &RunId, born: Timestamp, attempt: u32) -> Result<Journal, Error> {
        let mut journal = Journal::default();
        let mut segments = BTreeMap::new();
        // From the segments over the steps to the last wait: `$` comes after `#`.
        let query = self.items_between(run.as_str(), "segment#", "wait$");
        let mut items = query.into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item.map_err(Error::aws("dynamodb:Query"))?;
            if is_of(&item, born) {
                journal.take(item, attempt, &mut segments)?;
            }
        }
        journal.segments = segments.into_values().collect();
        Ok(journal)
    }

    /// Keeps items of a run's journal until `until`, if they are there and would go earlier.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn renew(&self, run: &RunId, items: &[String], until: Timestamp) -> Result<(), Error> {
        let renew = |item: String| {
            let update = self
                .client
                .update_item()
                .table_name(&self.tables.runs)
                .set_key(Some(item_key(run, item)))
                .update_expression("SET expires_at = :until")
                .condition_expression("attribute_exists(run_id) AND expires_at < :until")
                .expression_attribute_values(":until", number(until.seconds_rounded_up()));
            async move { written("dynamodb:UpdateItem", update.send().await).map(|_| ()) }
        };
        stream::iter(items.iter().cloned().map(renew)).buffer_unordered(AT_ONCE).try_collect().await
    }
}

impl Journal {
    /// What the step of this name gave, if it is done.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepResult> {
        self.steps.get(&steps::step_item(name))
    }

    /// The steps' items, which all attempts may ask for.
    #[must_use]
    pub fn step_items(&self) -> Vec<String> {
        self.steps.keys().cloned().collect()
    }

    fn take(
        &mut self,
        item: HashMap<String, AttributeValue>,
        attempt: u32,
        segments: &mut BTreeMap<segments::Place, String>,
    ) -> Result<(), Error> {
        let name = item.get("item").and_then(|name| name.as_s().ok()).cloned().unwrap_or_default();
        if let Some(seconds) = item.get("expires_at").and_then(|at| at.as_n().ok()?.parse::<i64>().ok()) {
            self.expiries.insert(name.clone(), Timestamp::from_millis(seconds.saturating_mul(1000)));
        }
        if let Some(result) = steps::read(&name, &item)? {
            self.steps.insert(name, result);
        } else if let Some((of, place)) = segments::place(&name) {
            if of == attempt {
                segments.insert(place, segments::read(item)?);
            }
        } else if let Some((of, call, part)) = waits::place(&name)
            && of == attempt
        {
            self.waits.entry(call).or_default().take(part, item)?;
        }
        Ok(())
    }
}
