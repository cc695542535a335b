//! The options of a trigger, as those who trigger give them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::debounce::Debounce;
use crate::json::Json;
use crate::key::{KeyHash, KeyOptions};
use crate::release::KeyRelease;

/// Every option that a trigger takes, by its name on the wire.
pub const NAMES: [&str; 28] = [
    "concurrency",
    "concurrencyKey",
    "debounce",
    "delay",
    "externalDeploymentId",
    "idempotencyKey",
    "idempotencyKeyFrom",
    "idempotencyKeyGroup",
    "idempotencyKeyOptions",
    "idempotencyKeyRelease",
    "idempotencyKeyTTL",
    "lockToVersion",
    "machine",
    "maxAttempts",
    "maxDuration",
    "metadata",
    "onKeyHeld",
    "onPayloadMismatch",
    "parentRunId",
    "payloadSize",
    "payloadType",
    "priority",
    "queue",
    "region",
    "resumeParentOnCompletion",
    "tags",
    "test",
    "ttl",
];

/// What other services call what is ours.
const ALIASES: [(&str, &str); 6] = [
    ("key", "idempotencyKey"),
    ("keyttl", "idempotencyKeyTTL"),
    ("deduplicationid", "idempotencyKey"),
    ("retries", "maxAttempts"),
    ("timeout", "maxDuration"),
    ("expiresin", "ttl"),
];

/// What is wrong with an option's name, if there is no such option.
#[must_use]
pub fn misnamed(name: &str) -> Option<String> {
    if NAMES.contains(&name) {
        return None;
    }
    Some(meant(name).map_or_else(|| "there is no such option".to_owned(), |option| format!("did you mean {option}?")))
}

/// The option that may have been meant by a name that is none.
#[must_use]
pub fn meant(name: &str) -> Option<&'static str> {
    let plain = |name: &str| name.replace(['_', '-', ' '], "").to_lowercase();
    let (given, most) = (plain(name), if name.len() < 6 { 1 } else { 2 });
    let alias = ALIASES.iter().find(|(alias, _)| *alias == given).map(|(_, name)| *name);
    let nearest = || NAMES.into_iter().map(|name| (distance(&given, &plain(name)), name)).min();
    alias.or_else(|| nearest().filter(|(distance, _)| *distance <= most).map(|(_, name)| name))
}

/// How many letters must be put, left out or changed to make one text of another; beyond a length it does not matter.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(40).collect(), other.chars().collect());
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, a) in one.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, b) in other.iter().enumerate() {
            let above = row[to + 1];
            row[to + 1] = (diagonal + usize::from(a != b)).min(above + 1).min(row[to] + 1);
            diagonal = above;
        }
    }
    row[other.len()]
}

/// The options of a trigger, each under its name on the wire. What triggers in Rust, a client or a task, builds them here,
/// so that a word means the same to both: `key_ttl` is how long the key holds, `expires_in` how long the run may wait.
///
/// ```
/// # use oncekey_wire::TriggerOptions;
/// # use serde_json::json;
/// let options = TriggerOptions::new().key_ttl("7d").expires_in("10m").queue("mail");
/// assert_eq!(
///     json!(options),
///     json!({ "idempotencyKeyTTL": "7d", "ttl": "10m", "queue": { "name": "mail" } }),
/// );
/// ```
///
/// Values are checked where they are received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TriggerOptions(Map<String, Value>);

impl TriggerOptions {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key that makes the trigger happen once, and what to show of it.
    #[must_use]
    pub fn key(self, hash: &KeyHash, shown: Option<&KeyOptions>) -> Self {
        let with_key = self.option("idempotencyKey", hash);
        match shown {
            Some(shown) => with_key.option("idempotencyKeyOptions", shown),
            None => with_key,
        }
    }

    /// Makes the key of the payload: of what these JSON pointers name in it, or, for none, of the whole of it.
    #[must_use]
    pub fn key_from(self, pointers: &[&str]) -> Self {
        let from = if pointers.is_empty() { json!("payload") } else { json!(pointers) };
        self.option("idempotencyKeyFrom", from)
    }

