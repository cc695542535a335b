//! Wait tokens that a task in a child makes, and waits for.

use std::collections::VecDeque;

use axum::body::Bytes;
use oncekey_core::{Error, Timestamp, TokenId};
use serde_json::{Map, Value, json};

use crate::call::CallError;
use crate::host::verbs::call::{Answered, Calling, ok};
use crate::host::verbs::state::Verbs;
use crate::invocation::lock;
use crate::token::{wording_of_create, wording_of_wait};

impl Verbs<'_> {
    pub(super) async fn create_token(&self, body: &Bytes, call: &Calling) -> Answered {
        // What cannot be read is refused when the token is made.
        let said: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        let mut wording = wording_of_create(body, text("idempotencyKey"));
        // A date is another when the task is run again, and as far away.
        if let Some(date) = text("timeout").and_then(|text| Timestamp::parse(text).ok()) {
            let distance = self.distance(date, call);
            let rest =
                Map::from_iter(said.iter().filter(|(name, _)| *name != "timeout").map(|(n, v)| (n.clone(), v.clone())));
            wording = wording.with(&format!("{} {distance} s", Value::Object(rest)));
        }
        let begun = self.begin(wording, call).await?;
        ok(json!(self.inv.create_token(begun, body).await?))
    }

    /// A wait for a token is about to begin: the child says so once more when it waits.
    pub(super) async fn begin_token(&self, id: &str, call: &Calling) -> Answered {
        let token = TokenId::parse(id).map_err(|_| Error::NotFound(format!("there is no wait token {id:?}")))?;
        let begun = self.begin(wording_of_wait(&token), call).await?;
        lock(&self.state).tokens.entry(token).or_default().push_back(begun);
        ok(json!({ "success": true }))
    }

    /// Waits for a token, if that is what `waitpoint` is.
    pub(super) async fn wait_for_token(&self, waitpoint: &str) -> Result<Option<Value>, CallError> {
        let Ok(token) = TokenId::parse(waitpoint) else { return Ok(None) };
        let Some(begun) = lock(&self.state).tokens.get_mut(&token).and_then(VecDeque::pop_front) else {
            return Ok(None);
        };
        let decided = self.inv.wait_for_token(begun, &token).await?;
        let mut told = json!({ "ok": !decided.timed_out, "id": token });
        if let Some(text) = decided.text {
            told["output"] = text.into();
            told["outputType"] = "application/json".into();
        }
        Ok(Some(told))
    }
}
