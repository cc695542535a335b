//! What a run was given and what it returned, wherever that is kept.

use crate::app::App;
use crate::error::Error;
use crate::payload::Payload;
use crate::run::Run;
use crate::run::beside::Kept;

/// What a run was given; of what is in the bucket, the path. `None` if it is not there any more.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn payload_of(app: &App, run: &Run) -> Result<Option<Payload>, Error> {
    let kind = run.spec.payload_type;
    Ok(match &run.payload {
        None => Some(Payload { text: None, kind }),
        Some(kept) => text_of(app, run, kept).await?.map(|text| Payload { text: Some(text), kind }),
    })
}

/// What a run returned, unless that is nothing, or is in the bucket, or is not there any more.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn output_of(app: &App, run: &Run) -> Result<Option<Payload>, Error> {
    let Some(kept) = &run.output else { return Ok(None) };
    let text = text_of(app, run, kept).await?;
    Ok(text.map(|text| Payload { text: Some(text), kind: run.output_type }))
}

async fn text_of(app: &App, run: &Run, kept: &Kept) -> Result<Option<String>, Error> {
    Ok(match kept {
        Kept::Inline(text) => Some(text.clone()),
        Kept::Beside { beside } => app.store.beside(&run.id, beside).await?.map(|found| found.text),
    })
}
