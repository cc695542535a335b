//! EventBridge Scheduler, imitated at the wire: schedules, once or at a rate, that send to the queues of this machine, as durable
//! as those, on the stack's clock. It refuses what AWS refuses, and by name what only AWS has: crons, other targets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use oncekey_core::{Clock, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::iam::{Caller, schedule_arn};
use crate::aws::sqs::{Made, Queues, Schedule};

/// The largest request that is read: an input may be all escapes.
pub(crate) const MAX_REQUEST_BYTES: usize = 2 * 1024 * 1024;
/// The longest input that AWS takes (256 KB).
const MAX_INPUT_BYTES: usize = 256 * 1024;
/// The longest name.
const MAX_NAME: usize = 64;
/// Schedules on a page, at most.
const MAX_PAGE: u64 = 100;

/// The schedules, and who may make them.
#[derive(Clone)]
pub(crate) struct Schedules {
    queues: Queues,
    /// The one group beside `default`.
    group: Arc<str>,
    /// Functions by their access keys; who is none may do everything.
    callers: Arc<HashMap<String, Caller>>,
    clock: Clock,
}

impl Schedules {
    pub(crate) fn new(queues: Queues, group: &str, callers: Vec<Caller>, clock: Clock) -> Self {
        let callers = callers.into_iter().map(|caller| (caller.function.to_string(), caller)).collect();
        Self { queues, group: group.into(), callers: Arc::new(callers), clock }
    }

    /// Has `input` sent to a queue every day from tomorrow on, as the template does, unless that is so already.
    pub(crate) fn every_day(&self, name: &str, queue: &str, input: &str) -> rusqlite::Result<()> {
        let (now, every) = (self.clock.now(), Duration::from_secs(24 * 60 * 60));
        let made = self.queues.create_schedule(&Schedule {
            group: self.group.to_string(),
            name: name.to_owned(),
            at: now.plus(every),
            every: Some(every),
            queue: queue.to_owned(),
            dead_letter: None,
            input: input.to_owned(),
            is_kept: true,
            client_token: None,
            document: json!({ "ScheduleExpression": "rate(1 days)", "Target": { "Input": input } }).to_string(),
            created_at: now,
            updated_at: now,
        });
        made.map(drop)
    }

    /// Refuses what the function that signed may not do.
    fn allow(&self, headers: &HeaderMap, action: &str, group: &str, name: &str) -> Result<Option<&Caller>, Fault> {
        let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = signed.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next());
        let Some(key) = key else {
            return Err(Fault(
                StatusCode::FORBIDDEN,
                "MissingAuthenticationToken",
                "Missing Authentication Token".into(),
            ));
        };
        let caller = self.callers.get(key);
        if let Some(caller) = caller {
            caller.ask_scheduler(action, group, name).map_err(denied)?;
        }
        Ok(caller)
    }

    fn known(&self, group: &str) -> Result<(), Fault> {
        if group == "default" || group == &*self.group {
            return Ok(());
        }
        Err(Fault::not_found(format!("Schedule group {group} does not exist.")))
    }
}

/// The endpoint.
pub(crate) fn router(schedules: Schedules) -> Router {
    Router::new()
        .route("/schedules", get(list))
        .route("/schedules/{name}", post(create).get(read).put(update).delete(delete))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(schedules)
}

