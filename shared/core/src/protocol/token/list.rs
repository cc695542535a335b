//! Lists of wait tokens: newest first, over the shards of an environment.

use futures_util::future::try_join_all;
use oncekey_wire::{EnvironmentId, TokenId, TokenStatus};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::store::SHARDS;
use crate::token::StoredToken;

/// How often a list that filters looks further, for a page: then the page ends, and the next goes on from there.
const ROUNDS: usize = 10;

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
