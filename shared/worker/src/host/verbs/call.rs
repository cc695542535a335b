//! A call, and how it is answered.

use std::sync::atomic::AtomicBool;

use axum::http::StatusCode;
use oncekey_core::key::KeyOptions;
use oncekey_core::{Error, IdempotencyKey};
use serde_json::{Map, Value};

use crate::call::CallError;
use crate::calls::Beside;
use crate::error::TaskError;
use crate::family::Wanted;
use crate::host::over::Over;

/// A call, as the harness marks it.
pub(super) struct Calling {
    pub(super) number: Option<u64>,
    /// When it was made, by the child's clock.
    pub(super) at: Option<i64>,
    pub(super) beside: Beside,
    /// Whether the harness was told that it waits.
    pub(super) told: AtomicBool,
    /// Where it was sent to, by whom, and of which type its body is.
    pub(super) host: Option<String>,
    pub(super) token: Option<String>,
    pub(super) kind: Option<String>,
    /// What its headers say of keys, for whoever cannot say it in the body: options, by their names.
    pub(super) of_keys: Vec<(&'static str, String)>,
}

/// Headers that win over an option, as they do outside of tasks.
pub(super) const OF_KEYS: [(&str, &str); 2] =
    [("idempotency-key-release", "idempotencyKeyRelease"), ("idempotency-key-held", "onKeyHeld")];

impl Calling {
    /// Has a trigger's body say what the headers say.
    pub(super) fn say_of_keys(&self, body: &mut Map<String, Value>) {
        if self.of_keys.is_empty() {
            return;
        }
        let options = body.entry("options").or_insert_with(|| Value::Object(Map::new()));
        if let Some(options) = options.as_object_mut() {
            let said = self.of_keys.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
            options.extend(said);
        }
    }
}

/// Takes out what a trigger says to its host alone. Whether it will be waited for.
pub(super) fn own_options(body: &mut Map<String, Value>) -> bool {
    let Some(options) = body.get_mut("options").and_then(Value::as_object_mut) else { return false };
    options.remove("parentRunId");
    options.remove("lockToVersion");
    options.remove("resumeParentOnCompletion") == Some(Value::Bool(true))
}

/// A child, as its trigger's body asks for it.
pub(super) fn wanted(task: String, body: Map<String, Value>) -> Result<Wanted, Error> {
    let options = body.get("options");
    let text = options.and_then(|options| options.get("idempotencyKey")).and_then(Value::as_str);
    let shown = options.and_then(|options| options.get("idempotencyKeyOptions"));
    let shown: Option<KeyOptions> = shown.and_then(|shown| serde_json::from_value(shown.clone()).ok());
    let key = text.filter(|text| !text.is_empty());
    let key = key.map(|text| IdempotencyKey::from_wire("options.idempotencyKey", text, shown.as_ref())).transpose()?;
    Ok(Wanted::new(task, key, &body))
}

/// An answer, or why there is none.
pub(super) type Answered = Result<(StatusCode, Value), Refused>;

pub(super) enum Refused {
    /// The call was wrong.
    Call(StatusCode, String),
    /// The run is over.
    Over(Over),
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Oncekey(error) if !error.is_transient() => Self::from(error),
            error if error.may_pass() => Self::Over(Over::Broken(TaskError::new(error.to_string()))),
            error => Self::Over(Over::Broken(TaskError::abort(error.to_string()))),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Invalid { .. } => StatusCode::BAD_REQUEST,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::KeyHeld { .. } => StatusCode::CONFLICT,
            Error::Contended(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::Call(status, error.to_string())
    }
}

pub(super) fn ok(value: Value) -> Answered {
    Ok((StatusCode::OK, value))
}

pub(super) fn refuse(status: StatusCode, why: impl Into<String>) -> Answered {
    Err(Refused::Call(status, why.into()))
}
