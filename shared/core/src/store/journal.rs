//! A run's journal: its waits and steps, items of its own partition beside the run.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::RunId;
use serde::Deserialize;

use super::Store;
use super::conditional::{Written, written};
use super::expression::{moment, number, text};
use super::runs::{RUN_ITEM, run_key};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::Run;
use crate::run::waiter::Waiter;

/// What one wait waits for, and the calls that led to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct WaitRecord {
    /// The attempt's calls up to this wait, as the worker crate writes them.
    pub calls: String,
    /// Children that are not final yet.
    #[serde(default)]
    pub pending: Vec<RunId>,
    /// When a timed wait is over.
    #[serde(default)]
    pub due_at: Option<Timestamp>,
}

/// What a run has journalled: the calls of its present attempt's last wait, and every step's result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// The waits of the present attempt, by call number.
    pub waits: HashMap<u32, WaitRecord>,
    /// The JSON text of each finished step, by name.
    pub steps: HashMap<String, String>,
}

fn wait_item(waiter: &Waiter) -> String {
    format!("wait#{}#{}", waiter.attempt, waiter.call)
}

fn item_key(run: &RunId, item: String) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(run.as_str())), ("item".to_owned(), text(item))])
}

fn read(item: HashMap<String, AttributeValue>) -> Result<WaitRecord, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a wait item", error))
}

impl Store {
    /// Journals a wait. The record that is there: this one, or the one that an earlier pass wrote.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn put_wait(&self, waiter: &Waiter, record: WaitRecord, until: Timestamp) -> Result<WaitRecord, Error> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item_key(&waiter.run, wait_item(waiter))))
            .item("calls", text(&record.calls))
            .item("expires_at", number(until.seconds_rounded_up()))
            .condition_expression("attribute_not_exists(run_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if !record.pending.is_empty() {
            let pending = record.pending.iter().map(ToString::to_string).collect();
            put = put.item("pending", AttributeValue::Ss(pending));
        }
        if let Some(due_at) = record.due_at {
            put = put.item("due_at", moment(due_at));
        }
        match written("dynamodb:PutItem", put.send().await)? {
            Written::Done(_) => Ok(record),
            Written::Refused(Some(there)) => read(there),
            Written::Refused(None) => Err(Error::unreadable("a wait item", "it was refused, and not shown")),
        }
    }

    /// Takes a child out of the set that a wait waits for. The record as it now is, or `None` if it is gone.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn remove_pending(&self, waiter: &Waiter, child: &RunId) -> Result<Option<WaitRecord>, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(item_key(&waiter.run, wait_item(waiter))))
            .update_expression("DELETE pending :child")
            .condition_expression("attribute_exists(run_id)")
            .expression_attribute_values(":child", AttributeValue::Ss(vec![child.to_string()]))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let answer = written("dynamodb:UpdateItem", updated)?.done();
        answer.and_then(|answer| answer.attributes).map(read).transpose()
    }

    /// Registers a waiter with a run that is not final. False if it is final, or gone: nobody would wake the waiter.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn register_waiter(&self, child: &RunId, waiter: &Waiter) -> Result<bool, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(child)))
            .update_expression("ADD waiters :waiter")
            .condition_expression("attribute_exists(run_id) AND attribute_not_exists(finished_at)")
            .expression_attribute_values(":waiter", AttributeValue::Ss(vec![waiter.to_string()]))
            .send()
            .await;
        Ok(written("dynamodb:UpdateItem", updated)?.is_done())
    }

    /// Counts a wake-up of a run. The run as it now is, or `None` if it is gone.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn raise_wakes(&self, run: &RunId) -> Result<Option<Run>, Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(run)))
            .update_expression("ADD wakes :one")
            .condition_expression("attribute_exists(run_id)")
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let answer = written("dynamodb:UpdateItem", updated)?.done();
        answer.and_then(|answer| answer.attributes).map(super::runs::read).transpose()
    }

    /// Reads one wait, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn wait(&self, waiter: &Waiter) -> Result<Option<WaitRecord>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.runs)
            .set_key(Some(item_key(&waiter.run, wait_item(waiter))))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// Journals a step's result, unless it has one. The JSON text that is there.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_step(&self, run: &RunId, name: &str, result: &str, until: Timestamp) -> Result<(), Error> {
        self.client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item_key(run, format!("step#{name}"))))
            .item("result", text(result))
            .item("expires_at", number(until.seconds_rounded_up()))
            .send()
            .await
            .map_err(Error::aws("dynamodb:PutItem"))?;
        Ok(())
    }

    /// Reads a run's journal: the waits of `attempt` and all steps.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn journal(&self, run: &RunId, attempt: u32) -> Result<Journal, Error> {
        let mut journal = Journal::default();
        let mut from = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.tables.runs)
                .key_condition_expression("run_id = :run AND #item > :run_item")
                .expression_attribute_names("#item", "item")
                .expression_attribute_values(":run", text(run.as_str()))
                .expression_attribute_values(":run_item", text(RUN_ITEM))
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Error::aws("dynamodb:Query"))?;
            for item in answer.items.unwrap_or_default() {
                journal.take(item, attempt)?;
            }
            from = answer.last_evaluated_key;
            if from.is_none() {
                return Ok(journal);
            }
        }
    }
}

impl Journal {
    fn take(&mut self, mut item: HashMap<String, AttributeValue>, attempt: u32) -> Result<(), Error> {
        let name = item.get("item").and_then(|name| name.as_s().ok()).cloned().unwrap_or_default();
        if let Some(step) = name.strip_prefix("step#") {
            if let Some(AttributeValue::S(result)) = item.remove("result") {
                self.steps.insert(step.to_owned(), result);
            }
            return Ok(());
        }
        let wait = name.strip_prefix("wait#").and_then(|rest| rest.split_once('#'));
        if let Some((of, call)) = wait
            && of.parse() == Ok(attempt)
            && let Ok(call) = call.parse()
        {
            self.waits.insert(call, read(item)?);
        }
        Ok(())
    }
}
