//! The runs table: one item a run, moved along by conditional writes.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{EnvironmentId, RunId};

use super::conditional::{Written, written};
use super::expression::{Expression, moment, number, text};
use super::{RUNS_INDEX, SHARDS, Store, compressed};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::message::Output;
use crate::run::history::{Happening, Moment, NOTED};
use crate::run::status::{Event, RunStatus};
use crate::run::waiter::Waiter;
use crate::run::{Run, RunError};

/// The sort key of the run itself, among the items of its partition.
pub(super) const RUN_ITEM: &str = "run";

/// One move of a run, as a conditional write.
pub struct Transition {
    event: Event,
    /// Only if the run is in this attempt and resume.
    guard: Guard,
    expression: Expression,
    creates: bool,
    /// Wake-ups so far, in a suspension.
    wakes: Option<u32>,
    /// What is waited for, in a wake-up.
    waiting_on: Option<String>,
    /// By when the attempt must be due, in a start.
    due_by: Option<Timestamp>,
}

/// Which attempt a move belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Exactly this attempt and resume.
    At {
        /// The attempt.
        attempt: u32,
        /// The resume.
        resume: u32,
    },
    /// Whichever it is in.
    Any,
}

impl Transition {
    /// The move that `event` makes of a run at `now`.
    pub fn new(event: Event, guard: Guard, now: Timestamp) -> Self {
        let to = event.leads_to();
        let mut expression = Expression::default();
        expression.set("status", text(to.as_str()));
        expression.set("updated_at", moment(now));
        if to.is_final() {
            expression.set("finished_at", moment(now));
        }
        if to != RunStatus::Executing {
            expression.remove("lease_until");
        }
        if let (Some(what), Guard::At { attempt, resume }) = (Happening::of(event), guard)
            && attempt.saturating_add(resume) <= NOTED
        {
            expression.append("history", text(Moment { what, at: now }));
        }
        Self { event, guard, expression, creates: false, wakes: None, waiting_on: None, due_by: None }
    }

    /// Takes the lease of an attempt that starts now.
    #[must_use]
    pub fn lease(mut self, now: Timestamp, until: Timestamp, max_attempts: Option<u32>) -> Self {
        self.expression.set("lease_until", moment(until));
        self.expression.set_if_absent("started_at", moment(now));
        if let Some(max_attempts) = max_attempts {
            self.expression.set("max_attempts", number(max_attempts));
        }
        self.due_by = Some(now);
        self
    }

    /// Makes the run if it is absent: the worker does so when it is ahead of the trigger, or the trigger died.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when the run cannot be written as an item.
    pub fn creating(mut self, run: &Run) -> Result<Self, Error> {
        self.creates = true;
        for (name, value) in item(run)? {
            let moves = ["status", "updated_at", "run_id", "item"].contains(&name.as_str());
            if !moves {
                self.expression.set_if_absent(&name, value);
            }
        }
        Ok(self)
    }

    /// The next attempt and when it may start.
    #[must_use]
    pub fn next_attempt(mut self, attempt: u32, retry_at: Timestamp) -> Self {
        self.expression.set("attempt", number(attempt));
        self.expression.set("retry_at", moment(retry_at));
        self.expression.remove("spent_ms");
        self
    }

    /// Another start for a first attempt; the run is kept until `kept_until` at least.
    #[must_use]
    pub fn due_at(mut self, due_at: Timestamp, kept_until: Timestamp) -> Self {
        self.expression.set("retry_at", moment(due_at));
        self.expression.set("expires_at", number(kept_until.seconds_rounded_up()));
        self
    }

    /// What the run waits for, on condition that there was no wake-up since `seen`; it is kept until `until` at least.
    #[must_use]
    pub fn waiting_on(mut self, what: &Waiter, seen: u32, spent: Duration, until: Timestamp) -> Self {
        self.wakes = Some(seen);
        self.expression.set("waiting_on", text(what.to_string()));
        self.expression.set("spent_ms", number(spent.as_millis()));
        self.expression.set("expires_at", number(until.seconds_rounded_up()));
        self
    }

    /// The next resume, on condition that the run waits for `what`.
    #[must_use]
    pub fn resuming(mut self, what: &Waiter) -> Self {
        self.waiting_on = Some(what.to_string());
        self.expression.add("resume", 1);
        self.expression.remove("retry_at");
        self
    }

    /// What the task returned.
    #[must_use]
    pub fn output(mut self, output: Option<&Output>) -> Self {
        match output {
            Some(Output::Inline(output)) => self.expression.set("output", text(output)),
            Some(Output::Stored(path)) => self.expression.set("stored_output", text(path.as_str())),
            None => {}
        }
        self.expression.remove("error");
        self
    }

    /// Why the attempt failed.
    #[must_use]
    pub fn error(mut self, error: Option<&RunError>) -> Self {
        if let Some(error) = error.and_then(|error| serde_json::to_string(error).ok()) {
            self.expression.set("error", text(error));
        }
        self
    }