/// A refusal, as AWS puts it.
struct Fault(StatusCode, &'static str, String);

impl Fault {
    fn invalid(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, "ValidationException", message.into())
    }

    fn not_found(message: String) -> Self {
        Self(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "a schedule could not be kept");
        Self(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", "the schedules cannot be read".into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self(status, kind, message) = self;
        (status, [("x-amzn-errortype", kind)], Json(json!({ "Message": message }))).into_response()
    }
}

fn denied(words: String) -> Fault {
    Fault(StatusCode::FORBIDDEN, "AccessDeniedException", words)
}

/// What a schedule is made of.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    group_name: Option<String>,
    client_token: Option<String>,
    schedule_expression: String,
    schedule_expression_timezone: Option<String>,
    flexible_time_window: Window,
    action_after_completion: Option<String>,
    state: Option<String>,
    target: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Window {
    mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    arn: String,
    role_arn: String,
    input: Option<String>,
    dead_letter_config: Option<DeadLetters>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeadLetters {
    arn: Option<String>,
}

/// When a schedule fires first, and how long after that again: `at(2026-11-27T12:00:00)`, `rate(5 minutes)`.
fn times(expression: &str, now: Timestamp) -> Result<(Timestamp, Option<Duration>), Fault> {
    let invalid = || Fault::invalid(format!("Invalid Schedule Expression {expression}."));
    let (kind, text) = expression.strip_suffix(')').and_then(|text| text.split_once('(')).ok_or_else(invalid)?;
    match kind {
        // Seconds, and neither a part of one nor a zone.
        "at" if text.len() == "2026-11-27T12:00:00".len() => {
            let at = Timestamp::parse(&format!("{text}Z")).map_err(|_| invalid())?;
            if at < now {
                return Err(Fault::invalid(format!("Invalid Schedule Expression {expression}: its time is over.")));
            }
            Ok((at, None))
        }
        "rate" => Ok((now, Some(rate(text).ok_or_else(invalid)?))),
        "cron" => Err(Fault::invalid(format!("this endpoint has no crons, as {expression} is"))),
        _ => Err(invalid()),
    }
}

/// `5 minutes`.
fn rate(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_once(' ')?;
    let seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 60 * 60,
        "day" | "days" => 24 * 60 * 60,
        _ => return None,
    };
    let count = count.parse::<u32>().ok().filter(|count| *count > 0)?;
    Some(Duration::from_secs(seconds * u64::from(count)))
}

/// The name of the queue of an ARN.
fn queue_of(arn: &str, what: &str) -> Result<String, Fault> {
    match arn.split(':').collect::<Vec<_>>()[..] {
        ["arn", _, "sqs", _, _, name] if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Fault::invalid(format!(
            "{what} {arn:?} is not the ARN of a queue, which is all that this endpoint sends to"
        ))),
    }
}

fn checked_name(name: &str) -> Result<(), Fault> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(Fault::invalid(format!(
            "Value '{name}' at 'name' failed to satisfy constraint: 1 to {MAX_NAME} of [0-9a-zA-Z-_.]"
        )));
    }
    Ok(())
}

impl Schedules {
    fn parsed(&self, headers: &HeaderMap, action: &str, name: &str, body: &[u8]) -> Result<Schedule, Fault> {
        let read = |error: serde_json::Error| Fault::invalid(error.to_string());
        let document: Value = serde_json::from_slice(body).map_err(read)?;
        let asked: Asked = serde_json::from_slice(body).map_err(read)?;
        checked_name(name)?;
        let group = asked.group_name.unwrap_or_else(|| "default".to_owned());
        let caller = self.allow(headers, action, &group, name)?;
        if let Some(caller) = caller {
            caller.ask_pass_role(&asked.target.role_arn).map_err(denied)?;
        }
        self.known(&group)?;
        let now = self.clock.now();
        let (at, every) = times(&asked.schedule_expression, now)?;
        if asked.schedule_expression_timezone.is_some_and(|zone| zone != "UTC") {
            return Err(Fault::invalid("ScheduleExpressionTimezone: this endpoint has UTC alone"));
        }
        if asked.flexible_time_window.mode != "OFF" {
            return Err(Fault::invalid("FlexibleTimeWindow: this endpoint has the mode OFF alone"));
        }
        if asked.state.is_some_and(|state| state != "ENABLED") {
            return Err(Fault::invalid("State: this endpoint has ENABLED schedules alone"));
        }
        let is_kept = match asked.action_after_completion.as_deref() {
            None | Some("NONE") => true,
            Some("DELETE") => false,
            Some(other) => {
                return Err(Fault::invalid(format!("ActionAfterCompletion: {other:?} is not NONE or DELETE")));
            }
        };
        if !asked.target.role_arn.starts_with("arn:aws:iam::") {
            return Err(Fault::invalid("Target.RoleArn is not the ARN of a role"));
        }
        let input = asked.target.input.unwrap_or_default();
        if input.is_empty() || input.len() > MAX_INPUT_BYTES {
            return Err(Fault::invalid(format!(
                "Target.Input has {} bytes: a message for a queue is 1 to {MAX_INPUT_BYTES} bytes long",
                input.len()
            )));
        }
        let dead_letter = asked.target.dead_letter_config.and_then(|config| config.arn);
        Ok(Schedule {
            group,
            name: name.to_owned(),
            at,
            every,
            queue: queue_of(&asked.target.arn, "Target.Arn")?,
            dead_letter: dead_letter.map(|arn| queue_of(&arn, "DeadLetterConfig.Arn")).transpose()?,
            input,
            is_kept,
            client_token: asked.client_token,
            document: document.to_string(),
            created_at: now,
            updated_at: now,
        })
    }
}

