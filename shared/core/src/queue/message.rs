//! What travels on the queues: versioned JSON.

use std::time::Duration;

use oncekey_wire::RunId;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::flow::{Holder, Lane, Line, Slot};
use crate::payload::PayloadType;
use crate::payload::path::BlobPath;
use crate::queue::name::QueueName;
use crate::run::beside::{Beside, Kept};

use crate::run::status::{Event, RunStatus};
use crate::run::turn::Turn;
use crate::run::waiter::Waiter;
use crate::run::{Run, RunError, RunSpec, SURELY_KEPT};

/// The version of every message this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// A message on a `runs` queue: start this attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunMessage {
    /// [`VERSION`].
    pub v: u32,
    /// The run.
    pub run_id: RunId,
    /// The name of the queue that carries it.
    pub queue: QueueName,
    /// The turn this message starts.
    #[serde(flatten)]
    pub turn: Turn,
    /// The call whose timed wait is over: wake the run from it, instead of starting an attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wakes: Option<u32>,
    /// How often the run was rescheduled before this was sent.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub rescheduled: u32,
    /// Not before this moment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due_at: Option<Timestamp>,
    /// What decides in which lane the run is; older versions did not tell. A first dispatch carries it with the run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<Line>,
    /// The parked item of a turn that was given a place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub given: Option<String>,
    /// The slot that the attempt has taken of its queue's rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<Slot>,
    /// On a first dispatch, the whole run, so that a worker can create it if the trigger died after sending.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<FirstDispatch>,
}

/// What a worker needs to create a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FirstDispatch {
    /// What was asked for.
    pub spec: RunSpec,
    /// The payload's text, or where it was put before this was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<Kept>,
}

impl RunMessage {
    /// The dispatch of a run's present turn: it is stored, so its name is enough.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self {
            v: VERSION,
            run_id: run.id.clone(),
            queue: run.spec.queue.clone(),
            turn: run.turn,
            wakes: None,
            rescheduled: run.reschedules,
            due_at: run.retry_at,
            line: Some(Line::of(run)),
            given: None,
            slot: run.slot,
            first: None,
        }
    }

    /// The run that this message makes where there is none. None if it was asked for so long ago that its record may have been
    /// made, and be gone: whoever asked and died has had no answer.
    #[must_use]
    pub fn absent(&self, now: Timestamp) -> Option<Run> {
        let first = self.first.as_ref().filter(|first| now.since(first.spec.created_at) < SURELY_KEPT)?;
        Some(Run::new(self.run_id.clone(), first.spec.clone(), first.payload.clone()))
    }

    /// The first dispatch of a run that a trigger has named: it carries the run.
    #[must_use]
    pub fn first(run: &Run) -> Self {
        Self {
            due_at: run.spec.options.delay_until,
            line: None,
            first: Some(FirstDispatch { spec: run.spec.clone(), payload: run.payload.clone() }),
            ..Self::of(run)
        }
    }

    /// The turn that it starts, as it has a place.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder { run: self.run_id.clone(), turn: self.turn }
    }

    /// What decides in which lane its run is, as far as it tells.
    #[must_use]
    pub fn line(&self) -> Option<Line> {
        self.line.clone().or_else(|| self.first.as_ref().map(|first| Line::asked(&first.spec)))
    }

    /// The same message, not before `due_at`.
    #[must_use]
    pub fn due_at(self, due_at: Timestamp) -> Self {
        Self { due_at: Some(due_at), ..self }
    }

    /// The end of a timed wait.
    #[must_use]
    pub fn wake(waiter: &Waiter, queue: &QueueName, due_at: Option<Timestamp>) -> Self {
        Self {
            v: VERSION,
            run_id: waiter.run.clone(),
            queue: queue.clone(),
            turn: Turn { attempt: waiter.attempt, resume: 0 },
            wakes: Some(waiter.call),
            rescheduled: 0,
            due_at,
            line: None,
            given: None,
            slot: None,
            first: None,
        }
    }

    /// The start of a turn that was given a place in this lane, and whose parked item is called so.
    #[must_use]
    pub fn given(holder: &Holder, lane: &Lane, queue: &QueueName, parked: &str) -> Self {
        Self {
            v: VERSION,
            run_id: holder.run.clone(),
            queue: queue.clone(),
            turn: holder.turn,
            wakes: None,
            rescheduled: 0,
            due_at: None,
            line: Some(lane.line()),
            given: Some(parked.to_owned()),
            slot: None,
            first: None,
        }
    }

    /// Whether nobody has taken up in `run` what this message is for.
    #[must_use]
    pub fn is_for(&self, run: &Run) -> bool {
        matches!(run.status, RunStatus::Delayed | RunStatus::Queued) && run.turn == self.turn
    }

    /// Whom this message wakes, if it is the end of a timed wait.
    #[must_use]
    pub fn waiter(&self) -> Option<Waiter> {
        let call = self.wakes?;
        Some(Waiter { run: self.run_id.clone(), attempt: self.turn.attempt, call })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn parse(body: &str) -> Result<Self, Error> {
        read("run message", body, |message: &Self| message.v)
    }
}

