//! The calls of an attempt, packed into items by the worker before each suspension.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_wire::RunId;

use super::super::Store;
use super::super::expression::{moment, number, text};
use super::{BORN, item_key};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::run::turn::Turn;

/// The resume and the part: segments are read in this order.
pub(super) type Place = (u32, u32);

/// The attempt and the place that an item's name tells.
pub(super) fn place(item: &str) -> Option<(u32, Place)> {
    let mut parts = item.strip_prefix("segment#")?.split('#').map(str::parse);
    let (Some(Ok(attempt)), Some(Ok(resume)), Some(Ok(part)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    Some((attempt, (resume, part)))
}

pub(super) fn read(mut item: HashMap<String, AttributeValue>) -> Result<String, Error> {
    match item.remove("calls") {
        Some(AttributeValue::S(calls)) => Ok(calls),
        _ => Err(Error::unreadable("a segment of calls", "it has no calls")),
    }
}

impl Store {
    /// Journals the calls that this turn of a run made at `born` has made so far: written again, it replaces what was there. The
    /// items' names.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_segments(
        &self,
        run: &RunId,
        born: Timestamp,
        turn: Turn,
        segments: Vec<String>,
        until: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let mut names = Vec::with_capacity(segments.len());
        let mut items = Vec::with_capacity(segments.len());
        for (part, calls) in segments.into_iter().enumerate() {
            let name = format!("segment#{}#{}#{part}", turn.attempt, turn.resume);
            let mut item = item_key(run, &name);
            item.insert(BORN.to_owned(), moment(born));
            item.insert("calls".to_owned(), text(calls));
            item.insert("expires_at".to_owned(), number(until.seconds_rounded_up()));
            names.push(name);
            items.push(item);
        }
        self.put_all(&self.tables.runs, items).await?;
        Ok(names)
    }
}
