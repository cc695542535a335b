//! Rates: one item of the runs table counts the slots of a lane. What it counts is when the next would be due, were none to be taken
//! ahead of its time.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;

use super::Store;
use super::conditional::{Written, written};
use super::expression::{number, text};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::flow::{Lane, Rate};

/// A counter that nobody has moved for so long is deleted: longer than slots are taken ahead of their time.
const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How often a slot is tried for that others take too.
const TRIES: usize = 5;

/// What is asked of a counter.
#[derive(Clone, Copy)]
enum Count {
    /// The next slot, of one that others have moved just before.
    Next,
    /// The first again, of one that is behind, or not there.
    First,
}

impl Store {
    /// Takes the next slot of a lane: when it is due, which may be now.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Aws`].
    pub async fn take_slot(&self, lane: &Lane, rate: Rate, now: Timestamp) -> Result<Timestamp, Error> {
        for _ in 0..TRIES {
            for count in [Count::Next, Count::First] {
                if let Some(counter) = self.count_slot(lane, rate, count, now).await? {
                    let due = i64::try_from(rate.due(counter).div_ceil(1_000)).unwrap_or(i64::MAX);
                    return Ok(Timestamp::from_millis(due).max(now));
                }
            }
        }
        Err(Error::Contended(lane.queue.to_string()))
    }

    /// Where a counter is once it was moved, in microseconds; none if it is not as was asked for.
    async fn count_slot(&self, lane: &Lane, rate: Rate, count: Count, now: Timestamp) -> Result<Option<u64>, Error> {
        let at = u64::try_from(now.millis()).unwrap_or_default() * 1_000;
        let (set, condition, by) = match count {
            Count::Next => ("next_slot = next_slot + :by", "next_slot >= :now", rate.spacing()),
            Count::First => {
                ("next_slot = :by", "attribute_not_exists(run_id) OR next_slot < :now", at + rate.spacing())
            }
        };
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .key("run_id", text(format!("rates#{}#{}", lane.environment, lane.queue)))
            .key("item", text(lane.prefix()))
            .update_expression(format!("SET {set}, expires_at = :kept"))
            .condition_expression(condition)
            .expression_attribute_values(":now", number(at))
            .expression_attribute_values(":by", number(by))
            .expression_attribute_values(":kept", number(now.plus(KEPT).seconds_rounded_up()))
            .return_values(ReturnValue::UpdatedNew);
        let Written::Done(answer) = written("dynamodb:UpdateItem", update.send().await)? else { return Ok(None) };
        let counter = answer.attributes.as_ref().and_then(|item| item.get("next_slot")?.as_n().ok()?.parse().ok());
        counter.map(Some).ok_or_else(|| Error::unreadable("the rate of a queue", "it has no number"))
    }
}
