//! The one error of this crate. `oncekey-http` maps it to HTTP, in one place.

use oncekey_wire::{Invalid, RunId};

/// What can go wrong. The text of the first six is for the caller: what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is malformed; nothing was written (I10).
    #[error("{field}: {message}")]
    Invalid {
        /// The field as the caller wrote it, such as `options.tags`.
        field: String,
        /// What is wrong with it and what would be right.
        message: String,
    },
    /// The API key is missing or unknown.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The caller is known, and may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing in the caller's environment.
    #[error("{0}")]
    NotFound(String),
    /// The request is larger than a limit, which the text names.
    #[error("{0}")]
    TooLarge(String),
    /// Well-formed, but not acceptable as it stands.
    #[error("{0}")]
    Unprocessable(String),
    /// A key or batch changed again and again while we tried to change it. Retrying helps.
    #[error("{0} is being changed by many callers at once: try again")]
    Contended(String),
    /// A key was claimed a moment ago for another payload, and its run is not there yet. Retrying helps.
    #[error("the run of {0} is being made with another payload: try again in a minute")]
    BeingMade(String),
    /// Another run holds the key, and the trigger asked to be refused then.
    #[error(
        "idempotency key {key:?} is held by {holder}: trigger again when that has given it up, or with another key"
    )]
    KeyHeld {
        /// The key as it is shown.
        key: String,
        /// Who holds it.
        holder: RunId,
    },
    /// DynamoDB went on leaving out what it was asked for. Retrying helps.
    #[error("{0} is throttled: try again")]
    Throttled(&'static str),
    /// An AWS call failed after the SDK's own retries. Retrying may help.
    #[error("{call} failed: {source}")]
    Aws {
        /// The call, such as `dynamodb:PutItem`.
        call: &'static str,
        /// What the SDK reported.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// AWS refuses what it was asked for, as it does each time: an item that is larger than one may be, for one.
    #[error("{call} was refused: {why}")]
    Refused {
        /// The call, such as `dynamodb:UpdateItem`.
        call: &'static str,
        /// AWS's words.
        why: String,
    },
    /// A stored item or queued message cannot be read: it was written by something else, or by a newer version.
    #[error("{what} cannot be read: {why}")]
    Unreadable {
        /// Which record.
        what: String,
        /// The parser's words.
        why: String,
    },
    /// The process is not set up right.
    #[error("{0}")]
    Configuration(String),
}

impl Error {
    /// JSON that cannot be read, in the caller's words where the parser's do not help.
    pub(crate) fn json(field: impl Into<String>, error: &serde_json::Error) -> Self {
        // The parser's names of JSON's kinds are Rust's.
        let mut text = error.to_string().replace("type: sequence", "type: list").replace("type: map", "type: object");
        if error.is_data() {
            // The field says where.
            text.truncate(text.rfind(" at line ").unwrap_or(text.len()));
        }
        if text.contains("recursion limit") {
            text.push_str(": arrays and objects may be nested up to 128 deep");
        } else if text.contains("hex escape") || text.contains("surrogate") {
            text.push_str(": a lone surrogate (\\ud800 to \\udfff) is not a character");
        }
        Self::invalid(field, text)
    }

    /// Whether the same thing may succeed if it is done again: what failed is behind us, and not what we were asked for.
    /// A process that is not set up right counts, since the next one may be.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Aws { .. }
            | Self::Contended(_)
            | Self::BeingMade(_)
            | Self::Throttled(_)
            | Self::Configuration(_) => true,
            Self::Invalid { .. }
            | Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::TooLarge(_)
            | Self::Unprocessable(_)
            | Self::KeyHeld { .. }
            | Self::Refused { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// A field that is malformed: what is wrong with it, and what would be right.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: shortened(field.into()), message: shortened(message.into()) }
    }

    /// What its caller may not do, and what would let it.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden(shortened(message.into()))
    }

    /// Wraps what an AWS call returned, keeping the whole chain of causes in the text.
    pub(crate) fn aws<E>(call: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |error| Self::Aws { call, source: aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string().into() }
    }

    /// What was read is not what was written there.
    pub fn unreadable(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Unreadable { what: what.into(), why: why.to_string() }
    }
}

impl From<Invalid> for Error {
    fn from(Invalid { field, message, .. }: Invalid) -> Self {
        Self::invalid(field, message)
    }
}

/// How many characters are left of each end of a long text.
const SHOWN: usize = 180;

/// `text`, without its middle if it is long: it may quote what was sent, and its end says what is wanted instead.
fn shortened(text: String) -> String {
    let length = text.chars().count();
    if length <= 2 * SHOWN {
        return text;
    }
    let start: String = text.chars().take(SHOWN).collect();
    let end: String = text.chars().skip(length - SHOWN).collect();
    format!("{start} … {end}")
}
