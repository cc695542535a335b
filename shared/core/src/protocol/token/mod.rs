//! Token: what is done with wait tokens. The token's item decides: an end is one write, on condition that the token waits, and
//! a completion that its time is not over, so the first end stands (R93) and all who wait are told that one (R95).
//!
//! Before a completion is written, a message is sent that completes the token too, and then wakes those who wait. So a
//! completion of which anybody may have been told wakes them, whoever dies.

mod list;
mod wait;

use oncekey_wire::{EnvironmentId, KeyHash, TokenId, TokenStatus};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::token::TokenMessage;
use crate::request::token::TokenRequest;
use crate::store::TokenWritten;
use crate::token::{StoredToken, TokenClaim};

pub use list::{TokenFilter, TokenPage, TokensFrom, list};
pub use wait::{await_token, look, look_for_ends, tell};

/// How long a token is kept beyond its time and its key's.
const KEPT: std::time::Duration = std::time::Duration::from_secs(60 * 24 * 60 * 60);

/// Makes a token of what was asked for at `now`; or, while its key's window lasts, gives the one that there is of it (R94).
/// With whether it was there.
///
/// The key is claimed first. Who finds it claimed and no token there makes that, under the claimed id: its claimer has died, or
/// is about to find it made.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn create(
    app: &App,
    environment: &EnvironmentId,
    request: TokenRequest,
    now: Timestamp,
) -> Result<(StoredToken, bool), Error> {
    let TokenRequest { timeout_at, key, tags } = request;
    let (key, key_ends_at) = key.unzip();
    let mut token = StoredToken {
        id: TokenId::fresh(now),
        status: TokenStatus::Waiting,
        created_at: now,
        timeout_at,
        code: uuid::Uuid::new_v4().simple().to_string(),
        completed_at: None,
        output: None,
        key,
        key_ends_at,
        tags,
    };
    let mut is_cached = false;
    if let (Some(key), Some(ends_at)) = (&token.key, key_ends_at) {
        let claim = TokenClaim { token: token.id.clone(), ends_at };
        let holder = app.store.claim_token(environment, &KeyHash::of_text(key), &claim, now).await?;
        // A claim whose answer was lost, and that the SDK sent again, finds itself.
        if let Some(holder) = holder.filter(|holder| holder.token != token.id) {
            is_cached = true;
            if let Some(there) = app.store.token(environment, &holder.token).await? {
                return Ok((there, true));
            }
            (token.id, token.key_ends_at) = (holder.token, Some(holder.ends_at));
        }
    }
    let kept_until = timeout_at.max(token.key_ends_at.unwrap_or(timeout_at)).plus(KEPT);
    let there = app.store.put_token(environment, &token, kept_until).await?;
    Ok((there.unwrap_or(token), is_cached))
}

/// Completes a token with this JSON text. One that has ended stays as it is, and that is no error.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn complete(app: &App, environment: &EnvironmentId, id: &TokenId, output: Option<&str>) -> Result<(), Error> {
    let token = find(app, environment, id).await?;
    complete_found(app, environment, &token, output).await
}

/// The same for whoever has its URL, which has this code (R96).
///
/// # Errors
/// [`Error::Invalid`] where that is the URL of no token; [`Error::Aws`], [`Error::Unreadable`].
pub async fn call_back(
    app: &App,
    environment: &EnvironmentId,
    id: &TokenId,
    code: &str,
    output: Option<&str>,
) -> Result<(), Error> {
    let token = app.store.token(environment, id).await?.filter(|token| is_same(&token.code, code));
    complete_found(app, environment, &token.ok_or_else(not_its_url)?, output).await
}

async fn complete_found(
    app: &App,
    environment: &EnvironmentId,
    token: &StoredToken,
    output: Option<&str>,
) -> Result<(), Error> {
    let now = app.clock.now();
    if token.status_at(now) != TokenStatus::Waiting {
        tracing::info!(%environment, token = %token.id, "wait token had ended before");
        return Ok(());
    }
    app.queues.send_token(&TokenMessage::new(environment, &token.id, output)).await?;
    // By the clock of this moment: readers may have seen its time end since.
    let now = app.clock.now();
    if complete_now(app, environment, &token.id, output, now).await? == TokenWritten::Gone {
        return Err(unknown(&token.id));
    }
    Ok(())
}

/// The write that completes a token, if it waits and its time is not over at `now`.
async fn complete_now(
    app: &App,
    environment: &EnvironmentId,
    id: &TokenId,
    output: Option<&str>,
    now: Timestamp,
) -> Result<TokenWritten, Error> {
    let written = app.store.complete_token(environment, id, output, now).await?;
    match &written {
        TokenWritten::Now => tracing::info!(%environment, token = %id, "wait token completed"),
        TokenWritten::Before(_) => tracing::info!(%environment, token = %id, "wait token had ended before"),
        TokenWritten::Gone => {}
    }
    Ok(written)
}

/// What is said to whoever sends to a URL that is no token's.
#[must_use]
pub fn not_its_url() -> Error {
    Error::invalid("code", "this is the URL of no wait token: send to the token's `url` as it was given")
}

/// Whether two texts are the same, by a comparison whose time does not tell where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let differences = one.bytes().zip(other.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && differences == 0
}

/// A token.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn find(app: &App, environment: &EnvironmentId, id: &TokenId) -> Result<StoredToken, Error> {
    app.store.token(environment, id).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: &TokenId) -> Error {
    Error::NotFound(format!("there is no wait token {id} in this environment"))
}
