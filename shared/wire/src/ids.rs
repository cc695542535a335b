//! Names: environments, tasks, runs, batches, schedules and tokens. Each is parsed once, at the door, and trusted from then on.

use data_encoding::BASE32_DNSSEC;
use serde::{Deserialize, Serialize};

use crate::error::Invalid;
use crate::names::{is_name, name_of, shard_of, text_id};
use crate::time::Timestamp;

/// The isolation boundary of keys and runs: a project and a name in it, such as `acme/prod`.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z0-9-]{1,64}/[a-z0-9-]{1,64}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentId(String);

impl EnvironmentId {
    /// Reads `project/name`, each 1 to 64 characters of `a-z`, `0-9`, `-`.
    ///
    /// # Errors
    /// [`Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let part = |part: &str| {
            (1..=64).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split_once('/') {
            Some((project, name)) if part(project) && part(name) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new(
                "environment",
                "give project and name like \"acme/prod\": lower-case letters, digits and - only",
            )),
        }
    }

    /// The name within the project: `prod` of `acme/prod`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A task's id: 1 to 128 characters of `A-Z a-z 0-9 _ . : / -`.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9_.:/-]{1,128}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

impl TaskId {
    /// Reads a task id.
    ///
    /// # Errors
    /// [`Invalid`] naming the allowed characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new("task id", "use 1 to 128 characters of A-Z, a-z, 0-9, _ . : / and -"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the ids of schedules' times begin with.
const TICK: &str = "tick:";

/// What makes a trigger *this* trigger: the same request sent again carries the same id (I3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The caller's own id, from the header `x-trigger-request-idempotency-key`: 1 to 255 characters.
    ///
    /// # Errors
    /// [`Invalid`] when it is empty or longer.
    pub fn from_caller(text: &str) -> Result<Self, Invalid> {
        if (1..=255).contains(&text.chars().count()) {
            return Ok(Self(format!("caller:{text}")));
        }
        Err(Invalid::new("x-trigger-request-idempotency-key", "use 1 to 255 characters"))
    }

    /// The id of the SQS message that asks for the trigger.
    #[must_use]
    pub fn from_message(message_id: &str) -> Self {
        Self(format!("message:{message_id}"))
    }

    /// One item of a batch: the same however often the batch's calls are repeated.
    #[must_use]
    pub fn from_batch(batch: &BatchId, index: u32) -> Self {
        Self(format!("batch:{batch}.{index}"))
    }

    /// What a bulk action asks for: the same however often its pages are carried out.
    #[must_use]
    pub fn from_bulk_action(action: &BulkActionId) -> Self {
        Self(format!("bulk:{action}"))
    }

    /// A time of a schedule: the same however often its message comes.
    #[must_use]
    pub fn of_tick(schedule: &ScheduleId, at: Timestamp) -> Self {
        Self(format!("{TICK}{schedule}/{}", at.millis()))
    }

    /// Whether it is a time of a schedule.
    #[must_use]
    pub fn is_tick(&self) -> bool {
        self.0.starts_with(TICK)
    }

    /// A replay of a run: the same as often as this request for it is sent.
    #[must_use]
    pub fn for_replay(&self, run: &RunId) -> Self {
        Self(format!("replay:{run}/{}", self.0))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A request that nobody can send again: fresh randomness.
    #[must_use]
    pub fn fresh() -> Self {
        Self(format!("fresh:{}", uuid::Uuid::new_v4()))
    }
}

/// A run's id: `run_` and 32 characters of lower-case base32.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^run_[a-z2-7]{32}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// The run that `request` makes: the same request always names the same run, so a re-sent one costs nothing to
    /// recognise. 160 bits of sha256 are kept, enough that two requests never meet.
    #[must_use]
    pub fn named(environment: &EnvironmentId, task: &TaskId, request: &RequestId) -> Self {
        Self(format!("run_{}", name_of([environment.as_str(), task.as_str(), request.as_str()])))
    }

    /// Reads a run id.
    ///
    /// # Errors
    /// [`Invalid`] when the text cannot be one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("run_") {
            Some(rest) if is_name(rest) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new("run id", "a run id is run_ and 32 characters of a-z and 2-7")),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that spreads runs evenly over `shards`.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        shard_of(&self.0, shards)
    }
}

/// A batch's id: `batch_` and 32 characters of lower-case base32.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^batch_[a-z2-7]{32}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId(String);

impl BatchId {
    /// The batch that `request` creates: the same request always names the same batch.
    #[must_use]
    pub fn named(environment: &EnvironmentId, request: &RequestId) -> Self {
        Self(format!("batch_{}", name_of([environment.as_str(), "request", request.as_str()])))
    }

    /// Reads a batch id.
    ///
    /// # Errors
    /// [`Invalid`] when the text cannot be one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("batch_") {
            Some(rest) if is_name(rest) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new("batch id", "a batch id is batch_ and 32 characters of a-z and 2-7")),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A bulk action's id: `bulk_` and 32 characters of lower-case base32.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^bulk_[a-z2-7]{32}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BulkActionId(String);

