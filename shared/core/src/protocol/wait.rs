//! Wait: a run gives up its worker until what it waits for has come.
//!
//! It writes what it waits for into its journal, puts itself beside each child as one that waits, and only then looks
//! whether the child has ended; it suspends on condition that its counter of wake-ups is still what it was. Whoever finds a
//! child's end, the waiting run itself included, first copies it into the waiting run's journal, where it outlives the
//! child, then takes the child out of the journal's set, and wakes the run if that was the last. No wake-up can fall in
//! between: one that comes while the run is still awake raises the counter, and so the suspension is refused.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use oncekey_wire::RunId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::overdue;
use crate::queue::batch::Disposition;
use crate::queue::message::RunMessage;
use crate::run::end::End;
use crate::run::status::RunStatus;
use crate::run::waiter::Waiter;
use crate::run::{KEPT_AT_MOST, Run};
use crate::runs::content::output_of;
use crate::store::{Move, Moved, Progress, Registration, Settled};

/// Waiters of one run that are told at once.
pub(super) const AT_ONCE: usize = 10;
/// Waiters that are read at once.
pub(super) const PAGE: i32 = 100;
/// Pages that one delivery of an event tells: the next delivery goes on.
pub(super) const PAGES: usize = 3;

/// What came of an attempt to suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// The run waits; its worker lets go of it.
    Suspended,
    /// There was a wake-up meanwhile: look whether it was for this wait, and try again with this count.
    LookAgain {
        /// Wake-ups so far.
        wakes: u32,
    },
    /// The run is not this attempt's any more: it was cancelled, or its lease ran out.
    Lost,
}

/// What a wait for children has written.
#[derive(Debug, Default)]
pub struct Registered {
    /// How those ended that have.
    pub ends: HashMap<RunId, End>,
    /// The journal's new items.
    pub items: Vec<String>,
}

/// Journals that `waiter`, of a run made at `born`, waits for `children`, of which none is twice, puts it beside each, and
/// then looks which have ended. To be done once per wait: done again, it waits again for those that have ended.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn await_children(
    app: &App,
    waiter: &Waiter,
    born: Timestamp,
    children: &[RunId],
    until: Timestamp,
) -> Result<Registered, Error> {
    let items = app.store.put_wait(waiter, born, children, until).await?;
    app.store.register(waiter, born, children).await?;
    let mut ends = ends_of(app, children).await?;
    let ended = children.iter().enumerate().filter_map(|(index, child)| Some((index, child.clone(), ends.get(child)?)));
    let settle = |(index, child, end): (usize, RunId, &End)| {
        let (told, end) = (Registration::of(waiter, born, index, children.len()), end.clone());
        async move {
            let settled = app.store.settle(&told, &child, &end, until).await?;
            app.store.unregister(child.as_str(), &told).await?;
            Ok::<_, Error>(settled)
        }
    };
    let settling: Vec<_> = ended.map(settle).collect();
    let settled: Vec<Settled> = stream::iter(settling).buffer_unordered(AT_ONCE).try_collect().await?;
    // Others have ended since the look, and whoever settled them found these pending and woke nobody.
    if settled.contains(&Settled::Over) {
        ends.extend(app.store.wait(waiter).await?.ends);
    }
    Ok(Registered { ends, items })
}

/// How those of `children` ended that have.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn ends_of(app: &App, children: &[RunId]) -> Result<HashMap<RunId, End>, Error> {
    let ids: Vec<&RunId> = children.iter().collect();
    let runs: HashMap<RunId, Run> =
        overdue::runs(app, &ids).await?.into_iter().map(|run| (run.id.clone(), run)).collect();
    let end = |child: &RunId| {
        let (child, run) = (child.clone(), runs.get(child));
        async move {
            let end = match run {
                Some(run) => end_of(app, run).await?,
                None => Some(End::unknown()),
            };
            Ok(end.map(|end| (child, end)))
        }
    };
    let looking: Vec<_> = children.iter().map(end).collect();
    stream::iter(looking).buffer_unordered(AT_ONCE).try_filter_map(|end| async { Ok(end) }).try_collect().await
}

/// How a run ended, if it has, with what it returned.
async fn end_of(app: &App, run: &Run) -> Result<Option<End>, Error> {
    if !run.status.is_final() {
        return Ok(None);
    }
    Ok(End::of(run, output_of(app, run).await?.and_then(|output| output.text)))
}

/// Suspends `run`, whose attempt has come so far, in these waits, of which the first for a time is over at `until`, unless
/// there was a wake-up since `seen`: one conditional write.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn suspend(
    app: &App,
    run: &Run,
    waits: &[Waiter],
    until: Option<Timestamp>,
    seen: u32,
    progress: Progress<'_>,
) -> Result<Suspension, Error> {
    let let_go = Move::Suspend { turn: run.turn, waits, until, seen, progress };
    Ok(match app.store.move_run(&run.id, let_go, app.clock.now()).await? {
        Moved::To(_) => Suspension::Suspended,
        Moved::Refused(now) if now.status == RunStatus::Executing && now.turn == run.turn => {
            Suspension::LookAgain { wakes: now.wakes }
        }
        Moved::Refused(_) | Moved::Gone => Suspension::Lost,
    })
}

