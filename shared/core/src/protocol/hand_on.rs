//! Hand on: a place that nobody needs any more is given to the first that is parked.
//!
//! Everybody does so who finds a turn over: its end, its cancellation, a suspension, a message or an event that comes too late.
//! Mostly nobody is parked, and then the place is freed by a write that looks at nothing else. Otherwise the messages of places are
//! sent again that were given in the name of this turn and not taken up yet; then one conditional write frees the turn's place and
//! gives one to the first that is parked, if there is room. Who has only freed looks again: somebody may have been parked meanwhile.
//! Places, parked runs and the limit are read as they are now.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::flow::{Holder, Lane, Parked, Place, Places, Source};
use crate::queue::message::RunMessage;
use crate::store::{PURGED_AT_ONCE, PlacesWrite, Put};

/// How long a place is kept for who was given it, as its message may wait behind others. After that others may take the place, and who
/// comes late is parked again.
const RESERVED: Duration = Duration::from_secs(5 * 60);
/// How long places of one lane are given by who has none to free, before it goes on by another message.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far places were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// There is no room, or nobody is parked.
    All,
    /// There may be more to give.
    Some,
}

/// Frees the place of `source`, if it is a turn and has one, and gives a place to who is parked first; who is no turn gives all that
/// there are.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn hand_on(app: &App, lane: &Lane, source: &Source) -> Result<Given, Error> {
    let begun = Instant::now();
    let own = match source {
        Source::Turn(holder) => Some(holder),
        Source::Change(..) | Source::Sweep => None,
    };
    if let Some(own) = own
        && was_alone(app, lane, own).await?
    {
        return Ok(Given::All);
    }
    let mut is_first_look = true;
    loop {
        let now = app.clock.now();
        let places = app.store.places(lane).await?;
        if std::mem::take(&mut is_first_look) {
            send_again(app, lane, &places, source, now).await?;
        }
        let held = own.and_then(|own| Some((own, places.holders.get(own)?.until)));
        let next = next(app, lane, &places, own, now).await?;
        let over: Vec<_> = places.over(own, now).map(|(holder, place)| (holder, place.until)).collect();
        if next.is_some() && over.len() > PURGED_AT_ONCE {
            // More than one write takes away: with the rest of them there may seem to be no room.
            let removed = over.into_iter().take(PURGED_AT_ONCE).collect();
            app.store.write_places(lane, &PlacesWrite { removed, put: None }, now).await?;
            continue;
        }
        match (&next, held) {
            (Some((name, parked, limit)), _) => {
                let order = lane.order_of(name).unwrap_or_default().to_owned();
                let parked_as = Some((parked.queue.clone(), order));
                let place = Place { until: now.plus(RESERVED), from: Some(source.to_string()), parked: parked_as };
                let over = over.into_iter().filter(|(holder, _)| **holder != parked.holder);
                let removed = held.into_iter().chain(over).collect();
                let seen = places.holders.get(&parked.holder).map(|place| place.until);
                let put = Some(Put { holder: &parked.holder, place: &place, seen, limit: *limit });
                if app.store.write_places(lane, &PlacesWrite { removed, put }, now).await? {
                    let given = RunMessage::given(&parked.holder, lane, &parked.queue, name);
                    app.queues.send_run(&given).await?;
                    if own.is_some() {
                        return Ok(Given::All);
                    }
                }
                if own.is_none() && begun.elapsed() > PATIENCE {
                    return Ok(Given::Some);
                }
            }
            (None, Some(held)) => {
                app.store.write_places(lane, &PlacesWrite { removed: vec![held], put: None }, now).await?;
            }
            (None, None) => return Ok(Given::All),
        }
    }
}

/// Frees a turn's place where nobody is parked. Whether it had one, and nobody was before that or after it: then there is nothing to
/// give, nor to send again, as who has its place still has given none in its name.
async fn was_alone(app: &App, lane: &Lane, own: &Holder) -> Result<bool, Error> {
    let is_alone = async || Ok::<bool, Error>(app.store.parked(lane, 1, true).await?.is_empty());
    Ok(is_alone().await? && app.store.free_place(lane, own, app.clock.now()).await? && is_alone().await?)
}

/// Who is parked first without a place, with what it is called there and how many places there may be, if there is room for it.
async fn next(
    app: &App,
    lane: &Lane,
    places: &Places,
    own: Option<&Holder>,
    now: Timestamp,
) -> Result<Option<(String, Parked, usize)>, Error> {
    // Those that were given one stay parked until they start.
    let parked = app.store.parked(lane, places.live_without(None, now) + 1, true).await?;
    let Some((name, first)) = parked.into_iter().find(|(_, parked)| !places.has(&parked.holder, now)) else {
        return Ok(None);
    };
    let limit = app.store.bound(&lane.environment, &lane.queue).await?.places();
    Ok((places.live_without(own, now) < limit).then_some((name, first, limit)))
}

/// Sends the messages of the places that `source` gave, as whoever gave them may have died before that.
async fn send_again(app: &App, lane: &Lane, places: &Places, source: &Source, now: Timestamp) -> Result<(), Error> {
    let from = Some(source.to_string());
    for (holder, place) in &places.holders {
        if let Some((queue, order)) = &place.parked
            && place.from == from
            && place.is_live(now)
        {
            let name = lane.parked_name(order, &holder.run);
            app.queues.send_run(&RunMessage::given(holder, lane, queue, &name)).await?;
        }
    }
    Ok(())
}