impl BulkActionId {
    /// The action that `request` makes: the same request always names the same action.
    #[must_use]
    pub fn named(environment: &EnvironmentId, request: &RequestId) -> Self {
        Self(format!("bulk_{}", name_of([environment.as_str(), "bulk", request.as_str()])))
    }

    /// Reads a bulk action's id.
    ///
    /// # Errors
    /// [`Invalid`] when the text cannot be one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("bulk_") {
            Some(rest) if is_name(rest) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new("bulk action id", "a bulk action's id is bulk_ and 32 characters of a-z and 2-7")),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cron schedule's id: `sched_` and 32 characters of lower-case base32.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^sched_[a-z2-7]{32}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleId(String);

impl ScheduleId {
    /// The schedule of a deduplication key: there is one, however often it is created.
    #[must_use]
    pub fn named(environment: &EnvironmentId, deduplication_key: &str) -> Self {
        Self(format!("sched_{}", name_of([environment.as_str(), "schedule", deduplication_key])))
    }

    /// The schedule that a task's own code declares: there is one of a task.
    #[must_use]
    pub fn declared(environment: &EnvironmentId, task: &TaskId) -> Self {
        Self(format!("sched_{}", name_of([environment.as_str(), "declared", task.as_str()])))
    }

    /// Reads a schedule id.
    ///
    /// # Errors
    /// [`Invalid`] when the text cannot be one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("sched_") {
            Some(rest) if is_name(rest) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new("schedule id", "a schedule id is sched_ and 32 characters of a-z and 2-7")),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A wait token's id: `waitpoint_` and 32 characters, which begin with the moment when it was made, so that ids sort as that.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^waitpoint_[0-9a-v]{32}$"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    /// One that nobody has, of a token that is made now: the moment in 48 bits, and randomness.
    #[must_use]
    pub fn fresh(now: Timestamp) -> Self {
        let mut rest = [0; 14];
        rest.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..14]);
        Self::of(now, rest)
    }

    /// Texts between which the ids of tokens are that were made from one moment to another, both included.
    #[must_use]
    pub fn range(from: Option<Timestamp>, to: Option<Timestamp>) -> (String, String) {
        let low = from.map_or_else(|| Self(PREFIX.to_owned()), |from| Self::of(from, [0; 14]));
        let high = to.map_or_else(|| Self(format!("{PREFIX}~")), |to| Self::of(to, [0xff; 14]));
        (low.0, high.0)
    }

    fn of(moment: Timestamp, rest: [u8; 14]) -> Self {
        let millis = u64::try_from(moment.millis()).unwrap_or_default().min((1 << 48) - 1).to_be_bytes();
        let bytes: Vec<u8> = millis[2..].iter().chain(&rest).copied().collect();
        Self(format!("{PREFIX}{}", BASE32_DNSSEC.encode(&bytes)))
    }

    /// Reads a wait token's id.
    ///
    /// # Errors
    /// [`Invalid`] when the text cannot be one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'v').contains(&b);
        match text.strip_prefix(PREFIX) {
            Some(rest) if rest.len() == 32 && rest.bytes().all(is_digit) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new("wait token id", "a wait token's id is waitpoint_ and 32 characters of 0-9 and a-v")),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that spreads tokens evenly over `shards`.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        shard_of(&self.0, shards)
    }
}

/// What the ids of wait tokens begin with.
const PREFIX: &str = "waitpoint_";

text_id!(EnvironmentId);
text_id!(TaskId);
text_id!(RunId);
text_id!(BatchId);
text_id!(BulkActionId);
text_id!(ScheduleId);
text_id!(TokenId);

#[cfg(test)]
mod tests {
    use super::*;

    fn named(environment: &str, task: &str, request: &RequestId) -> RunId {
        let environment = EnvironmentId::parse(environment).expect("environment");
        RunId::named(&environment, &TaskId::parse(task).expect("task"), request)
    }

    #[test]
    fn the_same_request_names_the_same_run_and_any_other_another() {
        let request = RequestId::from_caller("1").expect("request");
        let run = named("a/b", "t", &request);
        assert_eq!(run, named("a/b", "t", &request));
        assert_ne!(run, named("a/c", "t", &request));
        assert_ne!(run, named("a/b", "u", &request));
        assert_ne!(run, named("a/b", "t", &RequestId::from_message("1")));
        assert_ne!(named("a/b", "t", &RequestId::fresh()), named("a/b", "t", &RequestId::fresh()));
    }

    #[test]
    fn a_run_id_reads_back() {
        let run = named("a/b", "t", &RequestId::fresh());
        assert_eq!(RunId::parse(run.as_str()).ok(), Some(run));
        for text in
            ["", "run_", "run_1", "batch_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "run_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(RunId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_refuse_what_could_be_taken_for_a_separator() {
        for text in ["", "a#b", "a b", "a\u{0}", "é", &"a".repeat(129)] {
            assert!(TaskId::parse(text).is_err(), "{text}");
        }
        assert!(TaskId::parse("emails/send:v1.2_x-y").is_ok());
        for text in ["", "a", "a/", "/a", "a/b/c", "A/b", "a#/b"] {
            assert!(EnvironmentId::parse(text).is_err(), "{text}");
        }
    }
}