    /// The condition: the statuses that the state machine allows, in the attempt that is meant.
    fn condition(&mut self) -> String {
        let status = self.expression.name("status");
        let from: Vec<String> =
            self.event.allowed_at().map(|from| self.expression.value(text(from.as_str()))).collect();
        let mut condition = format!("{status} IN ({})", from.join(", "));
        if let Guard::At { attempt, resume } = self.guard {
            let (a, r) = (self.expression.name("attempt"), self.expression.name("resume"));
            let (attempt, resume) = (self.expression.value(number(attempt)), self.expression.value(number(resume)));
            condition = format!("{condition} AND {a} = {attempt} AND {r} = {resume}");
        }
        if let Some(seen) = self.wakes {
            let (wakes, seen_now) = (self.expression.name("wakes"), self.expression.value(number(seen)));
            let none_yet = if seen == 0 { format!("attribute_not_exists({wakes}) OR ") } else { String::new() };
            condition = format!("{condition} AND ({none_yet}{wakes} = {seen_now})");
        }
        if let Some(what) = self.waiting_on.take() {
            let (waiting_on, what) = (self.expression.name("waiting_on"), self.expression.value(text(what)));
            condition = format!("{condition} AND {waiting_on} = {what}");
        }
        if let Some(now) = self.due_by {
            let (due, now) = (self.expression.name("retry_at"), self.expression.value(moment(now)));
            condition = format!("{condition} AND (attribute_not_exists({due}) OR {due} <= {now})");
        }
        if self.creates {
            condition = format!("attribute_not_exists(run_id) OR ({condition})");
        }
        condition
    }
}

/// What came of a move.
#[derive(Debug)]
pub enum Moved {
    /// It was made: the run as it now is.
    To(Run),
    /// The run stands elsewhere, so: as it is.
    Refused(Run),
    /// There is no such run.
    Gone,
}

pub(super) fn read(mut item: HashMap<String, AttributeValue>) -> Result<Run, Error> {
    compressed::restore(&mut item).map_err(|error| Error::unreadable("a run's payload", error))?;
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a run item", error))
}

/// A run as the table holds it: its own fields, its place in the list, its end.
fn item(run: &Run) -> Result<HashMap<String, AttributeValue>, Error> {
    let mut item: HashMap<String, AttributeValue> =
        serde_dynamo::to_item(run).map_err(|error| Error::unreadable("a run", error))?;
    item.insert("item".to_owned(), text(RUN_ITEM));
    item.insert("list_pk".to_owned(), text(list_pk(&run.spec.environment, run.id.shard(SHARDS))));
    item.insert("list_sk".to_owned(), text(Position::of(run).to_string()));
    item.insert("expires_at".to_owned(), number(run.spec.kept_until().seconds_rounded_up()));
    compressed::compress(&mut item);
    Ok(item)
}

fn list_pk(environment: &EnvironmentId, shard: u32) -> String {
    format!("{environment}#{shard}")
}

pub(super) fn run_key(id: &RunId) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(id.as_str())), ("item".to_owned(), text(RUN_ITEM))])
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
    /// Puts a run on condition that it is absent. Whether it was; it may be there already, made by a worker that was
    /// ahead of us or by an earlier try of the same request.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn create_run(&self, run: &Run) -> Result<bool, Error> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item(run)?))
            .condition_expression("attribute_not_exists(run_id)")
            .send()
            .await;
        Ok(written("dynamodb:PutItem", put)?.is_done())
    }

    /// Reads a run, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn run(&self, id: &RunId) -> Result<Option<Run>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose()
    }

    /// Where a run stands: status, attempt and resume, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn position(&self, id: &RunId) -> Result<Option<(RunStatus, u32, u32)>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .projection_expression("#status, attempt, #resume")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#resume", "resume")
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        #[derive(serde::Deserialize)]
        struct Stored {
            status: RunStatus,
            attempt: u32,
            resume: u32,
        }
        let Some(item) = answer.item else { return Ok(None) };
        let read: Stored = serde_dynamo::from_item(item).map_err(|error| Error::unreadable("a run item", error))?;
        Ok(Some((read.status, read.attempt, read.resume)))
    }

    /// Reads runs; those that are gone are left out.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn runs(&self, ids: &[&RunId]) -> Result<Vec<Run>, Error> {
        let keys = ids.iter().map(|id| run_key(id)).collect();
        self.batch_get_items(&self.tables.runs, keys).await?.into_iter().map(read).collect()
    }

    /// Moves a run: one conditional write.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`]; a refusal is no error.
    pub async fn move_run(&self, id: &RunId, mut transition: Transition) -> Result<Moved, Error> {
        let condition = transition.condition();
        let (update, names, values) = transition.expression.finish();
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        Ok(match written("dynamodb:UpdateItem", updated)? {
            Written::Done(answer) => Moved::To(read(answer.attributes.unwrap_or_default())?),
            Written::Refused(there) => there.map(read).transpose()?.map_or(Moved::Gone, Moved::Refused),
        })
    }

    /// Up to `limit` places of one shard of an environment's list, beyond `from` (exclusive) and up to `to` (inclusive):
    /// newest first, or oldest first if `ascending`.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub(crate) async fn list_shard(
        &self,
        environment: &EnvironmentId,
        shard: u32,
        (from, to): (&str, &str),
        ascending: bool,
        limit: i32,
    ) -> Result<Vec<Position>, Error> {
        let (low, high) = if ascending { (from, to) } else { (to, from) };
        let answer = self
            .client
            .query()
            .table_name(&self.tables.runs)
            .index_name(RUNS_INDEX)
            .key_condition_expression("list_pk = :pk AND list_sk BETWEEN :low AND :high")
            .expression_attribute_values(":pk", text(list_pk(environment, shard)))
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
            (place != from).then(|| Position::parse(&place))?
        };
        Ok(answer.items.unwrap_or_default().into_iter().filter_map(place).collect())
    }
}
