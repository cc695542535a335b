//! Debounce: of the triggers of one debounce key, the first makes a delayed run, and later ones push its start until it starts
//! (R88 to R91).
//!
//! A trigger claims the debounce key for its own run. Is the key held by another, it looks whether it was here before; then it
//! pushes the holder's run, on condition that it is still delayed, and leaves under its own run's name which run stands for it:
//! so the same request sent again is answered with the run that it pushed, whatever became of that. The run tells whose push was
//! its last, for who dies between the two: whoever pushes it next, or takes the key from it, leaves that one's alias first, and
//! pushes on condition that nobody else has since.
//!
//! A run that has started, or may not be put off any further, is left alone, and the key claimed from it: in the second case once
//! it is closed to pushes that are under way. A claimer that has made no run is helped: by a run of its name with the helper's
//! payload, which tells whose that is.

use std::time::Duration;

use oncekey_wire::RunId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::fingerprint::{guard_payload, other_request, request_fingerprint, was_helped};
use crate::protocol::keep::keep_for_start;
use crate::protocol::overdue::end_if_overdue;
use crate::protocol::plan::Planned;
use crate::queue::message::RunMessage;
use crate::request::debounce::{Debounce, DebounceMode};
use crate::request::{Parentage, TriggerRequest};
use crate::run::status::RunStatus;
use crate::run::{KEPT, Lineage, Pusher, Run, RunSpec, SURELY_KEPT};
use crate::store::{DebounceClaim, Debounced, KeyAddress, KeyRecord, Move, Moved};

/// How often the key is tried while others take it, or its run is pushed by others.
const ROUNDS: u32 = 50;
/// How long to wait, before each new look, for a run whose debounce key is claimed: its claimer is normally a few milliseconds
/// behind.
const LOOKS: [u64; 5] = [0, 20, 60, 140, 280];
/// How long a run is pushed: then its key is free. Much shorter, and its run might still be delayed.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// A trigger that is debounced.
pub(super) struct Trigger<'a> {
    pub(super) request: &'a TriggerRequest,
    pub(super) debounce: &'a Debounce,
    pub(super) planned: &'a Planned,
    /// The run that it would make: with a key of its own, the claim of that.
    pub(super) own: &'a KeyRecord,
    pub(super) lineage: Option<&'a Lineage>,
}

/// The run that stands for a trigger because it was pushed; `None` if the trigger is to make its own.
///
/// # Errors
/// [`Error::Contended`] when others took the key fifty times meanwhile, [`Error::Aws`], [`Error::Unreadable`].
pub(super) async fn push(app: &App, trigger: &Trigger<'_>) -> Result<Option<Run>, Error> {
    let (request, own) = (trigger.request, &trigger.own.run_id);
    let now = app.clock.now();
    let claim = DebounceClaim {
        run_id: own.clone(),
        created_at: trigger.own.created_at,
        ends_at: now.plus(trigger.debounce.delay).plus(LONGEST),
        claimed: trigger.planned.spec_of(trigger.own).key,
    };
    let address = (&request.environment, &request.task, &trigger.debounce.hash);
    let mut dead = None;
    for _ in 0..ROUNDS {
        let holder = match app.store.claim_debounce(address, &claim, dead.as_ref(), now).await? {
            Debounced::Ours => return Ok(None),
            Debounced::HeldBy(holder) if holder.run_id == *own => return Ok(None),
            Debounced::HeldBy(holder) => holder,
            Debounced::Unknown => {
                dead = None;
                continue;
            }
        };
        // Sent again, it is answered as it was, whoever holds the key by now.
        match app.store.run(own).await? {
            Some(before) if before.pushed_to.is_some() => return trigger.answered_before(app, before).await.map(Some),
            Some(_) => return Ok(None),
            None => {}
        }
        dead = None;
        match holders_run(app, &holder).await? {
            // A claimer that died; or whose run is long over and deleted.
            None if app.clock.now().since(holder.created_at) > SURELY_KEPT => dead = Some(holder),
            // However long ago: a message that it has sent could make its run beside another.
            None => trigger.help(app, holder).await?,
            Some(run) if run.last_pusher().is_some_and(|last| last.run_id == *own) => {
                return trigger.leave_alias(app, run).await.map(Some);
            }
            Some(run) => {
                settle_last_push(app, &run).await?;
                if !trigger.is_of_this_key(&run) || run.closed {
                    dead = Some(holder);
                } else if trigger.is_too_late(trigger.start(&run, app.clock.now()), run.spec.created_at) {
                    // One that is pushed meanwhile, or started, is looked at again.
                    app.store.close_to_pushes(&run.id, run.pushed_by.as_ref()).await?;
                } else if let Some(pushed) = trigger.push(app, run).await? {
                    return trigger.leave_alias(app, pushed).await.map(Some);
                }
            }
        }
    }
    Err(Error::Contended("options.debounce.key".to_owned()))
}

