//! Claiming a key: who makes the run, who helps a claimer that died, and who is told of a run that is there (R01, R03).

use std::time::Duration;

use futures_util::future::try_join;
pub use oncekey_wire::KeyStatus;
use oncekey_wire::RunId;

use crate::app::App;
use crate::clock::{CLOCKS_APART, Timestamp};
use crate::error::Error;
use crate::key::{IdempotencyKey, KeyRelease};
use crate::protocol::debounce::stands_for;
use crate::protocol::fingerprint::{guard_payload, other_request, request_fingerprint};
use crate::protocol::overdue::end_if_overdue;
use crate::protocol::replace::{bar, make_way};
use crate::request::held::OnKeyHeld;
use crate::request::{Parentage, TriggerRequest};
use crate::run::Run;
use crate::store::{Claimed, KeyAddress, KeyRecord};

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

/// The longest that a function lives which takes triggers in: those of HTTP have 15 seconds, ingest has 30.
const FUNCTION_LIVES: Duration = Duration::from_secs(30);
/// The longest that a worker lives: Lambda's own limit.
const WORKER_LIVES: Duration = Duration::from_secs(15 * 60);

/// How often a claim is tried while others take and free the key.
const ROUNDS: u32 = 20;

/// What a trigger may do about its key.
#[derive(Debug)]
pub enum Claim {
    /// The key is ours: make the run. Also when an earlier try of this very request claimed it.
    Ours(KeyRecord, KeyStatus),
    /// It belongs to a claimer that died before its run was sent: make the claimer's run, under its name.
    Help(KeyRecord),
    /// A run that is there holds it: answer with that.
    Held(KeyRecord, Box<Run>),
}

/// Claims `key` for the run `own` that `request` would make at `now`.
///
/// # Errors
/// [`Error::Contended`] when the key changed hands twenty times meanwhile, [`Error::BeingMade`] when its claimer may still
/// be at work on another payload, [`Error::Unprocessable`] for a request id that was used otherwise, [`Error::Aws`].
pub async fn claim(
    app: &App,
    request: &TriggerRequest,
    key: &IdempotencyKey,
    own: &RunId,
    now: Timestamp,
) -> Result<Claim, Error> {
    let fingerprint = Some(request.payload.fingerprint());
    let helped_from = Some(now.plus(claimer_lives(request)).plus(CLOCKS_APART));
    let record = KeyRecord {
        fingerprint,
        helped_from,
        release: request.release,
        ..KeyRecord::new(own.clone(), Some(key), now, request.window.end(now))
    };
    let address = KeyAddress::of_key(&request.environment, &request.task, key);
    let (mut dead, mut replaced) = (None, false);
    for _ in 0..ROUNDS {
        match app.store.claim_key(address, &record, dead.as_ref()).await? {
            Claimed::Free | Claimed::Over(_) if replaced => return Ok(Claim::Ours(record, KeyStatus::Replaced)),
            Claimed::Free => return Ok(Claim::Ours(record, KeyStatus::Created)),
            Claimed::Over(before) if before.window_ends_at <= now => {
                return Ok(Claim::Ours(record, KeyStatus::ReplacedExpired));
            }
            // Its run's end freed it a moment ago: nobody holds it, though it was not cleared yet.
            Claimed::Over(before) if before.release == KeyRelease::OnEnd => {
                return Ok(Claim::Ours(record, KeyStatus::Created));
            }
            Claimed::Over(_) => return Ok(Claim::Ours(record, KeyStatus::ReplacedFailed)),
            Claimed::HeldBy(holder) if holder.run_id == *own => {
                let same = holder.fingerprint.is_none() || holder.fingerprint == record.fingerprint;
                if !same && !matches!(request.parentage, Parentage::Known(_)) {
                    return Err(other_request());
                }
                return Ok(Claim::Ours(holder, KeyStatus::Created));
            }
            Claimed::HeldBy(holder) => {
                let asked = changes_hands(request, &holder).then_some(own);
                match Box::pin(holder_state(app, address, &holder, asked)).await? {
                    // Sent again, it is answered as it was, whoever holds the key now.
                    Holder::MadeOwn(run) => return Ok(Claim::Ours(claim_of(&run, key), KeyStatus::Created)),
                    state if request.on_key_held == OnKeyHeld::Replace && state.is_under_way() => {
                        // By now its own run may be there: it must not cancel the run that has taken that one's place.
                        if let Some(run) = app.store.run(own).await? {
                            return Ok(Claim::Ours(claim_of(&run, key), KeyStatus::Created));
                        }
                        replaced = match state {
                            Holder::Alive(run) => make_way(app, *run, own).await?,
                            _ => bar(app, request, key, &holder, own).await?,
                        };
                        dead = None;
                    }
                    Holder::Alive(run) if request.on_key_held == OnKeyHeld::Error => {
                        return Err(key_held(key.display_text(), &run.id));
                    }
                    Holder::Alive(run) => {
                        let same = match &run.spec.fingerprint {
                            Some(_) => run.spec.fingerprint == Some(request_fingerprint(request)),
                            None => holder.fingerprint == record.fingerprint,
                        };
                        if !same {
                            guard_payload(request.on_payload_mismatch, key.display_text(), &run.id)?;
                        }
                        return Ok(Claim::Held(holder, run));
                    }
                    Holder::NeverSent if holder.fingerprint == record.fingerprint => return Ok(Claim::Help(holder)),
                    // A claimer that is merely slow may have told somebody that its own payload runs.
                    Holder::NeverSent if holder.helped_from.is_some_and(|from| app.clock.now() < from) => {
                        return Err(Error::BeingMade(key.display_text().to_owned()));
                    }
                    // Whoever made it is dead, and nobody's payload runs: it would be held for nothing to the end of its window.
                    Holder::NeverSent => return Ok(Claim::Help(holder)),
                    Holder::Dead { has_made_way } => (dead, replaced) = (Some(holder), has_made_way),
                }
            }
            Claimed::Unknown => dead = None,
        }
    }
    Err(Error::Contended(key.display_text().to_owned()))
}

