//! What a wait waits for, and how that ended.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use oncekey_wire::{RunId, TokenId};

use super::super::Store;
use super::super::conditional::{Written, written};
use super::super::expression::{moment, number, text};
use super::super::waiters::{PER_CHUNK, Registration, chunk_of};
use super::{BORN, item_key};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::end::End;
use crate::run::waiter::Waiter;

/// A wait, as the journal knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wait {
    /// Children whose end has not come.
    pub pending: BTreeSet<RunId>,
    /// The token that it waits for, if it does.
    pub token: Option<TokenId>,
    /// How the others ended.
    pub ends: HashMap<RunId, End>,
    /// When a timed wait is over, if an older version wrote it.
    pub due_at: Option<Timestamp>,
    /// All calls up to this one, if an older version wrote it.
    pub calls: Option<String>,
}

/// What came of handing a wait the end of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was the last: the wait is over.
    Over,
    /// Others have not ended.
    Pending,
    /// The wait is not in the journal any more.
    Gone,
}

/// A part of a wait.
pub(super) enum Part {
    Chunk,
    End(RunId),
}

/// The attempt, the call and the part that an item's name tells.
pub(super) fn place(item: &str) -> Option<(u32, u32, Part)> {
    let mut parts = item.strip_prefix("wait#")?.split('#');
    let (attempt, call) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let part = match parts.next() {
        Some(child) if child.starts_with("run_") => Part::End(RunId::parse(child).ok()?),
        _ => Part::Chunk,
    };
    Some((attempt, call, part))
}

fn wait_item(waiter: &Waiter) -> String {
    format!("wait#{}#{}", waiter.attempt, waiter.call)
}

fn chunk_item(waiter: &Waiter, chunk: u32) -> String {
    match chunk {
        0 => wait_item(waiter),
        _ => format!("{}#{chunk}", wait_item(waiter)),
    }
}

fn pending(item: &HashMap<String, AttributeValue>) -> impl Iterator<Item = &String> {
    item.get("pending").and_then(|pending| pending.as_ss().ok()).into_iter().flatten()
}

fn end(item: &HashMap<String, AttributeValue>) -> Result<Option<End>, Error> {
    let text = item.get("end").and_then(|end| end.as_s().ok());
    text.map(|text| serde_json::from_str(text).map_err(|error| Error::unreadable("a child's end", error))).transpose()
}

impl Wait {
    pub(super) fn take(&mut self, part: Part, mut item: HashMap<String, AttributeValue>) -> Result<(), Error> {
        match part {
            Part::End(child) => {
                let end = end(&item)?.ok_or_else(|| Error::unreadable("a child's end", "it has none"))?;
                self.ends.insert(child, end);
            }
            Part::Chunk => {
                for child in pending(&item) {
                    self.pending.insert(RunId::parse(child)?);
                }
                if let Some(token) = item.get("token").and_then(|token| token.as_s().ok()) {
                    self.token = Some(TokenId::parse(token)?);
                }
                // Of a wait for one child, the end stands where its name was.
                let only = item.get("child").and_then(|child| child.as_s().ok());
                if let (Some(child), Some(end)) = (only, end(&item)?) {
                    self.ends.insert(RunId::parse(child)?, end);
                }
                if let Some(due_at) = item.get("due_at").and_then(|at| at.as_n().ok()?.parse().ok()) {
                    self.due_at = Some(Timestamp::from_millis(due_at));
                }
                if let Some(AttributeValue::S(calls)) = item.remove("calls") {
                    self.calls = Some(calls);
                }
            }
        }
        Ok(())
    }
}

