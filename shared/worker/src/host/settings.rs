//! What is set for all hosted tasks, or for each.

use std::collections::BTreeMap;

use oncekey_core::TaskId;
use serde_json::Value;

/// What becomes of a run that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// It is suspended and started again from the top, unless it did what would be done twice: then it is held in place for as
    /// long as the invocation lasts.
    #[default]
    Mixed,
    /// It is held in place.
    Hold,
    /// It is suspended, whatever it did.
    Replay,
}

/// What becomes of what a task fetches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetches {
    /// It would be done twice, so it keeps the run from being suspended.
    #[default]
    Effects,
    /// It is recorded, and answered from there when the run is started again.
    Recorded,
}

/// What can be set for each task by itself.
pub trait PerTask: Copy + Default {
    /// The environment variable.
    const VARIABLE: &str;
    /// What it may be, and an example with a task's own.
    const GIVE: &str;

    /// Reads one value.
    fn read(text: &str) -> Option<Self>;
}

impl PerTask for Waits {
    const VARIABLE: &str = "ONCEKEY_WAITS";
    const GIVE: &str =
        r#"mixed, hold or replay, or one a task as JSON, like {"default": "mixed", "drip-campaign": "replay"}"#;

    fn read(text: &str) -> Option<Self> {
        match text {
            "mixed" => Some(Self::Mixed),
            "hold" => Some(Self::Hold),
            "replay" => Some(Self::Replay),
            _ => None,
        }
    }
}

impl PerTask for Fetches {
    const VARIABLE: &str = "ONCEKEY_RECORD_FETCH";
    const GIVE: &str = r#"1 or 0, or one a task as JSON, like {"default": 1, "drip-campaign": 0}"#;

    fn read(text: &str) -> Option<Self> {
        match text {
            "1" | "true" => Some(Self::Recorded),
            "0" | "false" => Some(Self::Effects),
            _ => None,
        }
    }
}

/// What is set for all tasks, and for some by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting<V> {
    default: V,
    of_task: BTreeMap<String, V>,
}

impl<V: PerTask> Setting<V> {
    /// Reads a value, or a JSON object of values by task, in which `default` stands for all others.
    ///
    /// # Errors
    /// In words, when it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || format!("{}={text:?}: give {}", V::VARIABLE, V::GIVE);
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        if let Some(default) = V::read(text) {
            return Ok(Self { default, of_task: BTreeMap::new() });
        }
        let named: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|_| refuse())?;
        let read = |value: Value| value.as_str().map_or_else(|| V::read(&value.to_string()), V::read);
        let named = named.into_iter().map(|(task, value)| {
            TaskId::parse(&task).ok()?;
            Some((task, read(value)?))
        });
        let mut of_task: BTreeMap<String, V> = named.collect::<Option<_>>().ok_or_else(refuse)?;
        let default = of_task.remove("default").unwrap_or_default();
        Ok(Self { default, of_task })
    }

    /// What the environment says.
    ///
    /// # Errors
    /// In words, when it is no such setting.
    pub fn from_env() -> Result<Self, String> {
        Self::parse(&std::env::var_os(V::VARIABLE).unwrap_or_default().to_string_lossy())
    }

    /// What is set for a task.
    #[must_use]
    pub fn of(&self, task: &TaskId) -> V {
        self.of_task.get(task.as_str()).copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_said_for_all_or_for_each_task() {
        let task = |id: &str| TaskId::parse(id).expect("a task");
        let parse = Setting::<Waits>::parse;
        assert_eq!(parse("").expect("none").of(&task("a")), Waits::Mixed);
        assert_eq!(parse("hold").expect("one").of(&task("a")), Waits::Hold);
        let some = parse(r#"{"default": "hold", "a": "replay"}"#).expect("some");
        assert_eq!((some.of(&task("a")), some.of(&task("b"))), (Waits::Replay, Waits::Hold));
        for wrong in ["suspend", "{\"a\": \"never\"}", "{\"a\": 1}", "{\"bad id!\": \"hold\"}", "[]", "\u{fffd}"] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.starts_with("ONCEKEY_WAITS=") && error.contains("give mixed, hold or replay"), "{error}");
        }
    }

    #[test]
    fn fetches_are_recorded_for_all_or_for_some_tasks() {
        let task = |id: &str| TaskId::parse(id).expect("a task");
        let parse = Setting::<Fetches>::parse;
        assert_eq!(parse("").expect("none").of(&task("a")), Fetches::Effects);
        assert_eq!(parse("1").expect("one").of(&task("a")), Fetches::Recorded);
        for some in [r#"{"default": 1, "a": 0}"#, r#"{"default": true, "a": false}"#, r#"{"default": "1", "a": "0"}"#] {
            let some = parse(some).expect("some");
            assert_eq!((some.of(&task("a")), some.of(&task("b"))), (Fetches::Effects, Fetches::Recorded));
        }
        for wrong in ["yes", "{\"a\": 2}"] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.starts_with("ONCEKEY_RECORD_FETCH=") && error.contains("give 1 or 0"), "{error}");
        }
    }
}