/// The claim of an earlier try of this very request, which has made its run. One without a key, or of another, tells that the
/// request's id was used otherwise.
fn claim_of(run: &Run, key: &IdempotencyKey) -> KeyRecord {
    let created_at = run.spec.created_at;
    let claimed = run.spec.key.as_ref().map(|claimed| (claimed.release, claimed.window_ends_at));
    let (release, window_ends_at) = claimed.unwrap_or((KeyRelease::default(), created_at));
    KeyRecord { release, ..KeyRecord::new(run.id.clone(), Some(key), created_at, window_ends_at) }
}

/// Another run holds the key.
pub(super) fn key_held(key: &str, holder: &RunId) -> Error {
    Error::KeyHeld { key: key.to_owned(), holder: holder.clone() }
}

/// How long whoever claims for this request lives, at most.
fn claimer_lives(request: &TriggerRequest) -> Duration {
    match request.parentage {
        Parentage::Known(_) => WORKER_LIVES,
        Parentage::None | Parentage::Named(_) => FUNCTION_LIVES,
    }
}

enum Holder {
    /// Whoever asks has made its run by an earlier try of the same request.
    MadeOwn(Box<Run>),
    /// It holds the key by right.
    Alive(Box<Run>),
    /// There is no such run: its claimer died between claiming and sending.
    NeverSent,
    /// It came to an end that frees its key, which is not cleared yet, or was made for another claim: an earlier one of its
    /// request, which was sent again after the key was freed.
    Dead {
        /// Whether it was cancelled to make way for another.
        has_made_way: bool,
    },
}

impl Holder {
    /// Whether there is something to replace: it has not ended, or not begun.
    fn is_under_way(&self) -> bool {
        match self {
            Self::Alive(run) => !run.status.is_final(),
            Self::NeverSent => true,
            Self::MadeOwn(_) | Self::Dead { .. } => false,
        }
    }
}

/// Whether a key is one that passes from run to run while callers may still send their requests again: then a read tells whether
/// the own run is there. With other keys that would take a run that has failed and another that has taken its key; then that one is
/// the answer, and every duplicate is spared the read.
fn changes_hands(request: &TriggerRequest, holder: &KeyRecord) -> bool {
    request.on_key_held != OnKeyHeld::Return
        || [request.release, holder.release].contains(&KeyRelease::OnEnd)
        // What stands for a push is the run that it pushed, whatever became of that.
        || request.debounce.is_some()
}

/// Where the run of `holder` stands; unless the run `own` is there, if that is asked.
async fn holder_state(
    app: &App,
    address: KeyAddress<'_>,
    holder: &KeyRecord,
    own: Option<&RunId>,
) -> Result<Holder, Error> {
    let made_own = async || match own {
        Some(own) => app.store.run(own).await,
        None => Ok(None),
    };
    for pause in LOOKS {
        // Even a sleep of no time waits for a timer's next tick, a millisecond away.
        if !pause.is_zero() {
            // Real time, whatever the clock says: this waits for another process.
            tokio::time::sleep(pause).await;
        }
        let (of_holder, of_own) = try_join(app.store.run(&holder.run_id), made_own()).await?;
        if let Some(run) = of_own {
            return Ok(Holder::MadeOwn(Box::new(run)));
        }
        if let Some(run) = of_holder {
            let run = end_if_overdue(app, run).await?;
            let (is_its, is_alias) = (holder.made(address, &run), run.pushed_to.is_some());
            let mut run = stands_for(app, run).await?;
            if is_alias {
                // What it was triggered with says nothing of this key.
                run.spec.fingerprint = None;
            }
            return Ok(match is_its && !holder.is_freed_by(&run) {
                true => Holder::Alive(Box::new(run)),
                false => Holder::Dead { has_made_way: run.replaced_by.is_some() },
            });
        }
    }
    Ok(Holder::NeverSent)
}
