//! What was seen of debounced triggers and of wait tokens.

use std::collections::BTreeMap;

use oncekey_core::key::KeyRelease;

/// What a token's id begins with.
const PREFIX: &str = "waitpoint_";
/// How long an id is.
const ID: usize = PREFIX.len() + 32;

/// What was seen of debounced triggers.
#[derive(Debug, Default)]
pub struct Debounces {
    /// Under the name of each run that was not made because its trigger pushed another: that other.
    pub stands: BTreeMap<String, String>,
    /// The key of each such name, and which ends of the other run free it.
    pub keys: BTreeMap<String, (String, KeyRelease)>,
    /// The number of the payload that each run was pushed with last, by a trigger whose payload replaces the one that is there.
    pub latest: BTreeMap<String, usize>,
}

/// What was seen of wait tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    /// How each token ended, as it is told.
    pub ends: BTreeMap<String, String>,
    /// The token that each run waits for, or is about to, and in which attempt.
    pub awaited: BTreeMap<String, (u32, String)>,
    /// What each attempt was told of which token.
    pub(crate) told: Vec<(String, String, String)>,
    /// The ids, in the order in which they were noted: they are random, and a trace is to be the same again.
    names: Vec<String>,
}

impl Tokens {
    /// A line in which each token's id is its number.
    pub(crate) fn named(&mut self, mut line: String) -> String {
        while let Some(at) = line.find(PREFIX) {
            let end = line.len().min(at + ID);
            let id = line[at..end].to_owned();
            let number = self.names.iter().position(|name| *name == id).unwrap_or_else(|| {
                self.names.push(id);
                self.names.len() - 1
            });
            line.replace_range(at..end, &format!("token {number}"));
        }
        line
    }
}
