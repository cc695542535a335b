//! Where what a task or a step returned is kept: with what names it, or, if it is large, in the bucket.

use oncekey_core::queue::message::Output;
use oncekey_core::{App, EnvironmentId, Error};

/// The largest that is kept inline, as JSON: with a payload of 200 KB it fits DynamoDB's 400 KB an item.
const MAX_INLINE_BYTES: usize = 150 * 1024;

/// Keeps a JSON text.
pub(crate) async fn keep(app: &App, environment: &EnvironmentId, text: String) -> Result<Output, Error> {
    if text.len() <= MAX_INLINE_BYTES {
        return Ok(Output::Inline(text));
    }
    app.blobs.put_output(environment, text).await.map(Output::Stored)
}

/// The JSON text that is kept so.
pub(crate) async fn fetch(app: &App, environment: &EnvironmentId, output: Output) -> Result<String, Error> {
    let path = match output {
        Output::Inline(text) => return Ok(text),
        Output::Stored(path) => path,
    };
    let stored = app.blobs.get(environment, &path).await?;
    let gone = || Error::NotFound(format!("{} is not in the store any more", path.as_str()));
    stored.and_then(|stored| stored.text).ok_or_else(gone)
}