/// The run that stands for the trigger of `run`, which may be that itself.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub(crate) async fn stands_for(app: &App, run: Run) -> Result<Run, Error> {
    let Some(pushed) = &run.pushed_to else { return Ok(run) };
    // One that is gone is told by its name: it was kept longer than anybody's key that it stands for.
    Ok(match app.store.run(pushed).await? {
        Some(pushed) => end_if_overdue(app, pushed).await?,
        None => Run { id: pushed.clone(), pushed_to: None, ..run },
    })
}

/// Leaves the alias of whoever pushed `run` last, who may have died before that.
async fn settle_last_push(app: &App, run: &Run) -> Result<(), Error> {
    let Some(last) = run.last_pusher() else { return Ok(()) };
    if app.store.run(&last.run_id).await?.is_none() {
        tracing::warn!(run_id = %run.id, by = %last.run_id, "pushed by a trigger that has not answered");
        app.store.create_run(&alias_of(last, run, app.clock.now())).await?;
    }
    Ok(())
}

/// What says under the name of the run that `pusher` would have made that `run` stands for it.
fn alias_of(pusher: &Pusher, run: &Run, now: Timestamp) -> Run {
    let spec = RunSpec {
        key: pusher.key.clone(),
        fingerprint: Some(pusher.fingerprint.clone()),
        helped: pusher.helped,
        ..RunSpec::new(run.spec.environment.clone(), run.spec.task.clone(), pusher.created_at)
    };
    Run::alias(pusher.run_id.clone(), spec, run.id.clone(), now)
}

