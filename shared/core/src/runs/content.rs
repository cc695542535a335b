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

/// The JSON text of what a run returned, unless that is nothing, or is in the bucket, or is not there any more.
///
/// # Errors
/// [`Error::Aws`], [`Error::Unreadable`].
pub async fn output_of(app: &App, run: &Run) -> Result<Option<String>, Error> {
    match &run.output {
        None => Ok(None),
        Some(kept) => text_of(app, run, kept).await,
    }
}

async fn text_of(app: &App, run: &Run, kept: &Kept) -> Result<Option<String>, Error> {
    Ok(match kept {
        Kept::Inline(text) => Some(text.clone()),
        Kept::Beside { beside } => app.store.beside(&run.id, beside).await?.map(|found| found.text),
    })
}
