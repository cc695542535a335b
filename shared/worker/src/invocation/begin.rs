//! How a call begins: it gets its number, and what the journal knows of it.

use std::time::Duration;

#[cfg(feature = "host")]
use oncekey_core::Error;

use crate::call::{Call, CallError, Wording};
use crate::calls::Beside;
use crate::gate::Pass;
use crate::invocation::Invocation;

/// How long a call that the journal does not have waits for those that it has to be made again, beyond the time that the
/// attempt has needed to make them.
pub(super) const UNTIL_MADE_AGAIN: Duration = Duration::from_secs(1);

/// A call that has its number.
pub(crate) struct Begun<'a> {
    pub number: u32,
    /// What the journal knows of it.
    pub before: Call,
    /// Whether the task had its answer before the run was suspended.
    pub given: bool,
    /// Keeps the run from being suspended.
    pub pass: Pass<'a>,
    /// Tells others that they are not alone.
    pub pending: Pending<'a>,
}

/// A call whose answer the task does not have yet, as long as this lives.
pub(crate) struct Pending<'a>(&'a Invocation, u32);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.calls().pending.remove(&self.1);
    }
}

impl Invocation {
    /// Numbers a call; with what it gave before the run was suspended, if it was made then.
    pub(crate) async fn begin(&self, wording: Wording) -> Result<Begun<'_>, CallError> {
        self.begin_beside(wording, Beside::Unknown, || ()).await
    }

    /// The same for a call whose maker knows what is pending beside it, and is told if it has to wait for the journal's calls
    /// to be made again.
    pub(crate) async fn begin_beside(
        &self,
        wording: Wording,
        beside: Beside,
        parked: impl Fn(),
    ) -> Result<Begun<'_>, CallError> {
        let pass = self.gate.pass().await;
        let (number, before, pending) = self.next(&wording, beside, parked).await?;
        let given = self.calls().place(number).is_ok();
        let before = before.unwrap_or_default();
        // What was done before the suspension is not done again: nobody can be late for it.
        let is_done = given || before.answer.is_some() || before.due_at.is_some();
        if !is_done {
            self.still_ours().await?;
        }
        Ok(Begun { number, before, given, pass, pending })
    }

    async fn next(
        &self,
        wording: &Wording,
        beside: Beside,
        parked: impl Fn(),
    ) -> Result<(u32, Option<Call>, Pending<'_>), CallError> {
        let give_up = self.until_made_again();
        tokio::pin!(give_up);
        loop {
            let mut made_again = std::pin::pin!(self.made_again.notified());
            made_again.as_mut().enable();
            let next = self.calls().make(wording, beside);
            if let Some((number, before)) = next {
                self.made_again.notify_waiters();
                return Ok((number, before, Pending(self, number)));
            }
            parked();
            tokio::select! {
                biased;
                () = made_again => {}
                () = &mut give_up => {
                    let last = self.calls().make_at_last(wording, beside);
                    self.made_again.notify_waiters();
                    let (number, before) = last.map_err(|(number, before)| {
                        CallError::OtherCall { number, now: wording.what.clone(), before }
                    })?;
                    return Ok((number, before, Pending(self, number)));
                }
            }
        }
    }

    /// Returns when there is no hope left that the calls of the journal are all made again.
    pub(super) async fn until_made_again(&self) {
        match self.outside.get() {
            // Whoever watches the task from outside sees when it has come to its end.
            Some(_) => self.given_up.notified().await,
            None => tokio::time::sleep(self.run.spent() + UNTIL_MADE_AGAIN).await,
        }
    }

    /// Says that the task, in which calls wait for those of the journal to be made again, will not make them.
    #[cfg(feature = "host")]
    pub(crate) fn give_up(&self) {
        self.given_up.notify_waiters();
    }

    /// What the task exchanged with others before the run was suspended, as it was recorded.
    #[cfg(feature = "host")]
    pub(crate) async fn exchanges(&self) -> Result<Option<String>, Error> {
        let Some(path) = self.calls().exchanges() else { return Ok(None) };
        let gone = || Error::NotFound(format!("{} is not in the store any more", path.as_str()));
        let stored = self.app.blobs.get(&self.run.spec.environment, &path).await?;
        stored.and_then(|stored| stored.text).ok_or_else(gone).map(Some)
    }

    /// Whether the task has had an answer that the journal does not have, or none was there: whether it is not a replay any more.
    #[cfg(feature = "host")]
    pub(crate) fn is_live(&self) -> bool {
        self.calls().is_live()
    }

    /// Whether the task has had an answer that the journal does not have.
    #[cfg(feature = "host")]
    pub(crate) fn has_gone_on(&self) -> bool {
        self.calls().has_gone_on()
    }

    pub(super) async fn all_made_again(&self) {
        loop {
            let mut made_again = std::pin::pin!(self.made_again.notified());
            made_again.as_mut().enable();
            if self.calls().all_made_again() {
                return;
            }
            made_again.await;
        }
    }
}