async fn holders_run(app: &App, holder: &DebounceClaim) -> Result<Option<Run>, Error> {
    for pause in LOOKS {
        if pause > 0 {
            // Real time, whatever the clock says: this waits for another process.
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if let Some(run) = app.store.run(&holder.run_id).await? {
            return end_if_overdue(app, run).await.map(Some);
        }
    }
    Ok(None)
}

impl Trigger<'_> {
    /// Whether this start is later than the trigger lets a run be put off that was made at `made_at`.
    fn is_too_late(&self, start: Timestamp, made_at: Timestamp) -> bool {
        self.debounce.max_delay.is_some_and(|most| start > made_at.plus(most))
    }

    /// Whether a run is one of this debounce key that is delayed.
    fn is_of_this_key(&self, run: &Run) -> bool {
        run.status == RunStatus::Delayed && run.spec.debounce.as_ref() == Some(&self.debounce.hash)
    }

    /// When `run` starts if it is pushed now: no earlier than it would have.
    fn start(&self, run: &Run, now: Timestamp) -> Timestamp {
        now.plus(self.debounce.delay).max(run.retry_at.unwrap_or_default())
    }

    fn pusher(&self) -> Pusher {
        Pusher {
            run_id: self.own.run_id.clone(),
            created_at: self.own.created_at,
            key: self.planned.spec_of(self.own).key,
            fingerprint: request_fingerprint(self.request),
            helped: self.own.run_id != self.named(),
        }
    }

    /// The run that its request names.
    fn named(&self) -> RunId {
        let TriggerRequest { environment, task, request_id, .. } = self.request;
        RunId::named(environment, task, request_id)
    }

    /// The run that an earlier try of this request has pushed, or that of a claimer whom it helps.
    async fn answered_before(&self, app: &App, alias: Run) -> Result<Run, Error> {
        let is_own = alias.id == self.named();
        let is_same = alias.spec.fingerprint == Some(request_fingerprint(self.request));
        if is_own && !is_same && !matches!(self.request.parentage, Parentage::Known(_)) {
            // Whoever helped it, when it had claimed its key and died, has pushed in its name with another payload.
            let TriggerRequest { environment, task, key, .. } = self.request;
            let address = |key| KeyAddress::of_key(environment, task, key);
            let Some(key) = key.as_ref().filter(|key| was_helped(&alias, Some(address(key)))) else {
                return Err(other_request());
            };
            guard_payload(self.request.on_payload_mismatch, key.display_text(), &alias.id)?;
        }
        stands_for(app, alias).await
    }

    /// Pushes a run that is delayed, unless another has pushed it as far since it was read, who came at the same moment. `None` if
    /// it is to be looked at again.
    async fn push(&self, app: &App, run: Run) -> Result<Option<Run>, Error> {
        let now = app.clock.now();
        let due_at = self.start(&run, now);
        keep_for_start(app, &run, due_at).await?;
        let latest = match self.debounce.mode {
            DebounceMode::Leading => None,
            DebounceMode::Trailing => Some(self.latest(app, &run).await?),
        };
        // As long as its own run would have been, whose key it stands for.
        let kept_until = run.kept_until().max(due_at.plus(KEPT)).max(self.planned.spec_of(self.own).kept_until());
        let (by, after, latest) = (&self.pusher(), run.pushed_by.as_ref(), latest.as_ref());
        let push = Move::Push { turn: run.turn, due_at, kept_until, by, after, latest };
        match app.store.move_run(&run.id, push, now).await? {
            Moved::To(pushed) => {
                tracing::info!(run_id = %pushed.id, task = %pushed.spec.task, environment = %pushed.spec.environment, "pushed");
                Ok(Some(pushed))
            }
            Moved::Refused(now)
                if now.status == RunStatus::Delayed
                    && now.pushed_by != run.pushed_by
                    && now.retry_at >= Some(due_at) =>
            {
                Ok(Some(now))
            }
            Moved::Refused(_) | Moved::Gone => Ok(None),
        }
    }

    /// `run` with what this trigger asks for: its payload, metadata, tags, how often it is tried and how long, on which machine.
    async fn latest(&self, app: &App, run: &Run) -> Result<Run, Error> {
        let asked = self.planned.spec_of(self.own);
        let mut spec =
            RunSpec { payload_type: asked.payload_type, metadata_beside: asked.metadata_beside, ..run.spec.clone() };
        spec.options.metadata = asked.options.metadata;
        spec.options.tags = asked.options.tags;
        spec.options.max_attempts = asked.options.max_attempts;
        spec.options.max_duration = asked.options.max_duration;
        const MACHINE: &str = "machine";
        match asked.options.placement.get(MACHINE) {
            Some(machine) => spec.options.placement.insert(MACHINE.to_owned(), machine.clone()),
            None => spec.options.placement.remove(MACHINE),
        };
        let latest = Run { spec, ..run.clone() };
        self.planned.clone().filled(app, latest, self.request.payload.clone()).await
    }

    /// Leaves under the own run's name that `run` stands for it. The run that does: another, if an earlier try was there first.
    async fn leave_alias(&self, app: &App, run: Run) -> Result<Run, Error> {
        match app.store.create_run(&alias_of(&self.pusher(), &run, app.clock.now())).await? {
            None => Ok(run),
            Some(there) => stands_for(app, there).await,
        }
    }

    /// Makes the run of a claimer that has made none, with what this trigger asks for. Whether it was this that made it, the next
    /// look tells.
    async fn help(&self, app: &App, holder: DebounceClaim) -> Result<(), Error> {
        let spec = RunSpec {
            created_at: holder.created_at,
            key: holder.claimed,
            lineage: self.lineage.cloned(),
            batch: None,
            helped: true,
            made_by: Some(self.pusher()),
            ..self.planned.spec_of(self.own)
        };
        let run = Run::new(holder.run_id, spec, None);
        let run = self.planned.clone().filled(app, run, self.request.payload.clone()).await?;
        tracing::warn!(run_id = %run.id, by = %self.own.run_id, "made for a trigger that has made none");
        app.queues.send_run(&RunMessage::first(&run)).await?;
        app.store.create_run(&run).await?;
        Ok(())
    }
}
