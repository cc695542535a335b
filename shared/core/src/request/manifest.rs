//! What a worker has, parsed at the door.

use std::collections::HashSet;

use oncekey_wire::Manifest;

use crate::deployment::MAX_TASKS;
use crate::error::Error;
use crate::request::ignored::Ignored;

/// Reads what a worker has, of whose fields none is unknown.
///
/// # Errors
/// [`Error::Invalid`] naming the field.
pub fn parse(text: &[u8]) -> Result<Manifest, Error> {
    let (manifest, ignored) = Ignored::parse_plain::<Manifest>(text)?;
    ignored.refused()?;
    if manifest.tasks.len() > MAX_TASKS {
        let text = format!("has {} tasks; the limit is {MAX_TASKS}", manifest.tasks.len());
        return Err(Error::invalid("tasks", text));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = manifest.tasks.iter().find(|task| !seen.insert(&task.id)) {
        return Err(Error::invalid("tasks", format!("has {} twice: give one of them another id", twice.id)));
    }
    Ok(manifest)
}
