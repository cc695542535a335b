//! What a suspended run waits for, for people to look at.

use std::collections::BTreeSet;

pub use oncekey_wire::WaitingFor;
use oncekey_wire::{AwaitedRun, RunId};

use crate::app::App;
use crate::error::Error;
use crate::protocol::overdue;
use crate::run::Run;
use crate::run::status::RunStatus;

/// Waits that are looked into.
const WAITS: usize = 10;
/// Runs that are named.
const NAMED: usize = 10;

/// What `run` waits for, if it is suspended. Two reads and one a wait.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn waiting_for(app: &App, run: &Run) -> Result<Option<WaitingFor>, Error> {
    if run.status != RunStatus::Waiting {
        return Ok(None);
    }
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
    Ok(Some(waiting))
}
