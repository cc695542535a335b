//! How the task gets a call's answer: on a resume what it had before, and in the order in which it had it.

use std::sync::atomic::{AtomicUsize, Ordering};

use oncekey_core::Error;

use crate::call::{Answer, CallError, Refusal};
use crate::gate::Pass;
use crate::invocation::begin::{Begun, UNTIL_MADE_AGAIN};
use crate::invocation::{Invocation, within_step};

impl Invocation {
    /// The answer of a call: the one that it had before the run was suspended, or the one that `make` gets now.
    pub(crate) async fn answer(
        &self,
        begun: &Begun<'_>,
        make: impl Future<Output = Result<Answer, CallError>>,
    ) -> Result<Answer, CallError> {
        if let Some(answer) = begun.before.answer.clone() {
            return answer.map_err(|refusal| Error::from(refusal).into());
        }
        if begun.given {
            return Ok(Answer::Done);
        }
        let answer = make.await;
        let noted = match &answer {
            Ok(answer) => Ok(answer.clone()),
            Err(CallError::Oncekey(error)) => Err(Refusal::of(error)),
            // What the task makes of its own values it makes of them again.
            Err(_) => return answer,
        };
        self.calls().note(begun.number, |call| call.answer = Some(noted));
        answer
    }

    /// Lets the task have the answer of a call: on a resume in the order in which it had them, so that whatever it does
    /// with several at once comes out as before. Until then the run cannot be suspended: the answer would have to wait for
    /// what the others wait for.
    ///
    /// What a step calls is part of the step: once that is journalled, nobody makes it again.
    ///
    /// # Errors
    /// [`CallError::OtherCall`] when the task does not make a call again whose answer it had before this one.
    pub(crate) async fn give(&self, number: u32, _pass: Option<Pass<'_>>) -> Result<(), CallError> {
        if within_step() {
            return Ok(());
        }
        let place = self.calls().place(number);
        let (Ok(turn) | Err(turn)) = place;
        self.until_given(number, turn).await?;
        if place.is_err() {
            // What stands beside this call makes its own again first: it was there before this answer.
            let _ = tokio::time::timeout(self.run.spent() + UNTIL_MADE_AGAIN, self.all_made_again()).await;
        }
        match place {
            Ok(turn) if *self.given.borrow() == turn => {
                self.calls().give(number);
                self.given.send_modify(|given| *given += 1);
            }
            Ok(_) => {}
            Err(_) => self.calls().give(number),
        }
        self.made_again.notify_waiters();
        Ok(())
    }

    /// Returns when the task has had the answers that it had before the one of this turn, which call `number` is to get.
    async fn until_given(&self, number: u32, turn: usize) -> Result<(), CallError> {
        let mut given = self.given.subscribe();
        if *given.borrow() >= turn {
            return Ok(());
        }
        let _held_back = HeldBack::of(&self.held_back);
        tokio::select! {
            biased;
            // The sender lives as long as this does.
            _ = given.wait_for(|given| *given >= turn) => Ok(()),
            () = self.until_made_again() => {
                let missing = *self.given.borrow();
                let calls = self.calls();
                let (what, (missing, before)) = (calls.what(number), calls.at(missing));
                Err(CallError::OtherCall { number: missing, now: what, before })
            }
        }
    }

    /// Whether an answer waits for one that the task had before it.
    #[cfg(feature = "host")]
    pub(crate) fn holds_back(&self) -> bool {
        self.held_back.load(Ordering::SeqCst) > 0
    }

    /// Whether the answer of a call has to wait for one that the task had before it.
    #[cfg(feature = "host")]
    pub(crate) fn is_ahead(&self, number: u32) -> bool {
        self.calls().place(number).is_ok_and(|turn| turn > *self.given.borrow())
    }

    /// The same for what came of a call's wait: a failure is its answer from now on.
    pub(crate) async fn give_waited<'a, T>(
        &'a self,
        number: u32,
        given: bool,
        waited: Result<(T, Pass<'a>), CallError>,
    ) -> Result<T, CallError> {
        if let Err(CallError::Oncekey(error)) = &waited
            && !given
        {
            self.calls().note(number, |call| call.answer = Some(Err(Refusal::of(error))));
        }
        let (end, pass) = match waited {
            Ok((end, pass)) => (Ok(end), Some(pass)),
            Err(error) => (Err(error), None),
        };
        self.give(number, pass).await?;
        end
    }
}

/// Counts an answer that waits, as long as this lives.
struct HeldBack<'a>(&'a AtomicUsize);

impl<'a> HeldBack<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