/// A message on the `completions` queue: how an attempt, or a run, ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompletionEvent {
    /// [`VERSION`].
    pub v: u32,
    /// The run.
    pub run_id: RunId,
    /// The turn that ended.
    #[serde(flatten)]
    pub turn: Turn,
    /// How.
    pub outcome: Outcome,
    /// Whether this is only so if no worker is at it: who reports it has not held the attempt, and cannot know.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unless_leased: bool,
    /// Until when the run is kept at least; older versions did not tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept_until: Option<Timestamp>,
    /// The run's children, if whoever reports this knows of any: the whole list that the run is to have.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<RunId>,
}

/// What a task returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Its JSON text.
    Inline(String),
    /// Its name beside the run, where it was put before this was sent.
    Beside(Beside),
    /// Where that is stored, as it is large.
    Stored(BlobPath),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Outcome {
    /// The task returned.
    Succeeded {
        /// What it returned, unless that is nothing.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        output: Option<Output>,
        /// How to read it.
        #[serde(skip_serializing_if = "PayloadType::is_json", default)]
        output_type: PayloadType,
        /// Why that is not kept, if it cannot be.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        lost: Option<RunError>,
    },
    /// The task failed.
    Failed {
        /// Why.
        error: RunError,
        /// The pause before the next attempt; none is left without.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        retry_after_ms: Option<u64>,
    },
    /// The worker died or was stopped by its deadline.
    Crashed {
        /// What is known of it.
        error: RunError,
        /// The pause before the next attempt; none is left without.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        retry_after_ms: Option<u64>,
    },
    /// The attempt computed longer than its `maxDuration`.
    TimedOut {
        /// The limit in words.
        error: RunError,
    },
    /// The run could not be executed by us.
    #[serde(rename = "broke_down")]
    SystemFailure {
        /// Why.
        error: RunError,
    },
    /// The run was not started within its `ttl`.
    Expired,
    /// Somebody cancelled the run, whichever attempt it is in.
    Canceled {
        /// The run that is to take its place and its key, if it makes way for one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        replaced_by: Option<RunId>,
    },
}

impl Output {
    /// The largest that stands in the run's own item, which is written once with it.
    pub const MAX_INLINE_BYTES: usize = 1024;
}

impl Outcome {
    /// A success whose output cannot be kept, and `why` not. The task has done what it did: it is not run again.
    #[must_use]
    pub fn without_output(why: &str) -> Self {
        let why = format!("the task succeeded, and its output is not kept: {why}");
        let lost = Some(RunError::new("OutputLost", &why));
        Self::Succeeded { output: None, output_type: PayloadType::Json, lost }
    }

    /// Why it ended, when it did not end well; or why what it returned is not kept.
    #[must_use]
    pub fn error(&self) -> Option<&RunError> {
        match self {
            Self::Failed { error, .. }
            | Self::Crashed { error, .. }
            | Self::TimedOut { error }
            | Self::SystemFailure { error } => Some(error),
            Self::Succeeded { lost, .. } => lost.as_ref(),
            Self::Expired | Self::Canceled { .. } => None,
        }
    }