/// How far the news of an end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Nobody is left.
    Whole,
    /// There are more to tell.
    Part,
}

/// Tells those who wait for `child` that it has ended: all, or as many as one invocation should.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`]; to be done again, when it goes on with those that are left.
pub async fn wake_waiters(app: &App, child: &Run) -> Result<Spread, Error> {
    if !child.status.is_final() {
        return Ok(Spread::Whole);
    }
    // Read when somebody waits for it, and not before.
    let mut end: Option<End> = None;
    for waiter in &child.waiters {
        let end = known(app, child, &mut end).await?;
        tell(app, &child.id, end, &Registration::of_old(waiter.clone())).await?;
    }
    for _ in 0..PAGES {
        let page = app.store.registrations(child.id.as_str(), PAGE).await?;
        let whole = page.len() == usize::try_from(PAGE).unwrap_or_default();
        if page.is_empty() {
            return Ok(Spread::Whole);
        }
        let end = known(app, child, &mut end).await?;
        let tell = |waiting: Registration| async move { tell(app, &child.id, end, &waiting).await };
        let told: Vec<_> = stream::iter(page.into_iter().map(tell)).buffer_unordered(AT_ONCE).collect().await;
        // One that fails keeps nobody else from being told.
        told.into_iter().collect::<Result<(), Error>>()?;
        if !whole {
            return Ok(Spread::Whole);
        }
    }
    Ok(Spread::Part)
}

/// Tells `run` of those ends of its children that nobody has told it of: their messages may be lost. Done twice, it finds none.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn look_for_ends(app: &App, run: &Run) -> Result<(), Error> {
    for waiter in run.waits() {
        let pending = app.store.wait(&waiter).await?.pending;
        for child in overdue::runs(app, &pending.iter().collect::<Vec<_>>()).await? {
            if child.status.is_final() {
                tracing::warn!(run_id = %run.id, child = %child.id, "nobody has told it of the end of its child");
                wake_waiters(app, &child).await?;
            }
        }
    }
    Ok(())
}

/// The end of a run that has ended, read once.
async fn known<'a>(app: &App, child: &Run, end: &'a mut Option<End>) -> Result<&'a End, Error> {
    if end.is_none() {
        *end = end_of(app, child).await?;
    }
    Ok(end.get_or_insert_with(End::unknown))
}

/// Gives a waiting run the end of its child, wakes it if that was the last, and only then forgets it.
async fn tell(app: &App, child: &RunId, end: &End, waiting: &Registration) -> Result<(), Error> {
    let until = app.clock.now().plus(KEPT_AT_MOST);
    let settled = match app.store.settle(waiting, child, end, until).await {
        Err(Error::Refused { why, .. }) => app.store.settle(waiting, child, &end.without_output(&why), until).await?,
        settled => settled?,
    };
    match settled {
        // Gone with its run, long ago; or its journal went before it ended, which it finds when it is woken.
        Settled::Over | Settled::Gone => wake(app, &waiting.waiter).await?,
        Settled::Pending => {}
    }
    app.store.unregister(child.as_str(), waiting).await
}

/// Rouses a run of which a message is lost that was to end one of its waits. What is to be done with what is left of that
/// message. Done twice, it sends the resume message twice, and one of them is dropped.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn rouse(app: &App, run: &RunId) -> Result<Disposition, Error> {
    let now = app.clock.now();
    match app.store.move_run(run, Move::Rouse, now).await? {
        Moved::To(run) => app.queues.send_run(&RunMessage::of(&run)).await?,
        // Whoever roused it may have died before the message was sent.
        Moved::Refused(run) if run.status == RunStatus::Queued && !run.parked => {
            app.queues.send_run(&RunMessage::of(&run)).await?;
        }
        // It may be suspended in that wait again, without a message.
        Moved::Refused(Run { status: RunStatus::Executing, lease_until: Some(until), .. }) if until > now => {
            return Ok(Disposition::LeaveUntil(until));
        }
        Moved::Refused(_) | Moved::Gone => {}
    }
    Ok(Disposition::Done)
}

/// Wakes a run whose wait is over. Done twice, it sends the resume message twice, and one of them is dropped.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn wake(app: &App, waiter: &Waiter) -> Result<(), Error> {
    loop {
        match app.store.move_run(&waiter.run, Move::Wake { waiter }, app.clock.now()).await? {
            Moved::To(run) => return app.queues.send_run(&RunMessage::of(&run)).await,
            Moved::Refused(run) if run.turn.attempt != waiter.attempt => return Ok(()),
            // One that is parked has had its message.
            Moved::Refused(run) if run.status == RunStatus::Queued && !run.parked && run.waits_on(waiter) => {
                return app.queues.send_run(&RunMessage::of(&run)).await;
            }
            Moved::Refused(run) if run.status == RunStatus::Executing => {
                // Still awake, perhaps about to suspend: after this it cannot without looking again. If it has suspended
                // meanwhile, look again ourselves: whoever woke it may have died before the message was sent.
                let raised = app.store.raise_wakes(&waiter.run).await?;
                if raised.is_none_or(|run| run.status == RunStatus::Executing) {
                    return Ok(());
                }
            }
            Moved::Refused(_) | Moved::Gone => return Ok(()),
        }
    }
}
