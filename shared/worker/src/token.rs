//! Wait tokens: a task makes them, and waits until somebody outside completes one.

use oncekey_core::protocol::keep::expiry;
use oncekey_core::protocol::token::{await_token, create, look};
use oncekey_core::request::token::TokenBody;
use oncekey_core::settings::PUBLIC_URL;
use oncekey_core::{Error, TokenId};
use oncekey_wire::{CreatedToken, TokenStatus};
use serde::de::DeserializeOwned;

use crate::call::{Answer, CallError, Wording, typed};
use crate::calls::Open;
use crate::decided::Decided;
use crate::gate::Pass;
use crate::invocation::Invocation;
use crate::invocation::begin::Begun;
use crate::patience::until_read;

/// What a token was completed with; or the error of one whose time was over.
pub(crate) fn completed<O: DeserializeOwned>(id: &TokenId, decided: &Decided) -> Result<O, CallError> {
    if decided.timed_out {
        return Err(CallError::TokenTimedOut { token: id.clone() });
    }
    typed(&format!("what the wait token {id} was completed with"), decided.text.as_deref().unwrap_or("null"))
}

impl Invocation {
    /// Makes a token, or finds the one that this call made before the run was suspended.
    pub(crate) async fn create_token(&self, call: Begun<'_>, body: &[u8]) -> Result<CreatedToken, CallError> {
        let (app, environment) = (&self.app, &self.run.spec.environment);
        let make = async {
            let now = app.clock.now();
            let request = TokenBody::parse(body, now)?;
            let base = app.public_url.as_ref().ok_or_else(no_url)?;
            let (token, is_cached) = create(app, environment, request, now).await?;
            let url = token.url(base, environment);
            Ok(Answer::Token(CreatedToken { id: token.id, is_cached, url }))
        };
        let answer = self.answer(&call, make).await;
        self.give(call.number, Some(call.pass)).await?;
        match answer? {
            Answer::Token(token) => Ok(token),
            _ => Err(Error::Contended("the call made no token before".into()).into()),
        }
    }

    /// How a token ends, once it has.
    pub(crate) async fn wait_for_token(&self, call: Begun<'_>, id: &TokenId) -> Result<Decided, CallError> {
        let (number, given) = (call.number, call.given);
        let waited = self.until_decided(call, id).await;
        self.give_waited(number, given, waited).await
    }

    async fn until_decided<'a>(&'a self, call: Begun<'a>, id: &TokenId) -> Result<(Decided, Pass<'a>), CallError> {
        let Begun { number, before, mut pass, pending: _pending, .. } = call;
        match before.answer {
            Some(Ok(Answer::Decided(decided))) => return Ok((decided, pass)),
            Some(Err(refusal)) => return Err(Error::from(refusal).into()),
            _ => {}
        }
        let (app, environment) = (&self.app, &self.run.spec.environment);
        let seen = self.wakes();
        let mut token = until_read(app, || look(app, environment, id)).await?;
        if token.status == TokenStatus::Waiting {
            let waiter = self.waiter(number);
            // It is registered, and its message is under way, if it was suspended in this wait.
            let sent = self.run.waits_on(&waiter);
            let due_at = token.timeout_at;
            let _open = self.open(number, Open { due_at: Some(due_at), until: due_at, seen, sent })?;
            if !sent {
                let (born, until) = (self.run.spec.created_at, expiry(due_at));
                let register = || await_token(app, &waiter, born, environment, id, until);
                let (there, item) = until_read(app, register).await?;
                self.note_expiry([item], until);
                token = there;
            }
            while token.status == TokenStatus::Waiting {
                drop(pass);
                pass = self.suspend(number).await?;
                let seen = self.wakes();
                token = until_read(app, || look(app, environment, id)).await?;
                self.looked(number, seen);
            }
        }
        let ended = || Error::Contended("the token has ended and does not say how".into());
        let decided = Decided::of(token).ok_or_else(ended)?;
        // The token's record may be gone when the task is resumed from a later wait.
        self.calls().note(number, |call| call.answer = Some(Ok(Answer::Decided(decided.clone()))));
        Ok((decided, pass))
    }
}

/// What the making of a token says, of this body and key.
pub(crate) fn wording_of_create(body: &[u8], key: Option<&str>) -> Wording {
    Wording::new("create a wait token").with(&String::from_utf8_lossy(body)).under(key)
}

/// What a wait for this token says.
pub(crate) fn wording_of_wait(id: &TokenId) -> Wording {
    Wording::new(&format!("wait for the token {id}"))
}

fn no_url() -> Error {
    Error::Unprocessable(format!(
        "this worker does not know where callers find Oncekey, and so no token's URL: set {PUBLIC_URL} to the output ApiUrl of its stack"
    ))
}
