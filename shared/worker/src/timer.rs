//! Waiting for a moment.

use std::time::Duration;

use oncekey_core::{Error, Timestamp};

use crate::call::{CallError, Wording};
use crate::calls::Open;
use crate::gate::Pass;
use crate::invocation::Invocation;
use crate::invocation::begin::Begun;

/// A wait shorter than this is spent in place: suspending costs three writes and a new invocation.
const IN_PLACE: Duration = Duration::from_secs(5);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A wait for a moment, which stands.
pub(crate) struct Timer<'a> {
    pub call: Begun<'a>,
    /// When it is over.
    pub due_at: Timestamp,
}

impl Invocation {
    /// Waits until `due`, which is asked once: a resume finds it in the journal.
    pub(crate) async fn wait_until(
        &self,
        wording: Wording,
        due: impl FnOnce(Timestamp) -> Timestamp,
    ) -> Result<(), CallError> {
        let call = self.begin(wording).await?;
        let timer = self.set_timer(call, due).await?;
        self.wait_for_timer(timer).await
    }

    /// Notes until when a call waits.
    pub(crate) async fn set_timer<'a>(
        &'a self,
        call: Begun<'a>,
        due: impl FnOnce(Timestamp) -> Timestamp,
    ) -> Result<Timer<'a>, CallError> {
        let Begun { number, before, .. } = &call;
        let refused = match &before.answer {
            Some(Err(refusal)) => Some(Error::from(refusal.clone())),
            _ => None,
        };
        let now = self.app.clock.now();
        let journalled = before.due_at.or(self.journal.waits.get(number).and_then(|wait| wait.due_at));
        let due_at = journalled.unwrap_or_else(|| due(now));
        let too_long = journalled.is_none() && due_at.since(now) > MAX_WAIT;
        let refused = refused.or(too_long.then(|| Error::invalid("wait", "a wait is at most 365 days")));
        if let Some(error) = refused {
            return self.give_waited(*number, call.given, Err(error.into())).await;
        }
        if journalled.is_none() && due_at.since(now) >= IN_PLACE {
            self.calls().note(*number, |call| call.due_at = Some(due_at));
        }
        Ok(Timer { call, due_at })
    }

    /// Waits until it is over.
    pub(crate) async fn wait_for_timer(&self, timer: Timer<'_>) -> Result<(), CallError> {
        let (number, given) = (timer.call.number, timer.call.given);
        let waited = self.wait(timer).await;
        self.give_waited(number, given, waited).await
    }

    async fn wait<'a>(&'a self, timer: Timer<'a>) -> Result<((), Pass<'a>), CallError> {
        let Timer { call: Begun { number, given, mut pass, pending: _pending, .. }, due_at } = timer;
        if given {
            return Ok(((), pass));
        }
        let clock = &self.app.clock;
        if due_at.since(clock.now()) < IN_PLACE {
            clock.sleep_until(due_at).await;
            return Ok(((), pass));
        }
        // Its message is under way if it was suspended in this wait: one that was let drop before that has none.
        let sent = self.run.waits_on(&self.waiter(number));
        let open = Open { due_at: Some(due_at), until: due_at, seen: self.wakes(), sent };
        let _open = self.open(number, open)?;
        loop {
            let seen = self.wakes();
            if clock.now() >= due_at {
                return Ok(((), pass));
            }
            self.looked(number, seen);
            drop(pass);
            pass = self.suspend(number).await?;
        }
    }
}
