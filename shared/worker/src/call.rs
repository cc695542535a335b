//! The calls a task makes to its context: numbered, so that a resumed run finds each where it was.

use std::collections::BTreeMap;

use oncekey_core::key::{KeyHash, Scope};
use oncekey_core::payload::Payload;
use oncekey_core::protocol::trigger::RunHandle;
use oncekey_core::run::end::End;
use oncekey_core::{BulkActionId, Error, QueueLabel, RunId, Timestamp, TokenId};
use oncekey_wire::{CreatedToken, Json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::decided::Decided;

/// One call, as the journal remembers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// What was asked, in words that an error can show, and [short](short).
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub what: String,
    /// Fingerprints of what was given with it: that of a payload, or two of a moment. Older versions noted none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub prints: Vec<String>,
    /// A fingerprint of the key that it was made under.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Whether nothing else was pending in the task meanwhile.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub alone: bool,
    /// How many answers the task had when it made this call.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub after: usize,
    /// What it gave, if it came to an answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<Result<Answer, Refusal>>,
    /// When a wait for a time is over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due_at: Option<Timestamp>,
    /// Ends of its children that were there when it asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub ends: BTreeMap<RunId, End>,
}

/// What a call says, by which the journal knows it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wording {
    /// What is asked, in words.
    pub what: String,
    /// Fingerprints of what is given with it. Of several, one that is the same is enough.
    pub prints: Vec<String>,
    /// A fingerprint of the key that it is made under.
    pub key: Option<String>,
}

impl Wording {
    /// A call that says no more than these words.
    pub(crate) fn new(what: &str) -> Self {
        Self { what: short(what), ..Self::default() }
    }

    /// With the payload, or whatever else is given.
    pub(crate) fn with(mut self, given: &str) -> Self {
        self.prints.push(print(given));
        self
    }

    /// Under a key of this hash.
    pub(crate) fn under(mut self, key: Option<&str>) -> Self {
        self.key = key.map(print);
        self
    }
}

/// A fingerprint: 64 bits guard against mistakes, and a call may be one of thousands in an item.
fn print(text: &str) -> String {
    let hash = KeyHash::of(&[text], Scope::Global, None).to_string();
    hash.get(..16).unwrap_or(&hash).to_owned()
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The children it triggered, so that a resume finds them though their keys may be gone.
    Children(Vec<RunHandle>),
    /// Those of a batch that it triggered, and why it did not trigger the others, by their place.
    Partly { children: Vec<RunHandle>, refused: BTreeMap<usize, Refusal> },
    /// Whether somebody held the key.
    Held(bool),
    /// The run that is a replay of another.
    Replayed(RunId),
    /// The bulk action that it made.
    Bulk(BulkActionId),
    /// The wait token that it made, or found.
    Token(CreatedToken),
    /// How the token ended that it waited for.
    Decided(Decided),
    /// It was done.
    Done,
}

/// Why a call was refused, so that a resume is refused likewise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    Invalid { field: String, message: String },
    NotFound(String),
    TooLarge(String),
    Unprocessable(String),
    KeyHeld { key: String, holder: RunId },
    Contended(String),
    Failed(String),
}

impl Refusal {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Invalid { field, message } => Self::Invalid { field: field.clone(), message: message.clone() },
            Error::NotFound(text) => Self::NotFound(text.clone()),
            Error::TooLarge(text) => Self::TooLarge(text.clone()),
            Error::Unprocessable(text) => Self::Unprocessable(text.clone()),
            Error::KeyHeld { key, holder } => Self::KeyHeld { key: key.clone(), holder: holder.clone() },
            Error::Contended(what) => Self::Contended(what.clone()),
            error if error.is_transient() => Self::Failed(error.to_string()),
            error => Self::Unprocessable(error.to_string()),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid { field, message } => Self::Invalid { field, message },
            Refusal::NotFound(text) => Self::NotFound(text),
            Refusal::TooLarge(text) => Self::TooLarge(text),
            Refusal::Unprocessable(text) => Self::Unprocessable(text),
            Refusal::KeyHeld { key, holder } => Self::KeyHeld { key, holder },
            Refusal::Contended(what) => Self::Contended(what),
            Refusal::Failed(text) => Self::Aws { call: "a call before the run was suspended", source: text.into() },
        }
    }
}

impl Call {
    /// A call that nobody has made before.
    pub(crate) fn new(wording: Wording, alone: bool, after: usize) -> Self {
        let Wording { what, prints, key } = wording;
        Self { what, prints, key, alone, after, ..Self::default() }
    }

    /// Whether it was given the same.
    pub(crate) fn gave_the_same(&self, wording: &Wording) -> bool {
        let same = self.prints.iter().any(|print| wording.prints.contains(print));
        (same || (self.prints.is_empty() && wording.prints.is_empty())) && self.key == wording.key
    }

