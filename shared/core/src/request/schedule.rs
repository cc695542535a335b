//! What creates or changes a cron schedule, parsed at the door.

use oncekey_wire::TaskId;
use serde::Deserialize;
use serde_json::Value;

use crate::cron::{Cron, OnMissed, OnOverlap, Plan};
use crate::error::Error;
use crate::request::ignored::Ignored;

/// The longest deduplication key and external id, in characters.
const MAX_CHARACTERS: usize = 512;
/// The time zone of who names none.
const UTC: &str = "UTC";

/// The body of `POST /api/v1/schedules`, and of `PUT /api/v1/schedules/{id}`, where `deduplicationKey` is left out.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScheduleBody {
    /// The task to trigger.
    #[cfg_attr(feature = "openapi", schema(value_type = TaskId))]
    task: String,
    /// When: five fields, `minute hour day-of-month month day-of-week`, or `@daily` and its like.
    #[cfg_attr(feature = "openapi", schema(example = "0 9 * * 1-5", max_length = 256))]
    cron: String,
    /// The time zone of these, by its IANA name; UTC if absent.
    timezone: Option<String>,
    /// There is one schedule of a key: a second create with it changes the first. 1 to 512 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 512))]
    deduplication_key: Option<String>,
    /// Told to the task: whom or what the schedule is for. Up to 512 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 512))]
    external_id: Option<String>,
    /// What a tick does while the run of an earlier one is under way.
    on_overlap: Option<OnOverlap>,
    /// What becomes of missed ticks: those that nobody carried out within a quarter of an hour, nor before the next was due.
    on_missed: Option<OnMissed>,
    /// Refused: ticks come at their time, and are not spread.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    window: Option<Value>,
}

impl ScheduleBody {
    /// Reads one, of whose fields none is unknown.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let (body, ignored) = Ignored::parse_plain::<Self>(text)?;
        ignored.refused()?;
        Ok(body)
    }

    /// The deduplication key, and what the schedule is to do.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, [`Error::Unprocessable`] for what Oncekey does not have.
    pub fn for_create(mut self) -> Result<(String, Plan), Error> {
        let key = self.deduplication_key.take().unwrap_or_default();
        if key.is_empty() {
            let text = "is missing: give a text of your own, such as the id of whom the schedule is for; creating it again \
                        with the same changes that schedule and makes no second one";
            return Err(Error::invalid("deduplicationKey", text));
        }
        bounded("deduplicationKey", &key)?;
        Ok((key, self.plan()?))
    }

    /// What the schedule is to do.
    ///
    /// # Errors
    /// As [`ScheduleBody::for_create`].
    pub fn for_update(self) -> Result<Plan, Error> {
        if self.deduplication_key.is_some() {
            let text = "cannot be changed: delete the schedule and create another, or leave it out";
            return Err(Error::invalid("deduplicationKey", text));
        }
        self.plan()
    }

    fn plan(self) -> Result<Plan, Error> {
        if self.window.is_some() {
            let text = "window is not supported: ticks come at their time, and are not spread; leave it out";
            return Err(Error::Unprocessable(text.to_owned()));
        }
        let external_id = self.external_id.filter(|id| !id.is_empty());
        bounded("externalId", external_id.as_deref().unwrap_or_default())?;
        Ok(Plan {
            task: TaskId::parse(&self.task)?,
            cron: Cron::parse(&self.cron, self.timezone.as_deref().unwrap_or(UTC))?,
            external_id,
            on_overlap: self.on_overlap.unwrap_or_default(),
            on_missed: self.on_missed.unwrap_or_default(),
        })
    }
}

fn bounded(field: &str, text: &str) -> Result<(), Error> {
    let length = text.chars().count();
    if length > MAX_CHARACTERS {
        return Err(Error::invalid(field, format!("is {length} characters long; the limit is {MAX_CHARACTERS}")));
    }
    Ok(())
}
