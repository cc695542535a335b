//! The invariants that debounced triggers are held against (R88, R89).

use std::collections::{BTreeMap, BTreeSet};

use oncekey_core::key::KeyRelease;

use crate::history::{Answer, History};

impl History {
    /// The run that stands for the trigger of this one: itself, unless another was pushed.
    #[must_use]
    pub fn stands_for<'a>(&'a self, run: &'a str) -> &'a str {
        self.debounces.stands.get(run).map_or(run, String::as_str)
    }

    /// The names whose keys a run stands for, those keys, and which of its ends free them.
    #[must_use]
    pub fn keys_beside(&self, run: &str) -> Vec<(String, String, KeyRelease)> {
        let stands = self.debounces.stands.iter().filter(|(_, of)| *of == run);
        let key = |name: &String| {
            let (key, release) = self.debounces.keys.get(name)?;
            Some((name.clone(), key.clone(), *release))
        };
        stands.filter_map(|(name, _)| key(name)).collect()
    }

    /// What the debounced triggers break.
    pub(crate) fn debounce_violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let debounced = || self.answers.iter().filter(|answer| answer.debounced);
        let mut of_request: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for answer in debounced() {
            if answer.key.is_none() {
                of_request.entry(&answer.request).or_default().insert(&answer.run);
            }
            if self.debounces.stands.contains_key(&answer.run) {
                found.push(format!("R88: {answer:?}, and no run has that name: another stands for it"));
            }
        }
        for (request, runs) in of_request.iter().filter(|(_, runs)| runs.len() > 1) {
            found.push(format!("R89: request {request} was answered with {runs:?}"));
        }
        let payloads: BTreeMap<usize, &Answer> =
            debounced().filter_map(|answer| Some((answer.payload?, answer))).collect();
        for (number, answer) in payloads {
            let is_it = |given: &&String| self.number_given(given) == Some(number);
            let runs: Vec<&String> = self.given.keys().filter(is_it).collect();
            // A request may make a run anew once the key is free whose run it was answered with.
            let freed = |key: &String| self.separators.iter().any(|(_, of)| of == key);
            if runs.len() > 1 && !answer.key.as_ref().is_some_and(freed) {
                found.push(format!("R89: the payload {number} was executed by {runs:?}"));
            }
        }
        for (run, number) in &self.debounces.latest {
            let given = self.number_given(run);
            if given.is_some_and(|given| given != *number) {
                found.push(format!(
                    "R88, R89: {run} was pushed with the payload {number} last, and was given {given:?}"
                ));
            }
        }
        found
    }

    /// The number of the payload that a run was given.
    fn number_given(&self, run: &str) -> Option<usize> {
        self.given.get(run)?["number"].as_u64().and_then(|number| usize::try_from(number).ok())
    }
}
