//! What stands beside a run in its partition: its payload and its output, where they would make each of its writes dearer.
//! Items of their own, named by what they hold, and written before whatever names them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_wire::RunId;
use serde_json::Value;

use super::Store;
use super::compressed::{self, size, units};
use super::conditional::written;
use super::expression::{number, text};
use super::runs::{GROWS_BY, item};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::payload::{Payload, PayloadType};
use crate::run::beside::{Beside, Part};
use crate::run::{Run, RunOptions};

/// The attribute that holds the text, or its bytes when it is compressed.
const TEXT: &str = "text";
/// A payload up to this is never worth an item of its own.
const NEVER_BESIDE: usize = 128;
/// The largest metadata that stands in the run's own item: lists show it, and read that anyway.
const MAX_METADATA_BYTES: usize = 1024;
/// The longest text that a run's first message carries, in bytes: its escapes take six times as much at most.
const MAX_CARRIED: usize = 32 * 1024;
/// The largest run without its payload: what DynamoDB's 400 KB an item leave beside that and an inline output.
const MAX_BYTES: usize = 360 * 1024;

/// A text that stood beside a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The text.
    pub text: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

fn key(run: &RunId, name: &Beside) -> HashMap<String, AttributeValue> {
    HashMap::from([("run_id".to_owned(), text(run.as_str())), ("item".to_owned(), text(name.as_str()))])
}

/// Where the payload goes of a run that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into the run's own item, where it makes no write dearer, compressed if need be.
    Inline,
    /// Beside it.
    Beside,
    /// Into the bucket: it is larger than an item may be.
    Bucket,
}

/// Takes metadata of over a kilobyte out of a run that is about to be made: its JSON, which goes beside the run.
#[must_use]
pub fn take_metadata(bare: &mut Run) -> Option<String> {
    let text = bare.spec.options.metadata.as_ref()?.to_string();
    if text.len() <= MAX_METADATA_BYTES {
        return None;
    }
    bare.spec.options.metadata = None;
    bare.spec.metadata_beside = Some(Beside::of_content(Part::Metadata, &text));
    Some(text)
}

/// Measures a run that is about to be made, and tells where this payload of its goes. `bare` is the run without it.
///
/// # Errors
/// [`Error::TooLarge`] for one that would be no item, however small its payload.
pub fn place(bare: &Run, payload: &Payload) -> Result<Place, Error> {
    let text = payload.text.as_deref().unwrap_or_default();
    let is_path = payload.kind == PayloadType::Store;
    if text.len() > Payload::MAX_INLINE_BYTES && !is_path {
        measured(bare)?;
        return Ok(Place::Bucket);
    }
    if text.len() <= NEVER_BESIDE && bare.spec.options == RunOptions::default() {
        return Ok(Place::Inline);
    }
    let size = measured(bare)?;
    let costs_nothing = |bytes: usize| units(size + bytes) == units(size);
    let fits = || text.len() <= MAX_CARRIED && compressed::deflated(text).is_some_and(costs_nothing);
    let inline = is_path || text.len() <= NEVER_BESIDE || costs_nothing(text.len()) || fits();
    Ok(if inline { Place::Inline } else { Place::Beside })
}

/// The size of a run's item as its moves leave it. Its first message, which carries it, is twice as large at most, and six
/// times an inline payload: that fits the 1 MiB of SQS.
fn measured(bare: &Run) -> Result<usize, Error> {
    let size = size(&item(bare)?) + GROWS_BY;
    if size > MAX_BYTES {
        let text =
            format!("options: with its key and its payload's place they take {size} bytes; a run has {MAX_BYTES}");
        return Err(Error::TooLarge(text));
    }
    Ok(size)
}

impl Store {
    /// Keeps a text beside a run until `until` at least. Its name. Done again, it never expires the earlier for it.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Refused`].
    pub async fn put_beside(&self, run: &RunId, part: Part, content: &str, until: Timestamp) -> Result<Beside, Error> {
        let name = Beside::of_content(part, content);
        let mut item = key(run, &name);
        item.insert(TEXT.to_owned(), text(content));
        compressed::compress(&mut item, TEXT, &[0]);
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item))
            .item("expires_at", number(until.seconds_rounded_up()))
            .condition_expression("attribute_not_exists(run_id) OR expires_at < :until")
            .expression_attribute_values(":until", number(until.seconds_rounded_up()));
        written("dynamodb:PutItem", put.send().await)?;
        Ok(name)
    }

    /// Reads the metadata of those of `runs` that have it beside them. What is not there any more is left out.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Throttled`], [`Error::Unreadable`].
    pub async fn read_metadata(&self, runs: &mut [Run]) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for run in runs.iter() {
            let name = run.spec.metadata_beside.as_ref().map(|name| key(&run.id, name));
            wanted.extend(name.filter(|key| !wanted.contains(key)));
        }
        for mut item in self.batch_get_items(&self.tables.runs, wanted).await? {
            compressed::restore(&mut item, TEXT).map_err(|error| Error::unreadable("metadata", error))?;
            let (Some(AttributeValue::S(of)), Some(AttributeValue::S(json))) = (item.get("run_id"), item.get(TEXT))
            else {
                return Err(Error::unreadable("metadata", "it has no text"));
            };
            let metadata: Value = serde_json::from_str(json).map_err(|error| Error::unreadable("metadata", error))?;
            for run in runs.iter_mut().filter(|run| run.id.as_str() == of) {
                run.spec.options.metadata = Some(metadata.clone());
            }
        }
        Ok(())
    }

    /// Reads what stands beside a run under this name, strongly consistent. `None` if it is not there any more.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn beside(&self, run: &RunId, name: &Beside) -> Result<Option<Found>, Error> {
        let get = self.client.get_item().table_name(&self.tables.runs).set_key(Some(key(run, name)));
        let answer = get.consistent_read(true).send().await.map_err(Error::aws("dynamodb:GetItem"))?;
        let Some(mut item) = answer.item else { return Ok(None) };
        let unreadable = |why: &str| Error::unreadable(format!("{} of {run}", name.as_str()), why);
        compressed::restore(&mut item, TEXT).map_err(|error| unreadable(&error.to_string()))?;
        let Some(AttributeValue::S(text)) = item.remove(TEXT) else { return Err(unreadable("it has no text")) };
        let seconds = item.get("expires_at").and_then(|at| at.as_n().ok()?.parse::<i64>().ok());
        let expires_at = seconds.ok_or_else(|| unreadable("it does not say when it expires"))?;
        Ok(Some(Found { text, expires_at: Timestamp::from_millis(expires_at.saturating_mul(1000)) }))
    }
}
