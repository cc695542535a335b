//! Change: what holds for a queue, or for an environment, is changed, and who is parked is given the places that there are then.
//!
//! The message of a change goes first, as in a cancel: were its writer to die after the write, nobody would give those places. It
//! carries the new setting, which has a generation more than that which it was made of, so that of two one is written, and none that is
//! late writes over a later one. Whoever handles it writes the setting if nobody has, and goes through the lanes in which runs are
//! parked.

use std::time::{Duration, Instant};

use oncekey_wire::{EnvironmentId, QueueLabel};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::error::Error;
use crate::flow::{EnvironmentSetting, Lane, Limits, QueueSetting, Source, Subject};
use crate::protocol::hand_on::{Given, hand_on};
use crate::queue::batch::Disposition;

/// How often a change is made anew because another came before it.
const TRIES: usize = 10;
/// How long one message goes through lanes before it sends the next.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message that carries a change out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeMessage {
    change: Change,
}

/// A change, and how far it was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    environment: EnvironmentId,
    setting: Subject,
    /// How many messages of it there were before.
    #[serde(skip_serializing_if = "is_none_yet", default)]
    message: u32,
    /// The queue that it has come to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    at: Option<QueueLabel>,
    /// The lane of that which is done with, if one is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    after: Option<Done>,
}

/// A lane that is done with: its concurrency key, if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    key: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_none_yet(message: &u32) -> bool {
    *message == 0
}

impl ChangeMessage {
    /// The change that a message carries, if it does.
    #[must_use]
    pub fn parse(body: &str) -> Option<Change> {
        let message: Self = body.starts_with(r#"{"change":"#).then(|| serde_json::from_str(body).ok())??;
        Some(message.change)
    }
}

/// Changes what holds for a queue, as it then stands.
///
/// # Errors
/// [`Error::Contended`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn change_queue(
    app: &App,
    environment: &EnvironmentId,
    queue: &QueueLabel,
    edit: impl Fn(&mut QueueSetting),
) -> Result<QueueSetting, Error> {
    for _ in 0..TRIES {
        let there = app.store.queue_setting(environment, queue).await?;
        let there = there.unwrap_or_else(|| QueueSetting::none(queue.clone(), app.clock.now()));
        let mut next = there.clone();
        // Also where that changes nothing: the message of an earlier change may be under way, whose writer has died.
        edit(&mut next);
        if let Some(written) = follow(app, environment, &there, next).await? {
            return Ok(written);
        }
    }
    Err(Error::Contended(queue.to_string()))
}

/// Writes `next` as what follows `there`. None if something else did.
///
/// # Errors
/// [`Error::Aws`].
pub(super) async fn follow(
    app: &App,
    environment: &EnvironmentId,
    there: &QueueSetting,
    next: QueueSetting,
) -> Result<Option<QueueSetting>, Error> {
    let next = QueueSetting { generation: there.generation + 1, updated_at: app.clock.now(), ..next };
    let is_written = write(app, environment, Subject::Queue(next.clone())).await?;
    Ok(is_written.then_some(next))
}

/// Pauses an environment, or has it go on.
///
/// # Errors
/// [`Error::Contended`], [`Error::Aws`], [`Error::Unreadable`].
pub async fn pause_environment(app: &App, environment: &EnvironmentId, paused: bool) -> Result<(), Error> {
    for _ in 0..TRIES {
        let generation = app.store.environment_setting(environment).await?.map_or(0, |there| there.generation) + 1;
        let next = EnvironmentSetting { generation, paused, updated_at: app.clock.now() };
        if write(app, environment, Subject::Environment(next)).await? {
            return Ok(());
        }
    }
    Err(Error::Contended(environment.to_string()))
}

async fn write(app: &App, environment: &EnvironmentId, setting: Subject) -> Result<bool, Error> {
    let change = Change { environment: environment.clone(), setting, message: 0, at: None, after: None };
    let message = ChangeMessage { change };
    app.queues.send_change(&message).await?;
    app.store.put_setting(environment, &message.change.setting).await
}

/// Carries a change out. Done twice, places are given to others that are parked.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn carry_out(app: &App, change: Change) -> Result<Disposition, Error> {
    let begun = Instant::now();
    let Change { environment, setting, message, at, after } = change;
    app.store.put_setting(&environment, &setting).await?;
    let (generation, queues) = match &setting {
        Subject::Queue(queue) => (queue.generation, vec![queue.queue.clone()]),
        Subject::Environment(all) => {
            let limits = Limits::of(app.store.settings(&environment, true).await?);
            (all.generation, limits.queues().keys().cloned().collect())
        }
    };
    // Each sends again what it gave itself, should it come again.
    let source = Source::Change(generation, message);
    let mut key = after;
    for queue in queues.into_iter().skip_while(|queue| at.as_ref().is_some_and(|at| queue < at)) {
        let mut after = key.take().filter(|_| at.as_ref() == Some(&queue));
        loop {
            let lane = |Done { key }| Lane { environment: environment.clone(), queue: queue.clone(), key };
            let Some(next) = app.store.next_parked_lane(&environment, &queue, after.clone().map(lane).as_ref()).await?
            else {
                break;
            };
            let is_all = hand_on(app, &next, &source).await? == Given::All;
            if is_all {
                after = Some(Done { key: next.key });
            }
            if !is_all || begun.elapsed() > PATIENCE {
                let (environment, at) = (environment.clone(), Some(queue));
                let change = Change { environment, setting, message: message.saturating_add(1), at, after };
                app.queues.send_change(&ChangeMessage { change }).await?;
                return Ok(Disposition::Done);
            }
        }
    }
    Ok(Disposition::Done)
}

/// Gives the places of an environment's queues that nobody has told of: whoever was to give them may have died.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn give_all(app: &App, environment: &EnvironmentId) -> Result<(), Error> {
    for queue in Limits::of(app.store.settings(environment, true).await?).queues().keys() {
        let mut after: Option<Lane> = None;
        while let Some(lane) = app.store.next_parked_lane(environment, queue, after.as_ref()).await? {
            hand_on(app, &lane, &Source::Sweep).await?;
            after = Some(lane);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_message_tells_how_far_a_change_was_carried_out() {
        let environment = EnvironmentId::parse("acme/prod").expect("an environment");
        let queue = QueueLabel::parse("mail").expect("a queue");
        let setting = QueueSetting::none(queue.clone(), Timestamp::from_millis(7));
        for after in [None, Some(Done { key: None }), Some(Done { key: Some("tenant".to_owned()) })] {
            let setting = Subject::Queue(setting.clone());
            let change =
                Change { environment: environment.clone(), setting, message: 1, at: Some(queue.clone()), after };
            let text = serde_json::to_string(&ChangeMessage { change: change.clone() }).expect("text");
            assert_eq!(ChangeMessage::parse(&text), Some(change));
        }
    }
}
