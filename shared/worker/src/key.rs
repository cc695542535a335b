//! Idempotency keys as a task makes them.

use oncekey_core::IdempotencyKey;
use oncekey_core::key::{KeyHash, KeyOptions, Parent, Scope};

/// A key for a trigger: one text or several, and how far it reaches. Inside a task the default scope is `run`: once per
/// run of the parent, over all its attempts.
///
/// A plain text given to a trigger is a key of scope `run`, too, unless it is 64 lower-case hex characters: that is a hash
/// already, and reaches everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    parts: Vec<String>,
    scope: Scope,
    plain: bool,
}

impl Key {
    pub(crate) fn new(parts: Vec<String>) -> Self {
        Self { parts, scope: Scope::default(), plain: false }
    }

    /// Once per attempt of the parent: a retry of the parent triggers anew.
    #[must_use]
    pub fn attempt(mut self) -> Self {
        self.scope = Scope::Attempt;
        self
    }

    /// Once, whoever triggers.
    #[must_use]
    pub fn global(mut self) -> Self {
        self.scope = Scope::Global;
        self
    }

    /// The hash the key is claimed under, with what to show of it. `None` for an empty plain text, which is not a key.
    pub(crate) fn hashed(&self, parent: Parent<'_>) -> Option<IdempotencyKey> {
        let text = self.parts.join("-");
        if self.plain && text.is_empty() {
            return None;
        }
        if let Some(hash) = KeyHash::parse(&text).filter(|_| self.plain) {
            return Some(IdempotencyKey::of_hash(hash));
        }
        let hash = KeyHash::of(&self.parts, self.scope, Some(parent));
        let shown = KeyOptions::new(text, self.scope);
        Some(IdempotencyKey::of_hash(hash).displayed_as(Some(&shown)))
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self { plain: true, ..Self::new(vec![text.to_owned()]) }
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Key {
    fn from(parts: [S; N]) -> Self {
        Self::new(parts.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oncekey_core::{EnvironmentId, RequestId, RunId, TaskId};

    fn hash(key: impl Into<Key>, run: &RunId, attempt: u32) -> Option<String> {
        let key = key.into().hashed(Parent { run: run.as_str(), attempt });
        key.map(|key| key.hash.to_string())
    }

    fn a_run() -> RunId {
        let environment = EnvironmentId::parse("a/b").expect("environment");
        RunId::named(&environment, &TaskId::parse("t").expect("task"), &RequestId::fresh())
    }

    #[test]
    fn r11_to_r14_the_scope_decides_what_the_hash_is_made_of() {
        let run = a_run();
        let of = |text: String| Some(KeyHash::of(&[text], Scope::Global, None).to_string());
        assert_eq!(hash("k", &run, 2), of(format!("k-{run}")));
        assert_eq!(hash(["k", "l"], &run, 2), of(format!("k-l-{run}")));
        assert_eq!(hash(Key::from("k").attempt(), &run, 2), of(format!("k-{run}-2")));
        assert_eq!(hash(Key::from("k").global(), &run, 2), of("k".to_owned()));
    }

    #[test]
    fn r06_a_long_key_is_one_of_which_less_is_shown() {
        let (run, text) = (a_run(), "é".repeat(5_000));
        let parent = Parent { run: run.as_str(), attempt: 1 };
        let key = Key::from(text.as_str()).global().hashed(parent).expect("a key");
        assert_eq!(key.hash, KeyHash::of(&[text], Scope::Global, None));
        assert_eq!(key.display_text().chars().count(), KeyHash::MAX_CHARACTERS);
    }

    #[test]
    fn r06_an_empty_text_is_no_key_and_a_hash_is_taken_as_it_is() {
        let run = a_run();
        assert_eq!(hash("", &run, 1), None);
        let hex = "0".repeat(64);
        assert_eq!(hash(hex.as_str(), &run, 1), Some(hex.clone()));
        assert_ne!(hash([hex.as_str()], &run, 1), Some(hex));
    }
}