impl Store {
    /// Journals that `waiter`, of a run made at `born`, waits for `children`, of which none is twice. The items' names.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_wait(
        &self,
        waiter: &Waiter,
        born: Timestamp,
        children: &[RunId],
        until: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let mut items = Vec::new();
        for (chunk, children) in children.chunks(PER_CHUNK).enumerate() {
            let name = chunk_item(waiter, u32::try_from(chunk).unwrap_or(u32::MAX));
            let mut item = item_key(&waiter.run, &name);
            let pending = children.iter().map(ToString::to_string).collect();
            item.insert(BORN.to_owned(), moment(born));
            item.insert("pending".to_owned(), AttributeValue::Ss(pending));
            item.insert("expires_at".to_owned(), number(until.seconds_rounded_up()));
            names.push(name);
            items.push(item);
        }
        self.put_all(&self.tables.runs, items).await?;
        Ok(names)
    }

    /// Journals that `waiter`, of a run made at `born`, waits for a token. The item's name.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_token_wait(
        &self,
        waiter: &Waiter,
        born: Timestamp,
        token: &TokenId,
        until: Timestamp,
    ) -> Result<String, Error> {
        let name = wait_item(waiter);
        let put = self.client.put_item().table_name(&self.tables.runs).set_item(Some(item_key(&waiter.run, &name)));
        let put = put
            .item(BORN, moment(born))
            .item("token", text(token.as_str()))
            .item("expires_at", number(until.seconds_rounded_up()));
        put.send().await.map_err(Error::aws("dynamodb:PutItem"))?;
        Ok(name)
    }

    /// Reads one wait, strongly consistent, of whichever run of its id.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn wait(&self, waiter: &Waiter) -> Result<Wait, Error> {
        // `$` comes after `#`, and before every digit: the wait's items, and not those of call 10 for call 1.
        let (first, last) = (wait_item(waiter), format!("{}$", wait_item(waiter)));
        let mut wait = Wait::default();
        for item in self.all_between(&waiter.run, &first, &last).await? {
            let name = item.get("item").and_then(|name| name.as_s().ok()).cloned().unwrap_or_default();
            if let Some((_, _, part)) = place(&name) {
                wait.take(part, item)?;
            }
        }
        Ok(wait)
    }

    /// Gives a wait the end of a child and takes the child out of what is waited for. Done again, it changes nothing.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn settle(
        &self,
        told: &Registration,
        child: &RunId,
        end: &End,
        until: Timestamp,
    ) -> Result<Settled, Error> {
        let end = serde_json::to_string(end).map_err(|error| Error::unreadable("a child's end", error))?;
        let waiter = &told.waiter;
        let alone = told.children == 1;
        if !alone {
            // First the end: who finds nobody pending finds every end.
            let put = self
                .client
                .put_item()
                .table_name(&self.tables.runs)
                .set_item(Some(item_key(&waiter.run, format!("{}#{child}", wait_item(waiter)))))
                .item("end", text(&end))
                .item("expires_at", number(until.seconds_rounded_up()));
            let put = match told.born {
                // Or there is one that an earlier run of this id was told.
                Some(born) => put
                    .item(BORN, moment(born))
                    .condition_expression("attribute_not_exists(run_id) OR (attribute_exists(born) AND born <> :born)")
                    .expression_attribute_values(":born", moment(born)),
                None => put.condition_expression("attribute_not_exists(run_id)"),
            };
            written("dynamodb:PutItem", put.send().await)?;
        }
        let mut remove = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(item_key(&waiter.run, chunk_item(waiter, told.chunk))))
            .update_expression("DELETE pending :child")
            .condition_expression("attribute_exists(run_id)")
            .expression_attribute_values(":child", AttributeValue::Ss(vec![child.to_string()]))
            .return_values(ReturnValue::AllNew);
        if let Some(born) = told.born {
            remove = remove
                .condition_expression("attribute_exists(run_id) AND (attribute_not_exists(born) OR born = :born)")
                .expression_attribute_values(":born", moment(born));
        }
        if alone {
            remove = remove
                .update_expression("SET #end = if_not_exists(#end, :end), child = :name DELETE pending :child")
                .expression_attribute_names("#end", "end")
                .expression_attribute_values(":end", text(end))
                .expression_attribute_values(":name", text(child.as_str()));
        }
        let Written::Done(answer) = written("dynamodb:UpdateItem", remove.send().await)? else {
            return Ok(Settled::Gone);
        };
        if pending(&answer.attributes.unwrap_or_default()).next().is_some() {
            return Ok(Settled::Pending);
        }
        let chunks = chunk_of(told.children.saturating_sub(1) as usize) + 1;
        let over = chunks == 1 || self.nobody_pending(waiter).await?;
        Ok(if over { Settled::Over } else { Settled::Pending })
    }

    /// Whether all chunks of a wait are empty.
    async fn nobody_pending(&self, waiter: &Waiter) -> Result<bool, Error> {
        // `:` comes after every digit, and before the names of runs.
        let (first, last) = (wait_item(waiter), format!("{}#:", wait_item(waiter)));
        let chunks = self.all_between(&waiter.run, &first, &last).await?;
        Ok(chunks.iter().all(|chunk| pending(chunk).next().is_none()))
    }

    async fn all_between(
        &self,
        run: &RunId,
        first: &str,
        last: &str,
    ) -> Result<Vec<HashMap<String, AttributeValue>>, Error> {
        let items = self.items_between(run.as_str(), first, last).into_paginator().items().send();
        items.collect::<Result<Vec<_>, _>>().await.map_err(Error::aws("dynamodb:Query"))
    }
}
