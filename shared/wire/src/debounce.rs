//! Debounce, as those who trigger ask for it.

use serde::Serialize;

/// Has a run start a while after the latest trigger of a debounce key, however many come before: each pushes the start of the one
/// run that is delayed. Values are checked where they are received.
///
/// ```
/// use oncekey_wire::Debounce;
///
/// let once_they_are_done_typing = Debounce::new("document-42", "30s").trailing().max_delay("10m");
/// # let _ = once_they_are_done_typing;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Debounce {
    key: String,
    delay: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_delay: Option<String>,
}

impl Debounce {
    /// Under a key of 1 to 512 characters, of a task in an environment; started this span after the latest trigger, from `1s` to
    /// `365d`. The run has the payload of the first.
    #[must_use]
    pub fn new(key: &str, delay: &str) -> Self {
        Self { key: key.to_owned(), delay: delay.to_owned(), mode: None, max_delay: None }
    }

    /// The run has the payload of the latest trigger, with its metadata, tags, `maxAttempts`, `maxDuration` and `machine`.
    #[must_use]
    pub fn trailing(self) -> Self {
        Self { mode: Some("trailing"), ..self }
    }

    /// Starts the run no later than this span after its first trigger: a push beyond makes another run.
    #[must_use]
    pub fn max_delay(self, span: &str) -> Self {
        Self { max_delay: Some(span.to_owned()), ..self }
    }
}
