//! Listing an environment's runs, newest first, by pages that stay put.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use oncekey_wire::{BatchId, EnvironmentId, RunId, TaskId};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::cron::ScheduleId;
use crate::error::Error;
use crate::flow::{Limits, Line};
use crate::key::KeyHash;
use crate::protocol::overdue;
use crate::run::Run;
use crate::run::status::RunStatus;
use crate::store::{Position, SHARDS};

/// Most runs a page has.
pub const MAX_PAGE: usize = 100;
/// What a page's runs come to in JSON, at most: Lambda answers with up to 6 MB.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// What a run in a list has beside its options and its error, at most: ids, moments, its key of up to 2,048 characters.
const BYTES_BESIDE: usize = 10 * 1024;
/// How many runs a page looks at before it answers with what it has found, and a cursor to go on from.
const MAX_EXAMINED: usize = 1_000;
/// Statuses that the client knows and no run of ours is ever in.
const NEVER: [&str; 2] = ["DEQUEUED", "PENDING_VERSION"];

/// Which runs are wanted. An empty list asks for nothing in particular.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// In one of these statuses; any if absent, none if empty.
    pub statuses: Option<Vec<RunStatus>>,
    /// Of one of these tasks.
    pub tasks: Vec<TaskId>,
    /// With at least one of these tags.
    pub tags: Vec<String>,
    /// On one of these queues.
    pub queues: Vec<String>,
    /// New runs of one of these batches.
    pub batches: Vec<BatchId>,
    /// Triggered by one of these schedules.
    pub schedules: Vec<ScheduleId>,
    /// Marked as a test, or not.
    pub is_test: Option<bool>,
    /// Children of this run.
    pub parent: Option<RunId>,
    /// Triggered with the key that has this hash.
    pub key: Option<KeyHash>,
    /// Created at this moment or later.
    pub from: Option<Timestamp>,
    /// Created at this moment or earlier.
    pub to: Option<Timestamp>,
}

/// Whether a run is in this queue: that in which it has had a place or its trigger named, or else its task's as it is now; or the one
/// that carries it.
fn is_in(run: &Run, queue: &str, limits: &Limits) -> bool {
    queue == limits.lane(&Line::of(run)).queue.as_str() || queue == run.spec.queue.as_str()
}

impl Filter {
    /// Whether some runs in the span of time are not wanted, so that more must be looked at than are shown.
    fn leaves_out(&self) -> bool {
        let any = self.tasks.is_empty()
            && self.tags.is_empty()
            && self.queues.is_empty()
            && self.batches.is_empty()
            && self.schedules.is_empty();
        !any || self.statuses.is_some() || self.is_test.is_some() || self.parent.is_some() || self.key.is_some()
    }

    /// `limits` tell the queues of tasks, if queues are asked for.
    fn matches(&self, run: &Run, limits: &Limits) -> bool {
        fn among<T: PartialEq>(wanted: &[T], has: &T) -> bool {
            wanted.is_empty() || wanted.contains(has)
        }
        self.statuses.as_ref().is_none_or(|wanted| wanted.contains(&run.status))
            && among(&self.tasks, &run.spec.task)
            && (self.queues.is_empty() || self.queues.iter().any(|queue| is_in(run, queue, limits)))
            && (self.batches.is_empty() || run.spec.batch.as_ref().is_some_and(|batch| self.batches.contains(batch)))
            && (self.schedules.is_empty()
                || run.spec.options.schedule.as_ref().is_some_and(|of| self.schedules.contains(&of.id)))
            && (self.tags.is_empty() || run.tags().any(|tag| self.tags.contains(tag)))
            && self.is_test.is_none_or(|test| test == run.spec.options.test)
            && self.parent.as_ref().is_none_or(|id| run.spec.lineage.as_ref().is_some_and(|line| line.parent == *id))
            && self.key.as_ref().is_none_or(|hash| run.spec.key.as_ref().is_some_and(|held| held.key.hash == *hash))
    }
}

/// The statuses of these names. One that the client knows and no run of ours is ever in is none.
///
/// # Errors
/// [`Error::Invalid`] naming those that there are.
pub fn statuses<'a>(field: &str, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<RunStatus>, Error> {
    let all = RunStatus::ALL;
    let mut statuses = Vec::new();
    for name in names.into_iter().filter(|name| !NEVER.contains(name)) {
        let status = all.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(name));
        statuses.push(status.ok_or_else(|| {
            let known = all.map(RunStatus::as_str).join(", ");
            Error::invalid(field, format!("{name:?} is not a status; there are: {known}"))
        })?);
    }
    Ok(statuses)
}

/// Where a page begins.
#[derive(Clone, Debug, Default)]
pub enum PageStart {
    /// At the newest run.
    #[default]
    Newest,
    /// After (older than) the run a cursor names.
    After(Cursor),
    /// Before (newer than) the run a cursor names.
    Before(Cursor),
}

/// A place in the list, as callers hold it: opaque, but only a place, so it is checked and never trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Position);

impl Cursor {
    /// Reads a cursor of an earlier page.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming `field` when it is none of ours.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        Position::parse(&text.replace('.', "#"))
            .map(Self)
            .ok_or_else(|| Error::invalid(field, "is not a cursor: take one from `pagination` of an earlier page"))
    }
}

