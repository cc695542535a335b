//! What was said and nobody reads: a misspelt option would change what a trigger means without a word.

use oncekey_wire::options::meant;
use serde::Deserialize;

use crate::error::Error;
use crate::request::object::Object;
use crate::request::parse::parse_with;

/// Fields that official clients send and that say nothing to us.
const HARMLESS: [&str; 3] = ["options.payloadSize", "payloadSize", "taskIdentifiers"];
/// Of as many it is told; the others are counted.
const MAX_TOLD: usize = 20;

/// The fields that nobody reads, each with what may have been meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Where the options of a trigger stand in what was sent, if there are any.
    options_at: Option<&'static str>,
    told: Vec<String>,
    beyond: usize,
}

impl Ignored {
    /// Parses a JSON object, naming the field that is wrong, and the fields that nobody reads.
    ///
    /// # Errors
    /// [`Error::Invalid`], as [`crate::request::parse_json`].
    pub fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<(T, Self), Error> {
        Self::parse_at("", Some("options"), text)
    }

    /// The same of an object that has no options of a trigger.
    ///
    /// # Errors
    /// As [`Ignored::parse`].
    pub fn parse_plain<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<(T, Self), Error> {
        Self::parse_at("", None, text)
    }

    /// The same of an object among whose fields the options of a trigger are.
    ///
    /// # Errors
    /// As [`Ignored::parse`].
    pub fn parse_options<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<(T, Self), Error> {
        Self::parse_at("", Some(""), text)
    }

    /// The same of an object that stands at a place in another.
    pub(super) fn parse_at<'a, T: Deserialize<'a>>(
        place: &str,
        options_at: Option<&'static str>,
        text: &'a [u8],
    ) -> Result<(T, Self), Error> {
        let mut ignored = Self { options_at, ..Self::default() };
        let parsed = parse_with(text, |deserializer| {
            serde_ignored::deserialize(deserializer, |path| ignored.add(place, &path.to_string()))
                .map(|Object(parsed)| parsed)
        })?;
        Ok((parsed, ignored))
    }

    fn add(&mut self, above: &str, path: &str) {
        // A value that may be left out is a step of its own to the parser.
        let steps = [above].into_iter().chain(path.split('.')).filter(|step| !step.is_empty() && *step != "?");
        let path = steps.collect::<Vec<_>>().join(".");
        if HARMLESS.contains(&path.as_str()) {
            return;
        }
        if self.told.len() == MAX_TOLD {
            self.beyond += 1;
            return;
        }
        let (place, name) = path.rsplit_once('.').map_or(("", path.as_str()), |(place, name)| (place, name));
        let shown: String = path.chars().take(100).collect();
        self.told.push(match meant(name).filter(|_| self.options_at.is_some()) {
            Some(option) if self.options_at == Some(place) => format!("{shown}: did you mean {option}?"),
            Some(option) if place.is_empty() => format!("{shown}: did you mean options.{option}?"),
            _ => format!("{shown}: there is no such field"),
        });
    }

    /// What to tell the caller, who goes on without them.
    #[must_use]
    pub fn into_told(mut self) -> Vec<String> {
        if self.beyond > 0 {
            self.told.push(format!("and {} more", self.beyond));
        }
        self.told
    }

    /// Adds those of another part of what was sent.
    pub fn extend(&mut self, other: Self) {
        let room = MAX_TOLD.saturating_sub(self.told.len());
        self.beyond += other.beyond + other.told.len().saturating_sub(room);
        self.told.extend(other.told.into_iter().take(room));
    }

    /// But for one of this name, which somebody else reads.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.told.retain(|told| told.split(':').next() != Some(name));
        self
    }

    /// As those of a line, from 1.
    #[must_use]
    pub fn of_line(mut self, number: usize) -> Self {
        for told in &mut self.told {
            told.insert_str(0, &format!("line {number}: "));
        }
        self
    }

    /// Refuses them: who wrote a request by hand can mend it.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] naming them.
    pub fn refused(self) -> Result<(), Error> {
        if self.told.is_empty() {
            return Ok(());
        }
        Err(Error::Unprocessable(self.into_told().join("; ")))
    }
}
