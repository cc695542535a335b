//! The daily sweep: looks at runs that nobody else may ever look at. SQS deletes what nobody received for days without a word;
//! whoever reads a run that has lost its message helps it on ([`overdue`]), and without the sweep there might be no reader.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use oncekey_wire::{EnvironmentId, RunId};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::{admit, bulk, change, declare, overdue, schedule, token, wait};
use crate::queue::batch::Disposition;
use crate::run::Run;
use crate::run::status::RunStatus;
use crate::runs::list::next_places;
use crate::store::Position;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A run is looked at when it is so many days old, and again each time it has become twice as old. The message of one that was due
/// at once is gone by the first; most runs that are over are deleted by the second.
const AGES: [u32; 6] = [512, 256, 128, 64, 32, 16];
/// For so many days each time, should a sweep come late.
const FOR_DAYS: u32 = 2;
/// After so many days the children and tokens of a run that waits are looked at: the message that was to tell it of an end may be lost.
const NOT_TOLD: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// How long one message looks at runs before it sends the next, and how many places it takes at a time.
const PATIENCE: Duration = Duration::from_secs(5);
const PAGE: usize = 25;
/// Messages that are sent at once.
const AT_ONCE: usize = 10;

/// A message that asks for a sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepMessage {
    sweep: Sweep,
}

/// Which part of it: all of it, as its schedule asks, or what is left of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    of: Option<Walk>,
}

/// The walk over the runs of an environment, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    environment: EnvironmentId,
    /// The moment that ages are counted from, so that a walk of many messages has one end.
    at: Timestamp,
    /// The last place that was looked at.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    after: String,
}

impl SweepMessage {
    /// What a schedule sends.
    pub const TEXT: &str = r#"{"sweep":{}}"#;

    /// The sweep that a message asks for, if it does.
    #[must_use]
    pub fn parse(body: &str) -> Option<Sweep> {
        // As it is written, so that an event is read once.
        let message: Self = body.starts_with(r#"{"sweep":"#).then(|| serde_json::from_str(body).ok())??;
        Some(message.sweep)
    }
}

/// Carries out what a message asks for. Done twice, runs are looked at twice.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn sweep(app: &App, asked: Sweep) -> Result<Disposition, Error> {
    let next = match asked.of {
        None => every_environment(app).await?,
        Some(walk) => go_on(app, walk).await?.into_iter().collect(),
    };
    let send = |walk| async { app.queues.send_sweep(&SweepMessage { sweep: Sweep { of: Some(walk) } }).await };
    let sending: Vec<_> = next.into_iter().map(send).collect();
    stream::iter(sending).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(Disposition::Done)
}

async fn every_environment(app: &App) -> Result<Vec<Walk>, Error> {
    let mut environments: Vec<_> = app.store.api_keys().await?.into_iter().map(|key| key.environment).collect();
    environments.dedup();
    let at = app.clock.now();
    Ok(environments.into_iter().map(|environment| Walk { environment, at, after: String::new() }).collect())
}

/// Looks at the next runs. What is left of the walk, if anything is.
async fn go_on(app: &App, mut walk: Walk) -> Result<Option<Walk>, Error> {
    let begun = Instant::now();
    if walk.after.is_empty() {
        declare::settle_all(app, &walk.environment).await?;
        schedule::send_lost_ticks(app, &walk.environment).await?;
        bulk::send_lost(app, &walk.environment).await?;
        change::give_all(app, &walk.environment).await?;
    }
    let days_old = |days: u32| {
        let millis = walk.at.millis().saturating_sub_unsigned((DAY * days).as_millis() as u64);
        format!("{:015}", millis.max(0))
    };
    let spans = AGES.map(|days| (days_old(days + FOR_DAYS), days_old(days)));
    for (from, to) in spans {
        let mut after = from.max(walk.after.clone());
        loop {
            let places = next_places(app, &walk.environment, (&after, &to), true, PAGE).await?;
            let Some(last) = places.last() else { break };
            look(app, &places).await?;
            after = last.to_string();
            if begun.elapsed() > PATIENCE {
                walk.after = after;
                return Ok(Some(walk));
            }
        }
    }
    Ok(None)
}

async fn look(app: &App, places: &[Position]) -> Result<(), Error> {
    for place in places {
        match look_at(app, place.run()).await {
            // It keeps nobody from looking at the others.
            Err(error) if !error.is_transient() => tracing::error!(run_id = %place.run(), %error, "left out"),
            looked => looked?,
        }
    }
    Ok(())
}

async fn look_at(app: &App, id: &RunId) -> Result<(), Error> {
    for run in overdue::runs(app, &[id]).await? {
        if run.parked {
            admit::park_again(app, &run).await?;
        }
        if is_not_told(&run, app.clock.now()) {
            wait::look_for_ends(app, &run).await?;
            token::look_for_ends(app, &run).await?;
        }
    }
    Ok(())
}

/// Whether a run waits for so long that whoever was to tell it of an end may be lost.
fn is_not_told(run: &Run, now: Timestamp) -> bool {
    run.status == RunStatus::Waiting && now.since(run.updated_at) > NOT_TOLD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_asks_for_all_of_it_or_for_what_is_left_of_one_environment() {
        assert_eq!(SweepMessage::parse(SweepMessage::TEXT), Some(Sweep::default()));
        let walk = Walk {
            environment: EnvironmentId::parse("acme/prod").expect("an environment"),
            at: Timestamp::from_millis(7),
            after: "000000000000001#run_x".to_owned(),
        };
        let sweep = Sweep { of: Some(walk) };
        let text = serde_json::to_string(&SweepMessage { sweep: sweep.clone() }).expect("text");
        assert_eq!(SweepMessage::parse(&text), Some(sweep));
        assert_eq!(SweepMessage::parse(r#"{"v":1,"run_id":"run_x"}"#), None);
    }
}
