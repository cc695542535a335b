//! What a run waits for, for people to look at.

use std::collections::BTreeSet;

pub use oncekey_wire::WaitingFor;
use oncekey_wire::{AwaitedPlace, AwaitedRun, RunId};

use crate::app::App;
use crate::error::Error;
use crate::flow::{Holder, Lane, MOST_PLACES, QueueSetting};
use crate::protocol::overdue;
use crate::run::Run;
use crate::run::status::RunStatus;

/// Waits that are looked into.
const WAITS: usize = 10;
/// Runs that are named.
const NAMED: usize = 10;

/// What `run` waits for, if it is suspended or has yet to start. Two reads and one a wait of one that is suspended, three of one that
/// is parked, and none of others.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn waiting_for(app: &App, run: &Run) -> Result<Option<WaitingFor>, Error> {
    Ok(match run.status {
        RunStatus::Waiting => Some(suspended(app, run).await?),
        RunStatus::Queued if run.parked => parked(app, run).await?,
        RunStatus::Queued | RunStatus::Delayed => {
            let mut waiting = WaitingFor::default();
            waiting.until = run.retry_at.filter(|at| *at > app.clock.now());
            waiting.worker = waiting.until.is_none();
            Some(waiting)
        }
        _ => None,
    })
}

/// A place in its lane.
async fn parked(app: &App, run: &Run) -> Result<Option<WaitingFor>, Error> {
    let Some(lane) = Lane::of(run) else { return Ok(None) };
    let (queue, environment, places) = tokio::try_join!(
        app.store.queue_setting(&lane.environment, &lane.queue),
        app.store.environment_setting(&lane.environment),
        app.store.places(&lane)
    )?;
    let mut place = AwaitedPlace::new(lane.queue);
    place.concurrency_key = lane.key;
    // One that it was given itself is in nobody's way: its message is coming.
    place.running = places.live_without(Some(&Holder::of(run)), app.clock.now()) as u64;
    place.concurrency_limit = queue.as_ref().and_then(QueueSetting::limit).map(|limit| limit.min(MOST_PLACES));
    place.paused = queue.is_some_and(|queue| queue.paused);
    place.environment_paused = environment.is_some_and(|all| all.paused);
    let mut waiting = WaitingFor::default();
    waiting.place = Some(place);
    Ok(Some(waiting))
}

/// The end of a wait, of runs or of tokens.
async fn suspended(app: &App, run: &Run) -> Result<WaitingFor, Error> {
    let mut pending: BTreeSet<RunId> = BTreeSet::new();
    let mut tokens = Vec::new();
    for waiter in run.waits().take(WAITS) {
        let wait = app.store.wait(&waiter).await?;
        pending.extend(wait.pending);
        tokens.extend(wait.token);
    }
    let named: Vec<&RunId> = pending.iter().take(NAMED).collect();
    let there = overdue::runs(app, &named).await?;
    let awaited = |id: &&RunId| {
        let task = there.iter().find(|there| there.id == **id).map(|there| there.spec.task.clone());
        AwaitedRun::new((*id).clone(), task)
    };
    let mut waiting = WaitingFor::default();
    waiting.until = run.waits_until;
    waiting.runs = named.iter().map(awaited).collect();
    waiting.run_count = pending.len() as u64;
    waiting.tokens = tokens;
    Ok(waiting)
}
