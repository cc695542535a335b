//! Token: what is done with wait tokens. The token's item decides: a completion is one write, on condition that the token waits
//! and that its time is not over, so the first end stands (R93).

use futures_util::future::try_join_all;
use oncekey_wire::{EnvironmentId, KeyHash, TokenId, TokenStatus};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::token::TokenRequest;
use crate::store::{SHARDS, TokenEnd};
use crate::token::{StoredToken, TokenClaim};

/// How long a token is kept beyond its time and its key's.
const KEPT: std::time::Duration = std::time::Duration::from_secs(60 * 24 * 60 * 60);
/// How often a list that filters looks further, for a page: then the page ends, and the next goes on from there.
const ROUNDS: usize = 10;

/// Makes a token; or, while its key's window lasts, gives the one that there is of it (R94). With whether it was there.
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
) -> Result<(StoredToken, bool), Error> {
    let now = app.clock.now();
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
/// [`Error::NotFound`], [`Error::Aws`].
pub async fn complete(app: &App, environment: &EnvironmentId, id: &TokenId, output: Option<&str>) -> Result<(), Error> {
    match app.store.complete_token(environment, id, output, app.clock.now()).await? {
        TokenEnd::Now => tracing::info!(%environment, token = %id, "wait token completed"),
        TokenEnd::Before => tracing::info!(%environment, token = %id, "wait token had ended before"),
        TokenEnd::Gone => return Err(unknown(id)),
    }
    Ok(())
}

/// The same for whoever has its URL, which has this code (R96).
///
/// # Errors
/// [`Error::Invalid`] where that is the URL of no token; [`Error::Aws`].
pub async fn call_back(
    app: &App,
    environment: &EnvironmentId,
    id: &TokenId,
    code: &str,
    output: Option<&str>,
) -> Result<(), Error> {
    let token = app.store.token(environment, id).await?;
    if token.is_none_or(|token| !is_same(&token.code, code)) {
        return Err(not_its_url());
    }
    complete(app, environment, id, output).await
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

/// Which tokens a list is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// In one of these statuses, if any is said.
    pub statuses: Vec<TokenStatus>,
    /// Made under this key.
    pub key: Option<String>,
    /// With one of these tags, if any is said.
    pub tags: Vec<String>,
    /// Made then or later.
    pub from: Option<Timestamp>,
    /// Made then or earlier.
    pub to: Option<Timestamp>,
}

impl TokenFilter {
    fn takes(&self, token: &StoredToken, now: Timestamp) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&token.status_at(now)))
            && self.key.as_ref().is_none_or(|key| token.key.as_ref() == Some(key))
            && (self.tags.is_empty() || self.tags.iter().any(|tag| token.tags.contains(tag)))
            && self.from.is_none_or(|from| token.created_at >= from)
            && self.to.is_none_or(|to| token.created_at <= to)
    }
}

/// Where a page of tokens begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokensFrom {
    /// At the newest.
    #[default]
    Newest,
    /// With those that are older than this one.
    After(TokenId),
    /// With those that are newer.
    Before(TokenId),
}

/// A page of tokens, newest first; their outputs are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenPage {
    /// The tokens.
    pub tokens: Vec<StoredToken>,
    /// Where the page of older ones begins.
    pub next: Option<TokenId>,
    /// Where that of newer ones begins.
    pub previous: Option<TokenId>,
}

/// Lists up to `size` tokens of an environment, newest first.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn list(
    app: &App,
    environment: &EnvironmentId,
    filter: &TokenFilter,
    from: &TokensFrom,
    size: usize,
) -> Result<TokenPage, Error> {
    let now = app.clock.now();
    let ascending = matches!(from, TokensFrom::Before(_));
    let (mut above, mut below) = TokenId::range(filter.from, filter.to);
    match from {
        TokensFrom::Newest => {}
        TokensFrom::After(id) => below = below.min(id.to_string()),
        TokensFrom::Before(id) => above = above.max(id.to_string()),
    }
    let (mut found, mut more) = (Vec::new(), true);
    for _ in 0..ROUNDS {
        let ends = (above.as_str(), below.as_str());
        let shards = (0..SHARDS).map(|shard| app.store.tokens(environment, shard, ends, ascending, size + 1));
        let shards = if above < below { try_join_all(shards).await? } else { Vec::new() };
        let mut tokens: Vec<StoredToken> = shards.into_iter().flatten().collect();
        tokens.sort_by(|one, other| if ascending { one.id.cmp(&other.id) } else { other.id.cmp(&one.id) });
        more = tokens.len() > size;
        tokens.truncate(size + 1);
        if let Some(last) = tokens.last() {
            *(if ascending { &mut above } else { &mut below }) = last.id.to_string();
        }
        found.extend(tokens.into_iter().filter(|token| filter.takes(token, now)));
        if !more || found.len() > size {
            break;
        }
    }
    more |= found.len() > size;
    found.truncate(size);
    let reached = if found.len() == size { found.last().map(|token| token.id.clone()) } else { None };
    let beyond = reached.or_else(|| TokenId::parse(if ascending { &above } else { &below }).ok()).filter(|_| more);
    if ascending {
        found.reverse();
        let next = found.last().map(|token| token.id.clone());
        return Ok(TokenPage { tokens: found, next, previous: beyond });
    }
    let has_newer = *from != TokensFrom::Newest;
    let previous = found.first().map(|token| token.id.clone()).filter(|_| has_newer);
    Ok(TokenPage { tokens: found, next: beyond, previous })
}
