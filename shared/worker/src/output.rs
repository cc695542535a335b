//! Where what a task or a step returned is kept: with what names it, beside the run, or, if it is large, in the bucket.

use oncekey_core::payload::{Payload, PayloadType};
use oncekey_core::protocol::keep::beside_until;
use oncekey_core::queue::message::{Outcome, Output};
use oncekey_core::run::beside::Part;
use oncekey_core::store::StepResult;
use oncekey_core::{App, EnvironmentId, Error, Run, Timestamp};

use crate::patience::patiently;

/// The largest that is an item of its own, as JSON: as a text within the JSON of a message or of a child's end it is twice
/// as large at most.
const MAX_ITEM_BYTES: usize = 150 * 1024;

/// Keeps what a task returned, and tells its end: whatever becomes of it, the task has succeeded. What the bucket does not
/// take is offered again until `stop_at`.
pub(crate) async fn succeeded(app: &App, run: &Run, returned: Payload, stop_at: Timestamp) -> Outcome {
    let Payload { text, kind: output_type } = returned;
    let output = match text {
        None => return Outcome::Succeeded { output: None, output_type: PayloadType::Json, lost: None },
        Some(text) if text.len() <= Output::MAX_INLINE_BYTES => Output::Inline(text),
        Some(text) if text.len() <= MAX_ITEM_BYTES => {
            let until = beside_until(run, app.clock.now());
            match app.store.put_beside(&run.id, Part::Output, &text, until).await {
                Ok(name) => Output::Beside(name),
                Err(error) => {
                    tracing::warn!(run_id = %run.id, %error, "the output goes with the event, which is carried out later");
                    Output::Inline(text)
                }
            }
        }
        Some(text) if text.len() > Payload::MAX_BYTES => {
            let (size, most) = (text.len(), Payload::MAX_BYTES);
            return Outcome::without_output(&format!("it has {size} bytes of JSON; the limit is {most} (3 MB)"));
        }
        Some(text) => {
            match patiently(app, stop_at, || app.blobs.put_output(&run.spec.environment, output_type, text.clone()))
                .await
            {
                Ok(path) => Output::Stored(path),
                Err(error) => {
                    tracing::error!(run_id = %run.id, %error, "the output is not kept");
                    return Outcome::without_output("the bucket did not take it");
                }
            }
        }
    };
    Outcome::Succeeded { output: Some(output), output_type, lost: None }
}

/// Keeps what a step gave.
pub(crate) async fn keep_step(app: &App, environment: &EnvironmentId, text: String) -> Result<StepResult, Error> {
    if text.len() <= MAX_ITEM_BYTES {
        return Ok(StepResult::Inline(text));
    }
    app.blobs.put_output(environment, PayloadType::Json, text).await.map(StepResult::Stored)
}

/// The JSON text that is kept so.
pub(crate) async fn fetch(app: &App, environment: &EnvironmentId, result: StepResult) -> Result<String, Error> {
    let path = match result {
        StepResult::Inline(text) => return Ok(text),
        StepResult::Stored(path) => path,
    };
    let stored = app.blobs.get(environment, &path).await?;
    let gone = || Error::NotFound(format!("{} is not in the store any more", path.as_str()));
    stored.and_then(|stored| stored.text).ok_or_else(gone)
}
