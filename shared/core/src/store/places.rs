//! Places: one item of the runs table holds those of a lane, each under the turn that has it. What is written goes by how many there
//! are then, so that two who write at once do not both find the last one.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{EnvironmentId, QueueLabel};

use super::Store;
use super::conditional::{Written, written};
use super::expression::{Expression, moment, number, text};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::flow::{Holder, Lane, Place, Places};

/// An item of which nobody has heard for so long is deleted.
const KEPT: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 60 * 60);
/// The most places that are over and are taken away by one write: who finds more takes these away first, as with the rest there may
/// seem to be no room.
pub const PURGED_AT_ONCE: usize = 20;
/// The most places that one write takes away: those, and that of who writes.
const MAX_REMOVED: usize = PURGED_AT_ONCE + 1;
/// The map that has the places.
const HOLDERS: &str = "holders";

fn partition(environment: &EnvironmentId, queue: &QueueLabel) -> String {
    format!("places#{environment}#{queue}")
}

fn key(lane: &Lane) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("run_id".to_owned(), text(partition(&lane.environment, &lane.queue))),
        ("item".to_owned(), text(format!("{}0", lane.prefix()))),
    ])
}

fn read(item: HashMap<String, AttributeValue>) -> Result<Places, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("the places of a queue", error))
}

fn attribute(place: &Place) -> Result<AttributeValue, Error> {
    serde_dynamo::to_attribute_value(place).map_err(|error| Error::unreadable("a place", error))
}

/// What is to be written of the places of a lane.
#[derive(Clone, Debug, Default)]
pub struct PlacesWrite<'a> {
    /// Those that are taken away, each as it was seen.
    pub removed: Vec<(&'a Holder, Timestamp)>,
    /// That which is taken or given.
    pub put: Option<Put<'a>>,
}

/// A place that is taken or given.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Who is to have it.
    pub holder: &'a Holder,
    /// What it is.
    pub place: &'a Place,
    /// What was seen under this name: until when.
    pub seen: Option<Timestamp>,
    /// How many there may be with it.
    pub limit: usize,
}

impl Store {
    /// The places of a lane, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn places(&self, lane: &Lane) -> Result<Places, Error> {
        let get = self.client.get_item().table_name(&self.tables.runs).set_key(Some(key(lane))).consistent_read(true);
        let answer = get.send().await.map_err(Error::aws("dynamodb:GetItem"))?;
        answer.item.map(read).transpose().map(Option::unwrap_or_default)
    }

    /// The places of all lanes of a queue.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn places_of(&self, environment: &EnvironmentId, queue: &QueueLabel) -> Result<Vec<Places>, Error> {
        self.readable(partition(environment, queue), false, read).await
    }

    /// Takes a place where there is room, or keeps that which its turn has: one conditional write. `None` if it was taken, else the
    /// places as they are.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn take_place(
        &self,
        lane: &Lane,
        holder: &Holder,
        place: &Place,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<Places>, Error> {
        let mut write = Expression::default();
        write.set("expires_at", number(now.plus(KEPT).seconds_rounded_up()));
        let holders = write.name(HOLDERS);
        let own = named(&mut write, "own", holder);
        write.set_path(&own, attribute(place)?);
        let (until, now) = (write.name("until"), write.value(moment(now)));
        let limit = write.value(number(bounded(limit)));
        let condition = format!("attribute_exists({holders}) AND (size({holders}) < {limit} OR {own}.{until} > {now})");
        match self.update_places(lane, write, condition).await? {
            Refused::No => Ok(None),
            Refused::By(places) => Ok(Some(places)),
            Refused::Absent => self.first_place(lane, holder, place).await,
        }
    }

    /// Writes what is to be written, if what was seen is there still, and there is room. Whether it was written.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn write_places(&self, lane: &Lane, what: &PlacesWrite<'_>, now: Timestamp) -> Result<bool, Error> {
        let mut write = Expression::default();
        write.set("expires_at", number(now.plus(KEPT).seconds_rounded_up()));
        let holders = write.name(HOLDERS);
        let mut conditions = vec![format!("attribute_exists({holders})")];
        let removed = what.removed.len().min(MAX_REMOVED);
        for (at, (holder, seen)) in what.removed.iter().take(removed).enumerate() {
            let path = named(&mut write, &format!("out{at}"), holder);
            let (until, seen) = (write.name("until"), write.value(moment(*seen)));
            conditions.push(format!("{path}.{until} = {seen}"));
            write.remove_path(path);
        }
        if let Some(Put { holder, place, seen, limit }) = &what.put {
            let own = named(&mut write, "own", holder);
            write.set_path(&own, attribute(place)?);
            conditions.push(match seen {
                None => format!("attribute_not_exists({own})"),
                Some(seen) => format!("{own}.{} = {}", write.name("until"), write.value(moment(*seen))),
            });
            let before = bounded(*limit).saturating_sub(1) + removed as u64 + u64::from(seen.is_some());
            let before = write.value(number(before));
            conditions.push(format!("size({holders}) <= {before}"));
        }
        match (self.update_places(lane, write, conditions.join(" AND ")).await?, &what.put) {
            (Refused::No, _) => Ok(true),
            (Refused::By(_), _) => Ok(false),
            (Refused::Absent, None) => Ok(true),
            (Refused::Absent, Some(Put { holder, place, .. })) => {
                Ok(self.first_place(lane, holder, place).await?.is_none())
            }
        }
    }

    /// Frees the place of a turn, whatever else is there. Whether it had one.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn free_place(&self, lane: &Lane, holder: &Holder, now: Timestamp) -> Result<bool, Error> {
        let mut write = Expression::default();
        write.set("expires_at", number(now.plus(KEPT).seconds_rounded_up()));
        let own = named(&mut write, "own", holder);
        write.remove_path(own.clone());
        let (update, names, values) = write.finish();
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(key(lane)))
            .update_expression(update)
            .condition_expression(format!("attribute_exists({own})"))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        Ok(matches!(written("dynamodb:UpdateItem", updated)?, Written::Done(_)))
    }

    async fn update_places(&self, lane: &Lane, write: Expression, condition: String) -> Result<Refused, Error> {
        let (update, names, values) = write.finish();
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(key(lane)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        Ok(match written("dynamodb:UpdateItem", updated)? {
            Written::Done(_) => Refused::No,
            Written::Refused(Some(there)) => Refused::By(read(there)?),
            Written::Refused(None) => Refused::Absent,
        })
    }

    /// Makes the item of a lane that has none. `None` if it was made, else the places as they are.
    async fn first_place(&self, lane: &Lane, holder: &Holder, place: &Place) -> Result<Option<Places>, Error> {
        let mut item = key(lane);
        let holders = HashMap::from([(holder.to_string(), attribute(place)?)]);
        item.insert(HOLDERS.to_owned(), AttributeValue::M(holders));
        item.insert("expires_at".to_owned(), number(place.until.plus(KEPT).seconds_rounded_up()));
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.runs)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(run_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        Ok(match written("dynamodb:PutItem", put)? {
            Written::Done(_) => None,
            Written::Refused(there) => Some(there.map(read).transpose()?.unwrap_or_default()),
        })
    }
}

/// What came of a write.
enum Refused {
    No,
    /// As others have written what is there now.
    By(Places),
    /// As there is no item.
    Absent,
}

/// The path of a holder's place.
fn named(write: &mut Expression, placeholder: &str, holder: &Holder) -> String {
    format!("{}.{}", write.name(HOLDERS), write.name_as(placeholder, &holder.to_string()))
}

/// A number that DynamoDB takes.
fn bounded(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX).min(1_000_000_000)
}