/// Made of characters that need no escaping in a URL.
impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_string().replace('#', "."))
    }
}

/// One page of runs, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The runs.
    pub runs: Vec<Run>,
    /// Where older runs go on, if there may be any.
    pub next: Option<Cursor>,
    /// Where newer runs go on, if there may be any.
    pub previous: Option<Cursor>,
}

/// Lists up to `size` (1 to [`MAX_PAGE`]) runs, fewer if they are large: a page ends at some 4 MB. A page of a filter that
/// matches rarely may be short, even empty, and still have a cursor: it has looked at a thousand runs.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn list(
    app: &App,
    environment: &EnvironmentId,
    filter: &Filter,
    from: &PageStart,
    size: usize,
) -> Result<Page, Error> {
    let ascending = matches!(from, PageStart::Before(_));
    let limits = match filter.queues.is_empty() {
        true => Arc::default(),
        false => app.limits.of(environment).await?,
    };
    let (mut place, end) = bounds(filter, from);
    let look = if filter.leaves_out() { MAX_PAGE } else { MAX_PAGE.min(size + 1) };
    let mut found: Vec<Run> = Vec::new();
    let mut examined = 0;
    let mut more = None;
    loop {
        let places = next_places(app, environment, (&place, &end), ascending, look).await?;
        let exhausted = places.len() < look;
        let mut runs = runs_in_order(app, &places).await?;
        runs.retain(|run| filter.matches(run, &limits));
        app.store.read_metadata(&mut runs).await?;
        found.extend(runs);
        examined += places.len();
        let fits = fitting(&found, size);
        if found.len() > fits {
            found.truncate(fits);
            more = found.last().map(|last| Cursor(Position::of(last)));
            break;
        }
        let Some(last) = places.last().filter(|_| !exhausted) else { break };
        if examined >= MAX_EXAMINED {
            more = Some(Cursor(last.clone()));
            break;
        }
        place = last.to_string();
    }
    let came_from = |cursor: Option<&Run>| cursor.map(|run| Cursor(Position::of(run)));
    Ok(match from {
        PageStart::Newest => Page { runs: found, next: more, previous: None },
        PageStart::After(cursor) => {
            let previous = came_from(found.first()).or_else(|| Some(cursor.clone()));
            Page { runs: found, next: more, previous }
        }
        PageStart::Before(cursor) => {
            found.reverse();
            let next = came_from(found.last()).or_else(|| Some(cursor.clone()));
            Page { runs: found, next, previous: more }
        }
    })
}

/// How many of these make a page: up to `size`, and as many as its bytes allow, but one at least.
fn fitting(runs: &[Run], size: usize) -> usize {
    let bytes = runs.iter().scan(0, |sum, run| {
        // What is bounded in size and shown in a list is left out, but for what it may come to.
        let options = serde_json::to_vec(&run.spec.options).map_or(0, |json| json.len());
        let error = run.error.as_ref().and_then(|error| serde_json::to_vec(error).ok()).map_or(0, |json| json.len());
        *sum += BYTES_BESIDE + options + error;
        Some(*sum)
    });
    bytes.take_while(|sum| *sum <= MAX_PAGE_BYTES).count().clamp(1, size)
}

/// Where to begin (exclusive) and where to end (inclusive) in the order of the walk.
fn bounds(filter: &Filter, from: &PageStart) -> (String, String) {
    let at = |moment: Timestamp| format!("{:015}", moment.millis().max(0));
    // Every place created at a moment sorts after the moment alone, and before the next one.
    let oldest = at(filter.from.unwrap_or_default());
    let newest = match filter.to {
        Some(to) => at(to.plus(Duration::from_millis(1))),
        None => "~".to_owned(),
    };
    match from {
        PageStart::Newest => (newest, oldest),
        PageStart::After(cursor) => (cursor.0.to_string().min(newest), oldest),
        PageStart::Before(cursor) => (cursor.0.to_string().max(oldest), newest),
    }
}

/// The next `limit` places over all shards. Every shard is ordered alike, so one place is a cursor for all of them.
pub(super) async fn next_places(
    app: &App,
    environment: &EnvironmentId,
    (from, end): (&str, &str),
    ascending: bool,
    limit: usize,
) -> Result<Vec<Position>, Error> {
    if (ascending && from > end) || (!ascending && from < end) {
        return Ok(Vec::new());
    }
    let per_shard = i32::try_from(limit).unwrap_or(i32::MAX);
    let shards = (0..SHARDS).map(|shard| app.store.list_shard(environment, shard, (from, end), ascending, per_shard));
    let mut places: Vec<Position> = try_join_all(shards).await?.into_iter().flatten().collect();
    places.sort();
    if !ascending {
        places.reverse();
    }
    places.truncate(limit);
    Ok(places)
}

async fn runs_in_order(app: &App, places: &[Position]) -> Result<Vec<Run>, Error> {
    let ids: Vec<&RunId> = places.iter().map(Position::run).collect();
    let mut runs = overdue::runs(app, &ids).await?;
    runs.sort_by_key(|run| places.iter().position(|place| place.run() == &run.id));
    Ok(runs)
}