    /// Whether an older version noted it, which did not note what was given.
    pub(crate) fn is_unmarked(&self) -> bool {
        self.prints.is_empty() && self.key.is_none()
    }

    /// Adds what another part of the same call tells.
    pub(crate) fn merge(&mut self, part: Self) {
        if !part.what.is_empty() {
            self.what = part.what;
            self.prints = part.prints;
            self.key = part.key;
            self.alone = part.alone;
            self.after = part.after;
        }
        self.answer = part.answer.or(self.answer.take());
        self.due_at = part.due_at.or(self.due_at);
        self.ends.extend(part.ends);
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What was asked, for the journal: long words end in their hash, so that they differ if the whole does.
pub(crate) fn short(what: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    if what.chars().nth(MAX_CHARACTERS).is_none() {
        return what.to_owned();
    }
    let start: String = what.chars().take(MAX_CHARACTERS).collect();
    format!("{start}… ({})", print(what))
}

/// Why a call to the context failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The child that was waited for did not complete.
    #[error("{task} run {id} ended {status}: {message}")]
    Child {
        /// The child's task.
        task: String,
        /// The child.
        id: RunId,
        /// How it ended.
        status: oncekey_core::RunStatus,
        /// Its error.
        message: String,
    },
    /// Nobody completed the wait token before its time was over.
    #[error("nobody completed the wait token {token} before its time was over")]
    TokenTimedOut {
        /// The token.
        token: TokenId,
    },
    /// What a child returned, a step recorded or a token was completed with, is not of the type that was asked for.
    #[error("{what} is not what was asked for: {source}")]
    Type {
        /// Which value.
        what: String,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// The task makes other calls than it made before it was suspended. No attempt can mend that.
    #[error("{}", other_call(*number, now, before))]
    OtherCall {
        /// The call's number, from 1.
        number: u32,
        /// What was asked now.
        now: String,
        /// What was asked before.
        before: String,
    },
    /// The run did what must not be done twice, so it waits in place; and this wait outlasts the invocation.
    #[error("{}", not_held(*ends_at, *stops_at, blocked.as_ref(), effects))]
    NotHeld {
        /// When the wait would end, if that is known.
        ends_at: Option<Timestamp>,
        /// When the invocation ends.
        stops_at: Timestamp,
        /// The child that it waits for, and the queue of which that needs the place that the run has itself.
        blocked: Option<(RunId, QueueLabel)>,
        /// What the run did.
        effects: Vec<String>,
    },
    /// Oncekey refused, or something behind it failed.
    #[error(transparent)]
    Oncekey(#[from] Error),
}

impl CallError {
    /// Whether another attempt of the task may mend it.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Child { .. } | Self::TokenTimedOut { .. } => true,
            Self::Type { .. } | Self::OtherCall { .. } | Self::NotHeld { .. } => false,
            Self::Oncekey(error) => error.is_transient(),
        }
    }
}

fn other_call(number: u32, now: &str, before: &str) -> String {
    let which = match now == before {
        true => {
            format!("call {number}, {now:?}, is given something else, and not alone, so it is not known which it is")
        }
        false => format!("call {number} is now {now:?} and was {before:?}"),
    };
    format!(
        "the task was resumed and made another call than before: {which}. Between two waits a task must make the same calls \
         in the same order"
    )
}

fn not_held(
    ends_at: Option<Timestamp>,
    stops_at: Timestamp,
    blocked: Option<&(RunId, QueueLabel)>,
    effects: &[String],
) -> String {
    let why = match (blocked, ends_at) {
        (Some((child, queue)), _) => {
            format!(
                "{child} waits for a place of the queue {queue}, and this run, which waits for it, has the only one"
            )
        }
        (None, Some(ends_at)) => format!("it ends at {ends_at}, and this invocation at {stops_at}"),
        (None, None) => "it has outlasted this invocation".to_owned(),
    };
    let effects = effects.join(" and ");
    format!(
        "this wait cannot be had: {why}. The run cannot be started again from the top instead, because before this wait it \
         {effects}, which would be done twice. Do that in a task of its own and wait for it (triggerAndWait), or give the \
         worker a longer timeout, or set ONCEKEY_WAITS=replay if doing it twice is harmless"
    )
}

/// Reads what a child returned.
pub(crate) fn returned<T: DeserializeOwned>(what: &str, output: &Payload) -> Result<T, CallError> {
    let read = || serde_json::from_str(output.json()?.as_ref().map_or("null", Json::get));
    read().map_err(|source| CallError::Type { what: what.to_owned(), source })
}

/// Reads a value that a step gave.
pub(crate) fn typed<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, CallError> {
    serde_json::from_str(text).map_err(|source| CallError::Type { what: what.to_owned(), source })
}
