//! Waiting for a moment.

use std::time::Duration;

use oncekey_core::{Error, Timestamp};

use crate::call::CallError;
use crate::calls::Open;
use crate::gate::Pass;
use crate::invocation::{Begun, Invocation};

/// A wait shorter than this is spent in place: suspending costs three writes and a new invocation.
const IN_PLACE: Duration = Duration::from_secs(5);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Invocation {
    /// Waits until `due`, which is asked once: a resume finds it in the journal.
    pub(crate) async fn wait_until(
        &self,
        what: &str,
        due: impl FnOnce(Timestamp) -> Timestamp,
    ) -> Result<(), CallError> {
        let call = self.begin(what).await?;
        let (number, given) = (call.number, call.given);
        let waited = self.wait(call, due).await;
        self.told(number, given, waited).await
    }

    async fn wait<'a>(
        &'a self,
        call: Begun<'a>,
        due: impl FnOnce(Timestamp) -> Timestamp,
    ) -> Result<((), Pass<'a>), CallError> {
        let Begun { number, before, given, mut pass } = call;
        if let Some(Err(refusal)) = before.answer {
            return Err(Error::from(refusal).into());
        }
        if given {
            return Ok(((), pass));
        }
        let clock = &self.app.clock;
        let journalled = before.due_at.or(self.journal.waits.get(&number).and_then(|wait| wait.due_at));
        let due_at = journalled.unwrap_or_else(|| due(clock.now()));
        if journalled.is_none() && due_at.since(clock.now()) > MAX_WAIT {
            return Err(Error::invalid("wait", "a wait is at most 365 days").into());
        }
        if due_at.since(clock.now()) < IN_PLACE {
            clock.sleep_until(due_at).await;
            return Ok(((), pass));
        }
        if journalled.is_none() {
            self.calls().note(number, |call| call.due_at = Some(due_at));
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
