//! What makes a bulk action, parsed at the door.

use oncekey_wire::{BatchId, BulkActionType, KeyHash, RunId, ScheduleId, TaskId};
use serde::Deserialize;
use serde_json::Value;

use crate::bulk::{BulkRequest, MAX_RUNS, Selection};
use crate::clock::Timestamp;
use crate::error::Error;
#[cfg(feature = "openapi")]
use crate::request::described::{MomentSchema, QueuesSchema, TextsSchema};
use crate::request::ignored::Ignored;
use crate::runs::list::{Filter, statuses};
use crate::span;

/// The longest name, in characters.
const MAX_NAME: usize = 255;
/// Most values that a field of a filter has.
const MAX_VALUES: usize = 100;
/// The longest of them, in characters.
const MAX_VALUE: usize = 256;

/// The body of `POST /api/v1/bulk-actions`: `runIds` or `filter`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct BulkActionBody {
    /// What is done with each run.
    action: Verb,
    /// What you call it: up to 255 characters.
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    name: Option<String>,
    /// The runs, up to 500.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 500, value_type = Option<Vec<RunId>>))]
    run_ids: Option<Vec<String>>,
    /// Those runs of which all of this holds, and that were created before the action.
    filter: Option<BulkFilterBody>,
    /// Refused: there are no regions.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    target_region: Option<Value>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
enum Verb {
    /// It is cancelled. A filter then finds runs that have not ended, and no others.
    Cancel,
    /// Its task is triggered again with what it was given.
    Replay,
}

/// A filter: one field at least.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct BulkFilterBody {
    /// In one of these statuses.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TextsSchema>))]
    status: Option<Value>,
    /// Of one of these tasks.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TextsSchema>))]
    task_identifier: Option<Value>,
    /// With one of these tags.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TextsSchema>))]
    tag: Option<Value>,
    /// On one of these queues.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<QueuesSchema>))]
    queue: Option<Value>,
    /// New runs of this batch.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BatchId>))]
    batch: Option<String>,
    /// Triggered by this schedule.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<ScheduleId>))]
    schedule: Option<String>,
    /// Marked as a test, or not.
    is_test: Option<bool>,
    /// Created then or later: a date, or milliseconds since 1970.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MomentSchema>))]
    from: Option<Value>,
    /// Created then or earlier, likewise.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MomentSchema>))]
    to: Option<Value>,
    /// Created within this span back from now, like `7d`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^([0-9]+[wdhms])+$"))]
    period: Option<String>,
}

impl BulkActionBody {
    /// Reads one that came at `now`. A field that nobody reads is refused, whoever sends it: left out, it would mean more runs.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, [`Error::Unprocessable`] for fields that nobody reads and for what Oncekey does not have.
    pub fn parse(text: &[u8], now: Timestamp) -> Result<BulkRequest, Error> {
        let (body, ignored) = Ignored::parse_plain::<Self>(text)?;
        ignored.refused()?;
        if body.target_region.is_some_and(|region| !region.is_null()) {
            let text = "targetRegion is not supported: there are no regions; leave it out";
            return Err(Error::Unprocessable(text.to_owned()));
        }
        let kind = match body.action {
            Verb::Cancel => BulkActionType::Cancel,
            Verb::Replay => BulkActionType::Replay,
        };
        let name = body.name.filter(|name| !name.is_empty());
        let length = name.as_ref().map_or(0, |name| name.chars().count());
        if length > MAX_NAME {
            return Err(Error::invalid("name", format!("is {length} characters long; the limit is {MAX_NAME}")));
        }
        let selection = match (body.run_ids, body.filter) {
            (Some(ids), None) => Selection::Runs(runs(&ids)?),
            (None, Some(filter)) => Selection::by(kind, filter.check(now)?),
            (Some(_), Some(_)) => return Err(Error::invalid("runIds", "is given beside filter: give one of them")),
            (None, None) => return Err(Error::invalid("filter", "is missing, and runIds too: give one of them")),
        };
        // A client that sends a request again sends the same bytes.
        let fingerprint = KeyHash::of_text(&String::from_utf8_lossy(text)).to_string();
        Ok(BulkRequest { kind, name, selection, fingerprint })
    }
}

/// Ids of runs, each once.
fn runs(ids: &[String]) -> Result<Vec<RunId>, Error> {
    if ids.is_empty() || ids.len() > MAX_RUNS {
        let text = format!("has {} ids: give from 1 to {MAX_RUNS}, or a filter", ids.len());
        return Err(Error::invalid("runIds", text));
    }
    let mut runs: Vec<RunId> = Vec::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        let id = RunId::parse(id).map_err(|invalid| Error::invalid(format!("runIds[{place}]"), invalid.message))?;
        if !runs.contains(&id) {
            runs.push(id);
        }
    }
    Ok(runs)
}

