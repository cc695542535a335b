//! Waiting for a moment.

use std::time::Duration;

use oncekey_core::protocol::wait::await_time;
use oncekey_core::queue::message::RunMessage;
use oncekey_core::store::WaitRecord;
use oncekey_core::{Error, Timestamp};

use crate::call::CallError;
use crate::invocation::{Invocation, KEPT_AFTER};

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
        let (number, before) = self.next_call(what.to_owned()).await?;
        let app = &self.app;
        let now = app.clock.now();
        let journalled = self.journal.waits.get(&number);
        let due_at = match journalled.and_then(|wait| wait.due_at) {
            Some(due_at) => due_at,
            // Made before another wait, in place: it is over.
            None if before.is_some() => return Ok(()),
            None => due(now),
        };
        if due_at.since(now) > MAX_WAIT {
            let message = "a wait is at most 365 days".to_owned();
            return Err(Error::invalid("wait", message).into());
        }
        if due_at.since(now) < IN_PLACE {
            app.clock.sleep_until(due_at).await;
            return Ok(());
        }
        let waiter = self.waiter(number);
        let until = due_at.plus(KEPT_AFTER).max(self.run.spec.kept_until());
        if journalled.is_none() {
            let record = WaitRecord { calls: self.calls_so_far(number)?, pending: Vec::new(), due_at: Some(due_at) };
            await_time(app, &waiter, &self.run.spec.queue, record, until).await?;
        }
        let mut is_sent = journalled.is_none();
        while app.clock.now() < due_at {
            // Whoever woke the run before its time, by a clock that was ahead, was the last message of it.
            if !std::mem::take(&mut is_sent) {
                app.queues.send_run(&RunMessage::wake(&waiter, &self.run.spec.queue, Some(due_at))).await?;
            }
            self.suspend(&waiter, until).await?;
        }
        Ok(())
    }
}
