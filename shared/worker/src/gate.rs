//! The gate of an invocation: calls pass it one beside the other, and a suspension only when no call is under way.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Keeps a run from being suspended while a call is between its number and its place in the journal.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    lock: RwLock<()>,
    left: Notify,
    /// Passes so far.
    passes: AtomicU64,
}

/// A call that is under way.
#[derive(Debug)]
pub(crate) struct Pass<'a>(Option<RwLockReadGuard<'a, ()>>, &'a Notify);

/// A suspension that is under way.
#[derive(Debug)]
pub(crate) struct Shut<'a>(Option<RwLockWriteGuard<'a, ()>>, &'a Notify);

impl Gate {
    /// Lets a call in, once no suspension is under way.
    pub(crate) async fn pass(&self) -> Pass<'_> {
        self.passes.fetch_add(1, Ordering::SeqCst);
        Pass(Some(self.lock.read().await), &self.left)
    }

    /// Shuts the gate behind the last call that is under way. It does not queue: calls go on coming until then, or one that
    /// waits for another would wait for ever.
    pub(crate) async fn shut(&self) -> Shut<'_> {
        loop {
            // What became ready together with whoever asks makes its next call first; so does what stands beside whoever has
            // asked, was not awaited while calls came and went, and is awaited again.
            let passes = self.passes.load(Ordering::SeqCst);
            tokio::task::yield_now().await;
            if self.passes.load(Ordering::SeqCst) != passes {
                continue;
            }
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if let Ok(guard) = self.lock.try_write() {
                return Shut(Some(guard), &self.left);
            }
            left.await;
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
        self.1.notify_waiters();
    }
}

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
        self.1.notify_waiters();
    }
}
