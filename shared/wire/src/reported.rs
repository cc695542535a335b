//! Values out of lists that may grow.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value out of a list that a newer server may have lengthened: a client that does not know it reads the rest of the
/// answer all the same. So the lists themselves can be matched without a rest by those who make the values.
///
/// ```
/// # use oncekey_wire::{Reported, RunStatus};
/// let known: Reported<RunStatus> = serde_json::from_str("\"COMPLETED\"")?;
/// assert_eq!(known, RunStatus::Completed);
/// let newer: Reported<RunStatus> = serde_json::from_str("\"PAUSED\"")?;
/// assert_eq!((newer.known(), newer.to_string().as_str()), (None, "PAUSED"));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reported<T> {
    /// One that this version knows.
    Known(T),
    /// Another, by its name on the wire.
    Unknown(String),
}

impl<T: Copy> Reported<T> {
    /// The value, if this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Reported<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Reported<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(value) if value == other)
    }
}

/// The name on the wire.
impl<T: fmt::Display> fmt::Display for Reported<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Unknown(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use crate::{Attempt, BatchReport, Family, Handle, HeldKey};

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn key(of_run: &Value) -> Value {
        let moment = "2026-01-31T09:30:00.000Z";
        let hash = "0123456789abcdef".repeat(4);
        let mut key = json!({ "key": "k", "hash": hash, "scope": "tenant", "status": "borrowed" });
        (key["runId"], key["firstTriggeredAt"], key["windowEndsAt"]) = (of_run.clone(), moment.into(), moment.into());
        key
    }

    #[test]
    fn whatever_list_a_newer_server_lengthens_its_answer_is_read_and_written_again_by_name() {
        let run = json!(format!("run_{ID}"));
        let handle: Handle =
            from_value(json!({ "id": run, "isCached": true, "idempotency": key(&run) })).expect("a handle");
        let became = handle.idempotency.expect("a key");
        assert_eq!((became.status.known(), became.status.to_string().as_str()), (None, "borrowed"));
        assert_eq!(became.scope.map(|scope| json!(scope)), Some(json!("tenant")));

        let held: HeldKey = from_value(key(&run)).expect("a held key");
        assert_eq!(held.scope.map(|scope| scope.to_string()).as_deref(), Some("tenant"));

        let moment = json!("2026-01-31T09:30:00.000Z");
        let batch = json!({ "id": format!("batch_{ID}"), "status": "HALTED", "createdAt": moment, "updatedAt": moment,
            "runCount": 1, "runs": [run], "processing": { "errors": [] } });
        let report: BatchReport = from_value(batch).expect("a batch");
        assert_eq!((report.status.known(), json!(report.status)), (None, json!("HALTED")));

        let attempt: Attempt = from_value(json!({ "number": 1, "status": "MIGRATED" })).expect("an attempt");
        assert_eq!((attempt.status.known(), json!(attempt)["status"].clone()), (None, json!("MIGRATED")));

        let family: Family = from_value(json!({ "depth": 0, "triggerFunction": "schedule" })).expect("a family");
        assert_eq!((family.trigger_function.known(), json!(family.trigger_function)), (None, json!("schedule")));
    }
}
