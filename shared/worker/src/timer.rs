//! Waiting for a moment.

use std::time::Duration;

<<<<<<< HEAD
use oncekey_core::protocol::wait::await_time;
use oncekey_core::queue::message::RunMessage;
use oncekey_core::store::WaitRecord;
=======
>>>>>>> 0a2da0c (Keep waiters, waits, calls and ends as items of their own, none of which expires before its run has ended)
use oncekey_core::{Error, Timestamp};

use crate::call::CallError;
use crate::calls::Open;
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

    async fn wait(&self, call: Begun<'_>, due: impl FnOnce(Timestamp) -> Timestamp) -> Result<(), CallError> {
        let Begun { number, before, given, pass } = call;
        if given || matches!(before.answer, Some(Err(_))) {
            return before
                .answer
                .map_or(Ok(()), |answer| answer.map(drop))
                .map_err(|refusal| Error::from(refusal).into());
        }
        let clock = &self.app.clock;
        let journalled = before.due_at.or(self.journal.waits.get(&number).and_then(|wait| wait.due_at));
        let due_at = journalled.unwrap_or_else(|| due(clock.now()));
        if journalled.is_none() && due_at.since(clock.now()) > MAX_WAIT {
            return Err(Error::invalid("wait", "a wait is at most 365 days").into());
        }
        if due_at.since(clock.now()) < IN_PLACE {
            clock.sleep_until(due_at).await;
            return Ok(());
        }
        if journalled.is_none() {
            self.calls().note(number, |call| call.due_at = Some(due_at));
        }
<<<<<<< HEAD
        let mut is_sent = journalled.is_none();
        while app.clock.now() < due_at {
            // Whoever woke the run before its time, by a clock that was ahead, was the last message of it.
            if !std::mem::take(&mut is_sent) {
                app.queues.send_run(&RunMessage::wake(&waiter, &self.run.spec.queue, Some(due_at))).await?;
            }
            self.suspend(&waiter, until).await?;
=======
        let open = Open { due_at: Some(due_at), until: due_at, sent: journalled.is_some() };
        let _open = self.open(number, open)?;
        drop(pass);
        loop {
            let seen = self.wakes();
            if clock.now() >= due_at {
                return Ok(());
            }
            self.suspend(seen).await?;
>>>>>>> 0a2da0c (Keep waiters, waits, calls and ends as items of their own, none of which expires before its run has ended)
        }
    }
}
