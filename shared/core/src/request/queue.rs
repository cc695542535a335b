//! What is asked of a queue, parsed at the door.

use oncekey_wire::{MAX_CONCURRENCY, QueueLabel, TaskId};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::request::ignored::Ignored;

/// How a queue is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum NamedBy {
    /// By its id.
    #[default]
    Id,
    /// By the id of a task whose own it is.
    Task,
    /// By its name.
    Custom,
}

impl NamedBy {
    /// The type of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "id" => Ok(Self::Id),
            "task" => Ok(Self::Task),
            "custom" => Ok(Self::Custom),
            other => Err(Error::invalid("type", format!("{other:?} is none: give id, task or custom"))),
        }
    }

    /// The queue of this name, as it stands in a path: the client spells each `/` of it `%2F` before it spells it for the path.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`] for an id that is none.
    pub fn queue(self, segment: &str) -> Result<QueueLabel, Error> {
        let name = segment.replace("%2F", "/");
        match self {
            Self::Id => QueueLabel::of_id(&name).ok_or_else(|| {
                Error::NotFound(format!(
                    "there is no queue {name:?}: an id begins with queue_, or give type task or custom"
                ))
            }),
            Self::Task => Ok(QueueLabel::of_task(&TaskId::parse(&name)?)),
            Self::Custom => Ok(QueueLabel::parse(&name)?),
        }
    }
}

/// What is to become of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
enum Action {
    Pause,
    Resume,
}

/// The body of `POST /api/v1/queues/{queue}/pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PauseBody {
    /// How the queue is named.
    #[serde(rename = "type", default)]
    by: NamedBy,
    action: Action,
}

impl PauseBody {
    /// Reads one: how the queue is named, and whether it is to be paused.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Unprocessable`] for fields that nobody reads.
    pub fn parse(text: &[u8]) -> Result<(NamedBy, bool), Error> {
        let (body, ignored) = Ignored::parse_plain::<Self>(text)?;
        ignored.refused()?;
        Ok((body.by, body.action == Action::Pause))
    }
}

/// The body of `POST /api/v1/environment/pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PauseEnvironmentBody {
    action: Action,
}

impl PauseEnvironmentBody {
    /// Reads one: whether the environment is to be paused.
    ///
    /// # Errors
    /// As [`PauseBody::parse`].
    pub fn parse(text: &[u8]) -> Result<bool, Error> {
        let (body, ignored) = Ignored::parse_plain::<Self>(text)?;
        ignored.refused()?;
        Ok(body.action == Action::Pause)
    }
}

/// The body of `POST /api/v1/queues/{queue}/concurrency/override`, and of `…/reset`, which says no limit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LimitBody {
    /// How the queue is named.
    #[serde(rename = "type", default)]
    by: NamedBy,
    /// The limit.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>, maximum = 100_000))]
    concurrency_limit: Option<Value>,
}

impl LimitBody {
    /// Reads one that says a limit.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Unprocessable`] for fields that nobody reads.
    pub fn parse_override(text: &[u8]) -> Result<(NamedBy, u32), Error> {
        let (body, ignored) = Ignored::parse_plain::<Self>(text)?;
        ignored.refused()?;
        let limit = body.concurrency_limit.as_ref().and_then(Value::as_u64).and_then(|limit| u32::try_from(limit).ok());
        let limit = limit.filter(|limit| *limit <= MAX_CONCURRENCY);
        let refuse = || Error::invalid("concurrencyLimit", format!("give a whole number from 0 to {MAX_CONCURRENCY}"));
        Ok((body.by, limit.ok_or_else(refuse)?))
    }

    /// Reads one that says none.
    ///
    /// # Errors
    /// As [`LimitBody::parse_override`].
    pub fn parse_reset(text: &[u8]) -> Result<NamedBy, Error> {
        let (body, ignored) = Ignored::parse_plain::<Self>(text)?;
        ignored.refused()?;
        if body.concurrency_limit.is_some() {
            return Err(Error::invalid(
                "concurrencyLimit",
                "leave it out: the queue has the limit again that its code declares",
            ));
        }
        Ok(body.by)
    }
}
