//! Wait tokens: who completes them, and whether anybody who waits for one was forgotten.

use std::time::Duration;

use oncekey_core::{EnvironmentId, Error, TokenId};
use serde_json::{Value, json};

use super::made::Made;
use super::watch::{moment, text};
use super::{End, Work, World};

/// What the partitions of tokens begin with.
pub(super) const PARTITION: &str = "tokens#";
/// About how long before or after its time somebody completes a token who cuts it fine, in milliseconds.
const CUTS_FINE_MS: u64 = 4_000;
/// How far off its time may be for that.
const SOON: Duration = Duration::from_secs(60);

impl World<'_> {
    /// A token was put, or its end written.
    pub(super) fn token_written(&mut self, key: &Value) {
        let item = self.execute("GetItem", &json!({ "TableName": "runs", "Key": key }))["Item"].take();
        let id = text(key, "item");
        let output = item["output"]["S"].as_str();
        self.recorder.lock().token_written(&id, &text(&item, "status"), output);
        if self.tokens.iter().all(|token| token.id.as_str() != id) {
            let partition = text(key, "run_id");
            let environment = partition.split('#').nth(1).unwrap_or_default();
            self.tokens.push(Made {
                id: TokenId::parse(&id).expect("a token"),
                environment: EnvironmentId::parse(environment).expect("an environment"),
                timeout_at: moment(&item, "timeout_at"),
                key: key.clone(),
            });
        }
    }

    /// Has people complete any of the tokens at once, each with something else. Whether there are any, and a token.
    pub(super) fn complete_token(&mut self) -> bool {
        if self.tokens.is_empty() {
            return false;
        }
        let token = &self.tokens[self.random.usize(..self.tokens.len())];
        let (id, environment) = (token.id.clone(), token.environment.clone());
        let now = self.clock.now();
        let fine = token.timeout_at.plus(Duration::from_millis(self.random.u64(..CUTS_FINE_MS))).since(now);
        let fine = fine.saturating_sub(Duration::from_millis(CUTS_FINE_MS / 2));
        if fine < SOON && self.random.bool() {
            self.clock.advance(fine);
            self.wake_all();
        }
        for _ in 0..self.random.u32(1..=3).min(self.completions) {
            self.completions -= 1;
            let (id, environment, output) = (id.clone(), environment.clone(), self.completions.to_string());
            self.recorder.lock().note(|| format!("{id} is to be completed with {output}"));
            self.start(Work::Complete, |app| async move {
                End::Complete(oncekey_core::protocol::token::complete(&app, &environment, &id, Some(&output)).await)
            });
        }
        true
    }

    pub(super) fn completion_answered(&self, result: Result<(), Error>) {
        let mut history = self.recorder.lock();
        history.note(|| format!("who completes a token is answered {result:.60?}"));
        match result {
            // It may have expired, long after its time.
            Ok(()) | Err(Error::Aws { .. } | Error::NotFound(_)) => {}
            Err(error) => history.broken.push(format!("who completes a token is refused: {error}")),
        }
    }

    /// Nobody is at work, and no message is there to be had: who waits for a token that was completed waits for its message,
    /// or is forgotten until the token's time is over.
    pub(super) fn look_for_forgotten(&self) {
        let mut history = self.recorder.lock();
        for (run, token) in history.waits_for_completed() {
            if !self.queues.name(&token) {
                let broken = format!("I9: {run} waits for {token}, which was completed, and nobody is to tell it");
                history.broken.push(broken);
            }
        }
    }

    /// Deletes the tokens that have expired.
    pub(super) fn sweep_tokens(&mut self) {
        for token in std::mem::take(&mut self.tokens) {
            let item = self.execute("GetItem", &json!({ "TableName": "runs", "Key": token.key }))["Item"].take();
            if self.expires_at(&item).is_some_and(|at| at <= self.clock.now()) {
                self.execute("DeleteItem", &json!({ "TableName": "runs", "Key": token.key }));
                self.recorder.lock().note(|| format!("{} has expired", token.id));
            } else {
                self.tokens.push(token);
            }
        }
    }
}
