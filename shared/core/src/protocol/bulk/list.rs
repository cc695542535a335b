//! Lists of bulk actions: newest first, of one environment.

use std::time::Duration;

use oncekey_wire::EnvironmentId;

use crate::app::App;
use crate::bulk::{KEPT, StoredBulkAction};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::store::BulkPosition;

/// Most actions a page has.
const MAX_PAGE: usize = 100;
/// For so long the daily sweep looks at an action.
const SWEPT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// A place in the list, as callers hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkCursor(BulkPosition);

impl BulkCursor {
    /// Reads a cursor of another page.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming `field` when it is none of ours.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        let place = BulkPosition::parse(&text.replace('.', "#"));
        place
            .map(Self)
            .ok_or_else(|| Error::invalid(field, "is not a cursor: take one from `pagination` of another page"))
    }
}

/// Made of characters that need no escaping in a URL.
impl std::fmt::Display for BulkCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_string().replace('#', "."))
    }
}

/// Where a page of actions begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BulkFrom {
    /// At the newest.
    #[default]
    Newest,
    /// With those that are older than this one.
    After(BulkCursor),
    /// With those that are newer.
    Before(BulkCursor),
}

/// A page of actions, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkPage {
    /// The actions.
    pub actions: Vec<StoredBulkAction>,
    /// Where the page of older ones begins.
    pub next: Option<BulkCursor>,
    /// Where that of newer ones begins.
    pub previous: Option<BulkCursor>,
}

/// Lists up to `size` actions of an environment that are kept.
///
/// # Errors
/// [`Error::Aws`], [`Error::Throttled`], [`Error::Unreadable`].
pub async fn list(app: &App, environment: &EnvironmentId, from: &BulkFrom, size: usize) -> Result<BulkPage, Error> {
    let size = size.clamp(1, MAX_PAGE);
    let ascending = matches!(from, BulkFrom::Before(_));
    let oldest = oldest_kept(app.clock.now(), KEPT);
    let newest = "~".to_owned();
    let (start, end) = match from {
        BulkFrom::Newest => (newest, oldest),
        BulkFrom::After(cursor) => (cursor.0.to_string(), oldest),
        BulkFrom::Before(cursor) => (cursor.0.to_string().max(oldest), newest),
    };
    let mut places = places(app, environment, (&start, &end), ascending, size + 1).await?;
    let more = places.len() > size;
    places.truncate(size);
    let beyond = places.last().cloned().filter(|_| more).map(BulkCursor);
    let came_from = places.first().cloned().map(BulkCursor);
    if ascending {
        places.reverse();
    }
    let actions = in_order(app, &places).await?;
    Ok(match from {
        BulkFrom::Newest => BulkPage { actions, next: beyond, previous: None },
        BulkFrom::After(_) => BulkPage { actions, next: beyond, previous: came_from },
        BulkFrom::Before(_) => BulkPage { actions, next: came_from, previous: beyond },
    })
}

/// Those that the sweep looks at, as they stand.
///
/// # Errors
/// As [`list`].
pub(super) async fn of_last_days(
    app: &App,
    environment: &EnvironmentId,
    now: Timestamp,
) -> Result<Vec<StoredBulkAction>, Error> {
    let (mut start, end) = ("~".to_owned(), oldest_kept(now, SWEPT));
    let mut all = Vec::new();
    loop {
        let places = places(app, environment, (&start, &end), false, MAX_PAGE).await?;
        let Some(last) = places.last() else { return Ok(all) };
        start = last.to_string();
        all.extend(in_order(app, &places).await?);
    }
}

/// The text before which all places are of actions that are older than `age`.
fn oldest_kept(now: Timestamp, age: Duration) -> String {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    // One that is as old as that to the millisecond is over.
    format!("{:015}", now.millis().saturating_sub(age).saturating_add(1).max(0))
}

async fn places(
    app: &App,
    environment: &EnvironmentId,
    (start, end): (&str, &str),
    ascending: bool,
    limit: usize,
) -> Result<Vec<BulkPosition>, Error> {
    if (ascending && start > end) || (!ascending && start < end) {
        return Ok(Vec::new());
    }
    app.store.bulk_action_places(environment, (start, end), ascending, limit).await
}

async fn in_order(app: &App, places: &[BulkPosition]) -> Result<Vec<StoredBulkAction>, Error> {
    let mut actions = app.store.bulk_actions(places.iter().map(BulkPosition::id)).await?;
    actions.sort_by_key(|action| places.iter().position(|place| *place.id() == action.id));
    Ok(actions)
}
