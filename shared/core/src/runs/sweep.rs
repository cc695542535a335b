//! The daily sweep: looks at runs that nobody else may ever look at. SQS deletes what nobody received for days without a word;
//! whoever reads a run that has lost its message helps it on ([`overdue`]), and without the sweep there might be no reader.

use std::time::Duration;

use oncekey_wire::{EnvironmentId, RunId};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::protocol::{overdue, schedule, wait};
use crate::queue::batch::Disposition;
use crate::run::Run;
use crate::run::status::RunStatus;
use crate::runs::list::{MAX_PAGE, next_places};
use crate::store::Position;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Every run is looked at once, on the day on which it is so old: the message of one that was due at once is gone by then.
const ONCE: Duration = Duration::from_secs(16 * 24 * 60 * 60);
/// A run this old is looked at every day: most that are over are deleted by then.
const DAILY: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// After so many days the children of a run that waits are looked at: the message that was to tell it of an end may be lost.
const NOT_TOLD: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// How many runs one message looks at before it sends the next: were all of them overdue, it would still be done in seconds.
const MAX_EXAMINED: usize = 200;

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
        serde_json::from_str(body).ok().map(|Self { sweep }| sweep)
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
    for walk in next {
        app.queues.send_sweep(&SweepMessage { sweep: Sweep { of: Some(walk) } }).await?;
    }
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
    let old =
        |age: Duration| format!("{:015}", walk.at.millis().saturating_sub_unsigned(age.as_millis() as u64).max(0));
    let spans = [(String::new(), old(DAILY)), (old(ONCE + DAY), old(ONCE))];
    if walk.after.is_empty() {
        schedule::send_lost_ticks(app, &walk.environment).await?;
    }
    let mut examined = 0;
    for (from, to) in spans {
        let mut after = from.max(walk.after.clone());
        loop {
            let places = next_places(app, &walk.environment, (&after, &to), true, MAX_PAGE).await?;
            look(app, &places).await?;
            let Some(last) = places.last() else { break };
            after = last.to_string();
            examined += places.len();
            if examined >= MAX_EXAMINED {
                walk.after = after;
                return Ok(Some(walk));
            }
        }
    }
    Ok(None)
}

async fn look(app: &App, places: &[Position]) -> Result<(), Error> {
    let ids: Vec<&RunId> = places.iter().map(Position::run).collect();
    for run in overdue::runs(app, &ids).await? {
        if is_not_told(&run, app.clock.now()) {
            wait::look_for_ends(app, &run).await?;
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
