//! Patience: while an invocation holds a run and has time left, what fails behind it for a passing reason is asked again. To
//! give up would cost the run an attempt in which its task never ran, or ran for nothing.

use std::time::Duration;

use oncekey_core::{App, Error, Timestamp};

/// The first pause; each next is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What `ask` answers, asked again until `stop_at` if that may help.
///
/// # Errors
/// Those of `ask`.
pub(crate) async fn patiently<T, F>(app: &App, stop_at: Timestamp, mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Err(error) if error.is_transient() && stop_at.since(app.clock.now()) > pause => {
                tracing::warn!(%error, "asked again while there is time");
            }
            answer => return answer,
        }
        // Real time, whatever the clock says: this waits for somebody else.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// What `read` answers, which must be such that it may be asked again: asked until it answers, or the attempt is ended by its
/// time. A task is told what its calls gave, and never that it could not be read just now.
///
/// # Errors
/// Those of `read` that asking again does not mend.
pub(crate) async fn until_read<T, F>(app: &App, read: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    patiently(app, Timestamp::from_millis(i64::MAX), read).await
}
