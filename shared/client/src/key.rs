//! Idempotency keys, hashed as the official client hashes them.

use oncekey_wire::{KeyHash, Parent, Scope};

use crate::error::Error;

/// A key: one text or several, or the hash of one. `Key::from("order-42")`, `Key::from(["order", "42"]).global()`.
///
/// To name a key that a task triggered with, say in which run, and for scope `attempt` in which attempt:
/// `Key::from("email").in_run("run_…")`.
///
/// ```
/// use oncekey_client::{Key, Scope};
///
/// let anywhere = Key::from(["order", "42"]).global();
/// assert_eq!(anywhere.text().as_deref(), Some("order-42"));
/// let of_a_task = Key::from("email").scope(Scope::Attempt).in_run("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").in_attempt(2);
/// assert_ne!(of_a_task.hash(), Key::from("email").global().hash());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    parts: Vec<String>,
    scope: Scope,
    is_text: bool,
    parent: Option<String>,
    attempt: Option<u32>,
}

impl Key {
    fn new(parts: Vec<String>, is_text: bool) -> Self {
        Self { parts, scope: Scope::default(), is_text, parent: None, attempt: None }
    }

    /// Of scope `global`.
    #[must_use]
    pub fn global(self) -> Self {
        self.scope(Scope::Global)
    }

    /// Of another scope; `run` unless told.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// As it was made inside this run.
    #[must_use]
    pub fn in_run(mut self, run: impl Into<String>) -> Self {
        self.parent = Some(run.into());
        self
    }

    /// As it was made inside this attempt of the run, from 1.
    #[must_use]
    pub fn in_attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// The caller's text: the parts joined with `-`. `None` for a hash.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.given_hash().is_none().then(|| self.parts.join("-"))
    }

    /// The scope.
    #[must_use]
    pub fn get_scope(&self) -> Scope {
        self.scope
    }

    /// A plain text of 64 lower-case hex characters is a hash already.
    fn given_hash(&self) -> Option<KeyHash> {
        match self.parts.as_slice() {
            [text] if self.is_text => KeyHash::parse(text),
            _ => None,
        }
    }

    /// An empty text is not a key.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_text && self.parts.iter().all(String::is_empty)
    }

    /// The hash of a key that is made here, outside any task; or, with [`Key::in_run`], of one made inside a task, in its
    /// first attempt unless [`Key::in_attempt`] says another.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let parent = self.parent.as_deref().map(|run| Parent { run, attempt: self.attempt.unwrap_or(1) });
        self.given_hash().unwrap_or_else(|| KeyHash::of(&self.parts, self.scope, parent))
    }

    /// The hash of a key that was triggered with somewhere, to reset it or look it up (R41).
    pub(crate) fn hash_elsewhere(&self) -> Result<KeyHash, Error> {
        let needs = |missing| Err(Error::KeyNeeds { scope: self.scope, missing });
        match (self.scope, &self.parent, self.attempt) {
            _ if self.given_hash().is_some() => Ok(self.hash()),
            (Scope::Global, _, _) | (Scope::Run, Some(_), _) | (Scope::Attempt, Some(_), Some(_)) => Ok(self.hash()),
            (Scope::Run, None, _) => {
                needs("its id with .in_run(…), or say .global() if it was triggered outside a task")
            }
            (Scope::Attempt, None, _) => needs("its id with .in_run(…) and the attempt with .in_attempt(…)"),
            (Scope::Attempt, Some(_), None) => needs("the attempt with .in_attempt(…)"),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::new(vec![text.to_owned()], true)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::new(vec![text], true)
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Key {
    fn from(parts: [S; N]) -> Self {
        Self::new(parts.into_iter().map(Into::into).collect(), false)
    }
}

impl From<Vec<String>> for Key {
    fn from(parts: Vec<String>) -> Self {
        Self::new(parts, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors made by the official client: see the `source` field in the file.
    const GOLDEN: &str = include_str!("../../../tests/golden/idempotency-keys.json");

    #[test]
    fn r05_hashes_equal_the_official_clients() {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).expect("golden file");
        for vector in golden["vectors"].as_array().expect("vectors") {
            let parts: Vec<String> = match &vector["key"] {
                serde_json::Value::Array(parts) => {
                    parts.iter().map(|part| part.as_str().expect("part").to_owned()).collect()
                }
                key => vec![key.as_str().expect("key").to_owned()],
            };
            let scope = match vector["scope"].as_str() {
                Some("attempt") => Scope::Attempt,
                Some("global") => Scope::Global,
                _ => Scope::Run,
            };
            let mut key = Key::from(parts).scope(scope);
            if let Some(run) = vector["parentRunId"].as_str() {
                key = key.in_run(run).in_attempt(vector["attemptNumber"].as_u64().expect("attempt") as u32);
            }
            assert_eq!(key.hash().as_str(), vector["hash"].as_str().expect("hash"), "{vector}");
        }
    }

    #[test]
    fn r41_a_key_made_in_a_task_is_named_with_its_run_and_attempt() {
        let error = |key: Key| key.hash_elsewhere().expect_err("incomplete").to_string();
        let run = "a key of scope run was hashed with the run it was triggered from: give its id with .in_run(…), or say .global() if it was triggered outside a task";
        assert_eq!(error(Key::from("k")), run);
        assert!(error(Key::from("k").scope(Scope::Attempt)).contains(".in_run(…) and the attempt with .in_attempt(…)"));
        assert!(
            error(Key::from("k").scope(Scope::Attempt).in_run("run_1"))
                .ends_with("give the attempt with .in_attempt(…)")
        );
        assert!(Key::from("k").in_run("run_1").hash_elsewhere().is_ok());
        let hash = Key::from("k").global().hash();
        assert_eq!(Key::from(hash.as_str()).hash_elsewhere().expect("a hash says it all"), hash);
    }
}