async fn create(
    State(schedules): State<Schedules>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let schedule = schedules.parsed(&headers, "CreateSchedule", &name, &body)?;
    match schedules.queues.create_schedule(&schedule)? {
        Made::Created | Made::Before => Ok(Json(json!({ "ScheduleArn": schedule_arn(&schedule.group, &name) }))),
        Made::Conflict => {
            let message = format!("Schedule {name} already exists.");
            Err(Fault(StatusCode::CONFLICT, "ConflictException", message))
        }
    }
}

async fn update(
    State(schedules): State<Schedules>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let schedule = schedules.parsed(&headers, "UpdateSchedule", &name, &body)?;
    if schedules.queues.update_schedule(&schedule)? {
        return Ok(Json(json!({ "ScheduleArn": schedule_arn(&schedule.group, &name) })));
    }
    Err(missing(&name))
}

fn missing(name: &str) -> Fault {
    Fault::not_found(format!("Schedule {name} does not exist."))
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "groupName")]
    group: Option<String>,
}

impl Group {
    fn name(self) -> String {
        self.group.unwrap_or_else(|| "default".to_owned())
    }
}

async fn read(
    State(schedules): State<Schedules>,
    Path(name): Path<String>,
    Query(group): Query<Group>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let group = group.name();
    schedules.allow(&headers, "GetSchedule", &group, &name)?;
    let schedule = schedules.queues.schedule(&group, &name)?.ok_or_else(|| missing(&name))?;
    let mut document: Value = serde_json::from_str(&schedule.document).unwrap_or_default();
    if let Value::Object(fields) = &mut document {
        fields.remove("ClientToken");
        fields.extend(told(&schedule));
    }
    Ok(Json(document))
}

/// What is told of a schedule beside what was asked for.
fn told(schedule: &Schedule) -> serde_json::Map<String, Value> {
    let seconds = |moment: Timestamp| moment.millis() as f64 / 1000.0;
    let told = json!({
        "Arn": schedule_arn(&schedule.group, &schedule.name),
        "Name": schedule.name,
        "GroupName": schedule.group,
        "State": "ENABLED",
        "CreationDate": seconds(schedule.created_at),
        "LastModificationDate": seconds(schedule.updated_at),
    });
    told.as_object().cloned().unwrap_or_default()
}

async fn delete(
    State(schedules): State<Schedules>,
    Path(name): Path<String>,
    Query(group): Query<Group>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let group = group.name();
    schedules.allow(&headers, "DeleteSchedule", &group, &name)?;
    if schedules.queues.delete_schedule(&group, &name)? { Ok(Json(json!({}))) } else { Err(missing(&name)) }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    schedule_group: Option<String>,
    #[serde(default)]
    name_prefix: String,
    next_token: Option<String>,
    max_results: Option<u64>,
}

async fn list(
    State(schedules): State<Schedules>,
    Query(listed): Query<Listed>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    schedules.allow(&headers, "ListSchedules", "*", "*")?;
    let most = listed.max_results.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&most) {
        return Err(Fault::invalid(format!("MaxResults is 1 to {MAX_PAGE}")));
    }
    let after = listed.next_token.as_deref().unwrap_or_default();
    let after = after.split_once('/').unwrap_or_default();
    let page = schedules.queues.schedules(listed.schedule_group.as_deref(), &listed.name_prefix, after, most)?;
    let is_full = page.len() as u64 == most;
    let next = page.last().filter(|_| is_full).map(|last| format!("{}/{}", last.group, last.name));
    let page: Vec<Value> = page
        .iter()
        .map(|schedule| {
            let document: Value = serde_json::from_str(&schedule.document).unwrap_or_default();
            let mut summary = told(schedule);
            summary.insert("Target".to_owned(), json!({ "Arn": document["Target"]["Arn"] }));
            Value::Object(summary)
        })
        .collect();
    Ok(Json(json!({ "Schedules": page, "NextToken": next })))
}
