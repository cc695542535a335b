//! Debounce: triggers of one debounce key push the start of one delayed run.

use std::time::Duration;

use oncekey_wire::KeyHash;
use serde::Deserialize;

use crate::error::Error;
use crate::span;

/// The longest key, in characters.
const MAX_KEY: usize = 512;
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The option `debounce` of a trigger, as it comes.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DebounceOption {
    /// Whose run is pushed: any text of 1 to 512 characters. Keys are of a task in an environment.
    #[cfg_attr(feature = "openapi", schema(value_type = String, required, min_length = 1, max_length = 512))]
    key: Option<String>,
    /// How long after the latest trigger the run starts: a span like `30s` or `1h30m`, from 1 second to 365 days.
    #[cfg_attr(feature = "openapi", schema(value_type = String, required))]
    delay: Option<String>,
    /// Whose payload the run has: that of the first trigger, or of the latest. The first one's by default.
    mode: Option<DebounceMode>,
    /// How long after the first trigger the run starts at the latest: a later push makes a new run. Without it there is no limit.
    max_delay: Option<String>,
}

/// Whose payload a debounced run has.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DebounceMode {
    /// That of the first trigger.
    #[default]
    Leading,
    /// That of the latest, with its metadata, tags, `maxAttempts`, `maxDuration` and `machine`.
    Trailing,
}

/// A debounce, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// The key's hash.
    pub hash: KeyHash,
    /// How far off a trigger puts the start.
    pub delay: Duration,
    /// Whose payload the run has.
    pub mode: DebounceMode,
    /// How far off the start may be from when the run was made.
    pub max_delay: Option<Duration>,
}

impl DebounceOption {
    /// The debounce that this asks for.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field.
    pub(super) fn check(self) -> Result<Debounce, Error> {
        let missing = |field: &str, what: &str| Error::invalid(field, format!("is missing: give {what}"));
        let key = self.key.ok_or_else(|| missing("options.debounce.key", "a text of 1 to 512 characters"))?;
        let delay = self.delay.ok_or_else(|| missing("options.debounce.delay", "a span like \"30s\""))?;
        let length = key.chars().count();
        if !(1..=MAX_KEY).contains(&length) {
            let text = format!("is {length} characters long; give 1 to {MAX_KEY}");
            return Err(Error::invalid("options.debounce.key", text));
        }
        let delay = span_of("options.debounce.delay", &delay)?;
        let max_delay = self.max_delay.as_deref().map(|text| span_of("options.debounce.maxDelay", text)).transpose()?;
        if max_delay.is_some_and(|most| most < delay) {
            let text = "is shorter than options.debounce.delay: give that or more, or leave it out";
            return Err(Error::invalid("options.debounce.maxDelay", text));
        }
        Ok(Debounce { hash: KeyHash::of_text(&key), delay, mode: self.mode.unwrap_or_default(), max_delay })
    }
}

fn span_of(field: &str, text: &str) -> Result<Duration, Error> {
    let span = span::parse(text).filter(|span| (Duration::from_secs(1)..=MAX_DELAY).contains(span));
    span.ok_or_else(|| {
        Error::invalid(
            field,
            format!(
                "{text:?}: give a span of whole seconds like \"30s\" or \"1h30m\" (w, d, h, m, s), from 1s to 365d"
            ),
        )
    })
}
