//! Claiming a key: who makes the run, who helps a claimer that died, and who is told of a run that is there (R01, R03).

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::RunId;
use crate::key::IdempotencyKey;
use crate::request::TriggerRequest;
use crate::store::{ClaimRefused, KeyRecord};

/// How long to wait, before each new look, for a run whose key is claimed: half a second in all. Its claimer is normally
/// a few milliseconds behind.
const LOOKS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(140),
    Duration::from_millis(220),
];

/// How often a claim is tried while others take and free the key.
const ROUNDS: u32 = 20;

/// What a trigger may do about its key.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// The key is ours: make the run. Also when an earlier try of this very request claimed it.
    Ours(KeyRecord),
    /// It belongs to a claimer that died before its run was sent: make the claimer's run, under its name.
    Help(KeyRecord),
    /// A run that is there holds it: answer with that.
    Held(RunId),
}

/// Claims `key` for the run `own` that `request` would make at `now`.
///
/// # Errors
/// [`Error::Contended`] when the key changed hands twenty times meanwhile, [`Error::Aws`].
pub async fn claim(
    app: &App,
    request: &TriggerRequest,
    key: &IdempotencyKey,
    own: &RunId,
    now: Timestamp,
) -> Result<Claim, Error> {
    let record = KeyRecord { run_id: own.clone(), created_at: now, window_ends_at: request.window.end(now) };
    let fingerprint = request.payload.fingerprint();
    let address = (&request.environment, &request.task, key);
    let mut dead = None;
    for _ in 0..ROUNDS {
        match app.store.claim_key(address, &record, fingerprint, dead.as_ref()).await? {
            Ok(()) => return Ok(Claim::Ours(record)),
            Err(ClaimRefused::HeldBy(holder)) if holder.run_id == *own => return Ok(Claim::Ours(holder)),
            Err(ClaimRefused::HeldBy(holder)) => match holder_state(app, &holder).await? {
                Holder::Alive => return Ok(Claim::Held(holder.run_id)),
                Holder::NeverSent => return Ok(Claim::Help(holder)),
                Holder::Dead => dead = Some(holder),
            },
            Err(ClaimRefused::Unknown) => dead = None,
        }
    }
    Err(Error::Contended(key.shown().to_owned()))
}

enum Holder {
    /// It holds the key by right.
    Alive,
    /// There is no such run: its claimer died between claiming and sending.
    NeverSent,
    /// It failed and its key is not cleared yet, or the claim was made by a request sent again after the key was freed.
    Dead,
}

async fn holder_state(app: &App, holder: &KeyRecord) -> Result<Holder, Error> {
    for pause in LOOKS {
        // Real time, whatever the clock says: this waits for another process.
        tokio::time::sleep(pause).await;
        if let Some(run) = app.store.run(&holder.run_id).await? {
            let dead = run.status.frees_key() || !holder.made(&run);
            return Ok(if dead { Holder::Dead } else { Holder::Alive });
        }
    }
    Ok(Holder::NeverSent)
}