    /// What this is to the state machine.
    #[must_use]
    pub fn event(&self) -> Event {
        match self {
            Self::Succeeded { .. } => Event::Succeed,
            Self::Failed { retry_after_ms: Some(_), .. } | Self::Crashed { retry_after_ms: Some(_), .. } => {
                Event::Retry
            }
            Self::Failed { retry_after_ms: None, .. } => Event::Fail,
            Self::Crashed { retry_after_ms: None, .. } => Event::Crash,
            Self::SystemFailure { .. } => Event::SystemFailure,
            Self::TimedOut { .. } => Event::TimeOut,
            Self::Expired => Event::Expire,
            Self::Canceled { .. } => Event::Cancel,
        }
    }

    /// The pause before the next attempt, if another is left.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed { retry_after_ms, .. } | Self::Crashed { retry_after_ms, .. } => {
                retry_after_ms.map(Duration::from_millis)
            }
            Self::Succeeded { .. }
            | Self::TimedOut { .. }
            | Self::SystemFailure { .. }
            | Self::Expired
            | Self::Canceled { .. } => None,
        }
    }
}

impl CompletionEvent {
    /// The event that `run`, as it stands, ended so.
    #[must_use]
    pub fn new(run: &Run, outcome: Outcome) -> Self {
        let kept_until = Some(run.kept_until());
        let (run_id, turn) = (run.id.clone(), run.turn);
        Self { v: VERSION, run_id, turn, outcome, unless_leased: false, kept_until, children: Vec::new() }
    }

    /// The event that the present turn of `run` ended so, unless a worker is at it when the event is carried out.
    #[must_use]
    pub fn unless_leased(run: &Run, outcome: Outcome) -> Self {
        Self { unless_leased: true, ..Self::new(run, outcome) }
    }

    /// Reads an event.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn parse(body: &str) -> Result<Self, Error> {
        read("completion event", body, |event: &Self| event.v)
    }
}

/// A message's text: JSON of characters that a queue takes. Control characters are always escaped in JSON; of the others that
/// SQS refuses, a string may have U+FFFE and U+FFFF as they are.
///
/// # Errors
/// [`Error::Unreadable`], which no message of ours is.
pub(super) fn text(message: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(message).map_err(|error| Error::unreadable("message", error))?;
    if text.contains(['\u{FFFE}', '\u{FFFF}']) {
        return Ok(text.replace('\u{FFFE}', "\\ufffe").replace('\u{FFFF}', "\\uffff"));
    }
    Ok(text)
}

/// A text for people, with U+FFFD for each character that SQS refuses, and cut to `max_bytes`.
pub(super) fn excerpt(text: &str, max_bytes: usize) -> String {
    let mut excerpt = String::new();
    for character in text.chars() {
        let refused = matches!(character, '\u{FFFE}' | '\u{FFFF}')
            || (character.is_ascii_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{7F}'));
        let character = if refused { char::REPLACEMENT_CHARACTER } else { character };
        if excerpt.len() + character.len_utf8() > max_bytes {
            break;
        }
        excerpt.push(character);
    }
    excerpt
}

fn read<'a, T: Deserialize<'a>>(what: &str, body: &'a str, version: impl Fn(&T) -> u32) -> Result<T, Error> {
    let message: T = serde_json::from_str(body).map_err(|error| Error::unreadable(what, error))?;
    match version(&message) {
        1..=VERSION => Ok(message),
        newer => Err(Error::unreadable(what, format!("its version is {newer}, and this code reads up to {VERSION}"))),
    }
}

/// What can be told of a run message that cannot be read otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Remains {
    /// The run.
    pub run_id: RunId,
    /// Whether it was to end a wait, in whichever form.
    #[serde(deserialize_with = "is_there", default)]
    pub wakes: bool,
}

impl Remains {
    /// Those of a message; `None` if it names no run.
    #[must_use]
    pub fn of(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<serde::de::IgnoredAny>::deserialize(deserializer)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_message_tells_whether_it_was_to_end_a_wait() {
        let run = format!("run_{}", "a".repeat(32));
        let wakes = |rest: &str| Remains::of(&format!("{{\"run_id\": \"{run}\"{rest}}}")).expect("remains").wakes;
        assert!(wakes(r#", "v": 99, "wakes": {"call": 1}"#) && wakes(r#", "wakes": 1"#));
        assert!(!wakes("") && !wakes(r#", "wakes": null"#));
        assert_eq!(Remains::of("{}"), None);
    }
}