    /// Lets the key hold in a group of tasks.
    #[must_use]
    pub fn key_group(self, group: &str) -> Self {
        self.option("idempotencyKeyGroup", group)
    }

    /// Fails the trigger if its key is held by a run of another payload.
    #[must_use]
    pub fn refuse_payload_mismatch(self) -> Self {
        self.option("onPayloadMismatch", "error")
    }

    /// Which ends of its run free the key: a failure, unless something else is said.
    #[must_use]
    pub fn key_release(self, release: KeyRelease) -> Self {
        self.option("idempotencyKeyRelease", release)
    }

    /// Fails the trigger if another run holds its key.
    #[must_use]
    pub fn refuse_held_key(self) -> Self {
        self.option("onKeyHeld", "error")
    }

    /// Cancels the run that holds the key if it has not ended, and makes another in its place.
    #[must_use]
    pub fn replace_held_key(self) -> Self {
        self.option("onKeyHeld", "replace")
    }

    /// How long the key holds: a whole number and `s`, `m`, `h` or `d`; 30 days by default.
    #[must_use]
    pub fn key_ttl(self, ttl: &str) -> Self {
        self.option("idempotencyKeyTTL", ttl)
    }

    /// The run starts no earlier: a span like `1h30m`, or an ISO 8601 date.
    #[must_use]
    pub fn delay(self, delay: &str) -> Self {
        self.option("delay", delay)
    }

    /// Pushes the start of the run that is delayed under this debounce key, if there is one, instead of making another.
    #[must_use]
    pub fn debounce(self, debounce: &Debounce) -> Self {
        self.option("debounce", debounce)
    }

    /// The run expires unless it has started within this span, like `10m`, after it was due.
    #[must_use]
    pub fn expires_in(self, span: &str) -> Self {
        self.option("ttl", span)
    }

    /// Up to 10 tags of up to 128 characters.
    #[must_use]
    pub fn tags(self, tags: &[&str]) -> Self {
        self.option("tags", tags)
    }

    /// The caller's own data about the run, up to 32 KB of JSON.
    #[must_use]
    pub fn metadata(self, metadata: impl Serialize) -> Self {
        self.option("metadata", metadata)
    }

    /// Attempts in all, 1 to 100; wins over the task's own.
    #[must_use]
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.option("maxAttempts", attempts)
    }

    /// How long one attempt may compute, in whole seconds, up to a day; wins over the task's own.
    #[must_use]
    pub fn max_duration(self, longest: std::time::Duration) -> Self {
        self.option("maxDuration", longest.as_secs_f64())
    }

    /// The queue that carries the run; wins over the task's own.
    #[must_use]
    pub fn queue(self, name: &str) -> Self {
        self.option("queue", json!({ "name": name }))
    }

    /// The names in it of options that there are not, each with what is wrong with it.
    pub fn misnamed(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.keys().filter_map(|name| Some((name.as_str(), misnamed(name)?)))
    }

    /// Any other option, by its name on the wire.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Serialize) -> Self {
        self.0.insert(name.to_owned(), json!(value));
        self
    }
}

/// What a trigger says beside its task.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TriggerBody {
    /// What the task is given.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub payload: Json,
    /// What else is said.
    pub options: TriggerOptions,
}

impl TriggerBody {
    /// A payload without options.
    #[must_use]
    pub fn new(payload: Json) -> Self {
        Self { payload, options: TriggerOptions::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_misspelt_is_known_by_what_it_is_like() {
        for (given, wanted) in [
            ("idempotencykey", Some("idempotencyKey")),
            ("idempotency_key", Some("idempotencyKey")),
            ("idempotencyKeyTtl", Some("idempotencyKeyTTL")),
            ("idempotancyKey", Some("idempotencyKey")),
            ("key", Some("idempotencyKey")),
            ("tag", Some("tags")),
            ("max_attempt", Some("maxAttempts")),
            ("orderId", None),
            ("x", None),
            ("ü", None),
        ] {
            assert_eq!(meant(given), wanted, "{given}");
        }
    }
}
