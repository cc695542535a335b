//! The invariants that wait tokens are held against (R93, R95).

use oncekey_core::{RunStatus, TokenId};
use oncekey_worker::{CallError, Context};
use serde_json::Value;

use crate::history::{History, Recorder};

/// What whoever waits is told of a token that nobody completed in time.
const TIMED_OUT: &str = "its time was over";
impl History {
    /// A token's item was written: how it has ended, if it has.
    pub fn token_written(&mut self, token: &str, status: &str, output: Option<&str>) {
        let end = match status {
            "COMPLETED" => output.unwrap_or("null").to_owned(),
            "TIMED_OUT" => TIMED_OUT.to_owned(),
            _ => return,
        };
        let first = self.tokens.ends.entry(token.to_owned()).or_insert_with(|| end.clone()).clone();
        if first != end {
            self.broken.push(format!("R93: the token {token} had ended with {first}, and ended with {end}"));
        }
    }

    /// The runs that wait for a token which was completed, with that.
    #[must_use]
    pub fn waits_for_completed(&self) -> Vec<(String, String)> {
        let is_completed = |token: &String| self.tokens.ends.get(token).is_some_and(|end| end != TIMED_OUT);
        let waits = |run: &String| self.statuses.get(run) == Some(&RunStatus::Waiting);
        let awaited = self.tokens.awaited.iter().filter(|(run, (_, token))| waits(run) && is_completed(token));
        awaited.map(|(run, (_, token))| (run.clone(), token.clone())).collect()
    }

    /// What the tokens break.
    pub(crate) fn token_violations(&self) -> Vec<String> {
        let unlike = |(attempt, token, told): &(String, String, String)| {
            let end = self.tokens.ends.get(token);
            (end != Some(told)).then(|| format!("R95: {attempt} was told {told} of {token}, which ended with {end:?}"))
        };
        self.tokens.told.iter().filter_map(unlike).collect()
    }
}

impl Recorder {
    /// A task is about to wait for a token, or has been told in an earlier pass.
    pub fn awaits(&self, ctx: &Context, token: &TokenId) {
        let awaited = &mut self.lock().tokens.awaited;
        let before = awaited.get(ctx.run_id().as_str()).map_or(0, |(attempt, _)| *attempt);
        // One whose attempt is over, and does not know, waits for nothing any more.
        if ctx.attempt() >= before {
            awaited.insert(ctx.run_id().to_string(), (ctx.attempt(), token.to_string()));
        }
    }

    /// A task was told how its token ended.
    pub fn token_ended(&self, ctx: &Context, token: &TokenId, ended: &Result<Value, CallError>) {
        let told = match ended {
            Ok(output) => output.to_string(),
            Err(CallError::TokenTimedOut { .. }) => TIMED_OUT.to_owned(),
            Err(_) => return,
        };
        let mut history = self.lock();
        history.note(|| format!("{} is told {told} of {token}", ctx.run_id()));
        let attempt = format!("{}/{}", ctx.run_id(), ctx.attempt());
        history.tokens.told.push((attempt, token.to_string(), told));
    }
}
