//! Admit: a turn that is due takes a place of its lane, or is parked until it is given one.
//!
//! A place is taken before the run is started, by one conditional write; a turn that takes it twice has one. Who finds no room, or
//! others parked before it, moves the run on to its next turn, which is parked: so no copy of its message can start what is parked,
//! or park what was started. What is known of a limit may let a run in; what keeps it out is read as it is now.

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::flow::{Bound, Holder, Lane, Line, Place, QueueSetting, Source, Subject};
use crate::protocol::hand_on::hand_on;
use crate::protocol::pace::follow_on;
use crate::queue::message::RunMessage;
use crate::run::Run;
use crate::store::{Moved, PURGED_AT_ONCE, PlacesWrite, Put};

/// How often a place is tried for that others are writing too.
const TRIES: usize = 5;

/// Whether a turn may start.
#[derive(Debug)]
pub(super) enum Admitted {
    /// Nothing limits it.
    Free,
    /// It has a place in this lane.
    In(Lane),
    /// There is none for it.
    Full(Lane),
}

/// Takes a place for the turn of a message, until its lease ends, if it needs one.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn admit(
    app: &App,
    message: &RunMessage,
    line: Option<&Line>,
    until: Timestamp,
) -> Result<Admitted, Error> {
    let Some(line) = line else { return Ok(Admitted::Free) };
    let limits = app.limits.of(line.environment()).await?;
    let lane = limits.lane(line);
    let known = limits.bound(&lane.queue);
    let is_given = message.given.is_some();
    if known.is_free() && !is_given {
        return Ok(Admitted::Free);
    }
    let own = message.holder();
    if is_given || !others_wait(app, &lane, &own).await? {
        if take(app, &lane, &own, until, known).await? {
            return Ok(Admitted::In(lane));
        }
        let current = app.store.bound(&lane.environment, &lane.queue).await?;
        if current.is_free() && !is_given {
            return Ok(Admitted::Free);
        }
        if current != known && take(app, &lane, &own, until, current).await? {
            return Ok(Admitted::In(lane));
        }
    }
    if !limits.queues().contains_key(&lane.queue) {
        // Whoever looks for those that are parked looks in the queues that are known of.
        let known_of = QueueSetting::none(lane.queue.clone(), app.clock.now());
        app.store.put_setting(&lane.environment, &Subject::Queue(known_of)).await?;
    }
    Ok(Admitted::Full(lane))
}

/// What decides in which lane a message's run is. None if there is no such run.
pub(super) async fn line(app: &App, message: &RunMessage) -> Result<Option<Line>, Error> {
    if let Some(line) = message.line() {
        return Ok(Some(line));
    }
    // Older versions did not tell.
    Ok(app.store.run(&message.run_id).await?.as_ref().map(Line::of))
}

/// Whether others are parked in a lane who have no place.
async fn others_wait(app: &App, lane: &Lane, own: &Holder) -> Result<bool, Error> {
    // Mostly nobody is, and then that is all there is to read.
    if app.store.parked(lane, 1, false).await?.is_empty() {
        return Ok(false);
    }
    let now = app.clock.now();
    let places = app.store.places(lane).await?;
    let parked = app.store.parked(lane, places.live_without(None, now) + 2, false).await?;
    Ok(parked.iter().any(|(_, other)| other.holder.run != own.run && !places.has(&other.holder, now)))
}

/// Whether a turn has taken a place, or had it.
async fn take(app: &App, lane: &Lane, own: &Holder, until: Timestamp, bound: Bound) -> Result<bool, Error> {
    let limit = bound.places();
    if limit == 0 {
        return Ok(false);
    }
    let place = Place { until, from: None, parked: None };
    let now = app.clock.now();
    let Some(mut there) = app.store.take_place(lane, own, &place, limit, now).await? else { return Ok(true) };
    for _ in 0..TRIES {
        if !there.has(own, now) && there.live_without(Some(own), now) >= limit {
            return Ok(false);
        }
        // Some of those that fill it are over.
        let over = there.over(Some(own), now).map(|(holder, place)| (holder, place.until));
        let removed: Vec<_> = over.take(PURGED_AT_ONCE).collect();
        let is_much = removed.len() == PURGED_AT_ONCE;
        let seen = there.holders.get(own).map(|place| place.until);
        let put = (!is_much).then_some(Put { holder: own, place: &place, seen, limit });
        if app.store.write_places(lane, &PlacesWrite { removed, put }, now).await? && !is_much {
            return Ok(true);
        }
        there = app.store.places(lane).await?;
    }
    Ok(false)
}

/// Parks the run of a message that moved it there, and wakes who may have the place that it had.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn park(app: &App, lane: &Lane, message: &RunMessage, run: &Run) -> Result<(), Error> {
    tracing::debug!(run_id = %run.id, queue = %lane.queue, "no place: it is parked");
    app.store.put_parked(lane, run).await?;
    hand_on(app, lane, &Source::Turn(message.holder())).await.map(drop)
}

/// Sees to it that a run is among those that are parked which says so of itself.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn park_again(app: &App, run: &Run) -> Result<(), Error> {
    let Some(lane) = Lane::of(run) else { return Ok(()) };
    app.store.put_parked(&lane, run).await?;
    hand_on(app, &lane, &Source::Sweep).await.map(drop)
}

/// Does what is left to be done about a turn that is over, or does not start, whoever finds that: it gives its place on. `lane` is
/// where it took one just now.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn let_go(app: &App, lane: Option<Lane>, message: &RunMessage, moved: &Moved) -> Result<(), Error> {
    let run = match moved {
        Moved::To(run) | Moved::Refused(run) => Some(run),
        Moved::Gone => None,
    };
    let is_followed = match run {
        Some(run) => follow_on(app, message.turn, run).await?,
        None => false,
    };
    let Some(lane) = run.and_then(Lane::of).or(lane) else { return Ok(()) };
    if let Some(name) = message.given.as_ref().filter(|_| !is_followed) {
        app.store.delete_parked(&lane, name, message.turn).await?;
    }
    hand_on(app, &lane, &Source::Turn(message.holder())).await.map(drop)
}

/// Gives the place of a run's turn on, once that is over for a worker: it waits now, or is somebody else's.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn leave(app: &App, run: &Run) -> Result<(), Error> {
    let Some(lane) = Lane::of(run) else { return Ok(()) };
    hand_on(app, &lane, &Source::Turn(Holder::of(run))).await.map(drop)
}