impl BulkFilterBody {
    fn check(self, now: Timestamp) -> Result<Filter, Error> {
        let mut filter = Filter { is_test: self.is_test, ..Filter::default() };
        if let Some(names) = texts("filter.status", self.status)? {
            filter.statuses = Some(statuses("filter.status", names.iter().map(String::as_str))?);
        }
        if let Some(tasks) = texts("filter.taskIdentifier", self.task_identifier)? {
            let read = |task: &String| TaskId::parse(task).map_err(named("filter.taskIdentifier"));
            filter.tasks = tasks.iter().map(read).collect::<Result<_, _>>()?;
        }
        filter.tags = texts("filter.tag", self.tag)?.unwrap_or_default();
        filter.queues = texts("filter.queue", self.queue.map(queue_names))?.unwrap_or_default();
        if let Some(id) = self.batch {
            filter.batches = vec![BatchId::parse(&id).map_err(named("filter.batch"))?];
        }
        if let Some(id) = self.schedule {
            filter.schedules = vec![ScheduleId::parse(&id).map_err(named("filter.schedule"))?];
        }
        filter.from = moment("filter.from", self.from)?;
        filter.to = moment("filter.to", self.to)?;
        if let Some(text) = self.period {
            let wrong = || Error::invalid("filter.period", "give a span like \"7d\" (w, d, h, m, s)");
            let back = i64::try_from(span::parse(&text).ok_or_else(wrong)?.as_millis()).unwrap_or(i64::MAX);
            let begins = Timestamp::from_millis(now.millis().saturating_sub(back));
            filter.from = Some(filter.from.map_or(begins, |from| from.max(begins)));
        }
        if filter == Filter::default() {
            return Err(Error::invalid("filter", "says nothing: all runs would be meant; give one field at least"));
        }
        Ok(filter)
    }
}

fn named(field: &'static str) -> impl Fn(oncekey_wire::Invalid) -> Error {
    move |invalid| Error::invalid(field, invalid.message)
}

/// A text, or a list of them. An empty one is a mistake: it could mean all runs, or none.
fn texts(field: &str, value: Option<Value>) -> Result<Option<Vec<String>>, Error> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let is_text = |text: &str| !text.trim().is_empty() && text.chars().count() <= MAX_VALUE;
    let text = |value: &Value| value.as_str().filter(|text| is_text(text)).map(str::to_owned);
    let texts: Option<Vec<String>> = list.iter().map(text).collect();
    texts.filter(|texts| (1..=MAX_VALUES).contains(&texts.len())).map(Some).ok_or_else(|| {
        let wanted = format!("a text of 1 to {MAX_VALUE} characters, or a list of 1 to {MAX_VALUES} of them");
        Error::invalid(field, format!("give {wanted}, or leave it out"))
    })
}

/// Queues as their names: the client sends `{"type": "task" | "custom", "name"}`, and lists by names.
fn queue_names(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(queue_names).collect(),
        Value::Object(mut queue) => match (queue.remove("type"), queue.remove("name")) {
            (Some(Value::String(kind)), Some(Value::String(name))) if kind == "task" => format!("task/{name}").into(),
            (Some(Value::String(kind)), Some(Value::String(name))) if kind == "custom" => name.into(),
            // No text, and so refused.
            _ => Value::Bool(false),
        },
        other => other,
    }
}

fn moment(field: &str, value: Option<Value>) -> Result<Option<Timestamp>, Error> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let moment = match &value {
        Value::Number(millis) => millis.as_i64().map(Timestamp::from_millis),
        Value::String(text) => text.parse().ok().map(Timestamp::from_millis).or_else(|| Timestamp::parse(text).ok()),
        _ => None,
    };
    let wanted = "give milliseconds since 1970, or a date like \"2026-01-31T09:30:00Z\"";
    moment.map(Some).ok_or_else(|| Error::invalid(field, wanted))
}

#[cfg(test)]
mod tests {
    use oncekey_wire::RunStatus;

    use super::*;

    fn parse(text: &str) -> Result<BulkRequest, Error> {
        BulkActionBody::parse(text.as_bytes(), Timestamp::from_millis(100_000_000))
    }

    fn filter_of(text: &str) -> Filter {
        match parse(text).expect(text).selection {
            Selection::Filter(filter) => *filter,
            Selection::Runs(runs) => panic!("{runs:?}"),
        }
    }

    #[test]
    fn the_clients_filter_is_read() {
        let filter = filter_of(
            r#"{"action": "replay", "filter": {"status": ["FAILED", "DEQUEUED"], "taskIdentifier": "t", "tag": ["a", "b"],
                "queue": [{"type": "task", "name": "t"}, {"type": "custom", "name": "slow"}, "plain"], "isTest": false,
                "from": 5, "to": "1970-01-01T00:00:09.000Z", "period": "1d"}}"#,
        );
        assert_eq!(filter.statuses, Some(vec![RunStatus::Failed]));
        assert_eq!((filter.tags.len(), filter.queues), (2, ["task/t", "slow", "plain"].map(str::to_owned).to_vec()));
        assert_eq!(filter.from, Some(Timestamp::from_millis(100_000_000 - 86_400_000)));
        assert_eq!((filter.to, filter.is_test), (Some(Timestamp::from_millis(9_000)), Some(false)));
    }

    #[test]
    fn a_filter_of_a_cancellation_finds_no_run_that_has_ended() {
        let filter = filter_of(r#"{"action": "cancel", "filter": {"status": ["FAILED", "QUEUED"]}}"#);
        assert_eq!(filter.statuses, Some(vec![RunStatus::Queued]));
        let filter = filter_of(r#"{"action": "cancel", "filter": {"tag": "a"}}"#);
        assert!(filter.statuses.expect("statuses").iter().all(|status| !status.is_final()));
    }

    #[test]
    fn a_run_that_is_named_twice_is_one() {
        let id = format!("run_{}", "a".repeat(32));
        let request = parse(&format!(r#"{{"action": "cancel", "runIds": ["{id}", "{id}"]}}"#)).expect("a request");
        assert!(matches!(request.selection, Selection::Runs(runs) if runs.len() == 1));
    }
}
