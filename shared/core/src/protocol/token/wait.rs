//! Runs that wait for a token.
//!
//! A run that waits registers with the token, and only then looks at it; it is suspended with a message that comes when the
//! token's time is over, and whoever finds that by its clock writes it before it believes it. Whoever completes the token has
//! sent a message before, whose handler sees to it that the token is decided, and then wakes all who are registered.

use futures_util::{StreamExt, stream};
use oncekey_wire::{EnvironmentId, TokenId, TokenStatus};

use super::{complete_now, find, unknown};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::wait::{AT_ONCE, PAGE, PAGES, wake};
use crate::queue::batch::Disposition;
use crate::queue::token::{TokenEvent, TokenMessage};
use crate::run::Run;
use crate::run::waiter::Waiter;
use crate::store::{Registration, TokenWritten};
use crate::token::StoredToken;

/// A token, decided if its time is over by our clock: then that is written, unless it ended before.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn look(app: &App, environment: &EnvironmentId, id: &TokenId) -> Result<StoredToken, Error> {
    let token = find(app, environment, id).await?;
    decided(app, environment, token, app.clock.now()).await
}

async fn decided(
    app: &App,
    environment: &EnvironmentId,
    token: StoredToken,
    now: Timestamp,
) -> Result<StoredToken, Error> {
    if token.status != TokenStatus::Waiting || token.status_at(now) == TokenStatus::Waiting {
        return Ok(token);
    }
    match app.store.time_out_token(environment, &token.id).await? {
        TokenWritten::Now => {
            tracing::info!(%environment, token = %token.id, "wait token timed out");
            Ok(StoredToken { status: TokenStatus::TimedOut, ..token })
        }
        TokenWritten::Before(there) => Ok(*there),
        TokenWritten::Gone => Err(unknown(&token.id)),
    }
}

/// Registers `waiter`, of a run made at `born`, with a token that waits, and then looks at it. With the journal's new items, which
/// last until `until`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn await_token(
    app: &App,
    waiter: &Waiter,
    born: Timestamp,
    environment: &EnvironmentId,
    id: &TokenId,
    until: Timestamp,
) -> Result<(StoredToken, String), Error> {
    let item = app.store.put_token_wait(waiter, born, id, until).await?;
    app.store.register_with_token(waiter, born, id, until).await?;
    Ok((look(app, environment, id).await?, item))
}

/// Carries out a completion's message: sees that its token is decided, and wakes those who wait for it, all, or as many as one
/// invocation should. Done twice, it finds nobody.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; to be done again, when it goes on with those that are left.
pub async fn tell(app: &App, event: &TokenEvent) -> Result<Disposition, Error> {
    let TokenEvent { environment, token: id, output, .. } = event;
    let Some(token) = app.store.token(environment, id).await? else {
        tracing::warn!(%environment, token = %id, "a wait token was completed that is not there any more");
        return Ok(Disposition::Done);
    };
    let now = app.clock.now();
    if token.status_at(now) == TokenStatus::Waiting {
        // Whoever sent this died before it wrote it, or is about to find it written.
        complete_now(app, environment, id, output.as_deref(), now).await?;
    } else {
        // By the clock of whoever sent this its time may not be over: it must not complete it when nobody is told any more.
        decided(app, environment, token, now).await?;
    }
    for _ in 0..PAGES {
        let page = app.store.registrations(id.as_str(), PAGE).await?;
        let whole = page.len() < usize::try_from(PAGE).unwrap_or_default();
        let tell = |waiting: Registration| async move {
            wake(app, &waiting.waiter).await?;
            app.store.unregister(id.as_str(), &waiting).await
        };
        let told: Vec<_> = stream::iter(page.into_iter().map(tell)).buffer_unordered(AT_ONCE).collect().await;
        // One that fails keeps nobody else from being told.
        told.into_iter().collect::<Result<(), Error>>()?;
        if whole {
            return Ok(Disposition::Done);
        }
    }
    app.queues.send_token(&TokenMessage { completes: event.clone() }).await?;
    Ok(Disposition::Done)
}

/// Wakes `run` if a token has ended that it waits for, and nobody has told it: the message may be lost. Done twice, it finds none.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn look_for_ends(app: &App, run: &Run) -> Result<(), Error> {
    for waiter in run.waits() {
        let Some(id) = app.store.wait(&waiter).await?.token else { continue };
        let token = app.store.token(&run.spec.environment, &id).await?;
        if token.is_none_or(|token| token.status_at(app.clock.now()) != TokenStatus::Waiting) {
            tracing::warn!(run_id = %run.id, token = %id, "nobody has told it of the end of its token");
            wake(app, &waiter).await?;
        }
    }
    Ok(())
}
