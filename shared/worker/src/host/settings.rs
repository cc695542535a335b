//! How hosted runs wait.

use std::collections::BTreeMap;

use oncekey_core::TaskId;

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

impl Waits {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "mixed" => Some(Self::Mixed),
            "hold" => Some(Self::Hold),
            "replay" => Some(Self::Replay),
            _ => None,
        }
    }
}

/// How the runs of each task wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitSettings {
    default: Waits,
    of_task: BTreeMap<String, Waits>,
}

impl WaitSettings {
    /// Reads `mixed`, `hold` or `replay`, or a JSON object of such by task, in which `default` stands for all others.
    ///
    /// # Errors
    /// In words, when it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "ONCEKEY_WAITS={text:?}: give mixed, hold or replay, or one a task as JSON, like \
                 {{\"default\": \"mixed\", \"drip-campaign\": \"replay\"}}"
            )
        };
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        if let Some(default) = Waits::parse(text) {
            return Ok(Self { default, of_task: BTreeMap::new() });
        }
        let named: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| refuse())?;
        let named = named.into_iter().map(|(task, waits)| Some((task, Waits::parse(&waits)?)));
        let mut of_task: BTreeMap<String, Waits> = named.collect::<Option<_>>().ok_or_else(refuse)?;
        let default = of_task.remove("default").unwrap_or_default();
        Ok(Self { default, of_task })
    }

    /// How the runs of a task wait.
    #[must_use]
    pub fn of(&self, task: &TaskId) -> Waits {
        self.of_task.get(task.as_str()).copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_said_for_all_or_for_each_task() {
        let task = |id: &str| TaskId::parse(id).expect("a task");
        assert_eq!(WaitSettings::parse("").expect("none").of(&task("a")), Waits::Mixed);
        assert_eq!(WaitSettings::parse("hold").expect("one").of(&task("a")), Waits::Hold);
        let some = WaitSettings::parse(r#"{"default": "hold", "a": "replay"}"#).expect("some");
        assert_eq!((some.of(&task("a")), some.of(&task("b"))), (Waits::Replay, Waits::Hold));
        for wrong in ["suspend", "{\"a\": \"never\"}", "[]"] {
            let error = WaitSettings::parse(wrong).expect_err(wrong);
            assert!(error.contains("give mixed, hold or replay"), "{error}");
        }
    }
}
