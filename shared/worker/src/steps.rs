//! Steps: side effects whose results are journalled at once, each in an item of its own.

use oncekey_core::Error;
use oncekey_core::payload::Payload;
use oncekey_core::protocol::keep::expiry;
use oncekey_core::store::step_item;

use crate::error::TaskError;
use crate::invocation::{Invocation, lock};
use crate::output;
use crate::patience::until_read;

impl Invocation {
    /// What the step of this name gave, if it is done.
    pub(crate) async fn finished_step(&self, name: &str) -> Result<Option<String>, Error> {
        if let Some(text) = lock(&self.steps).get(name) {
            return Ok(Some(text.clone()));
        }
        match self.journal.step(name) {
            None => Ok(None),
            Some(output) => {
                let fetch = || output::fetch(&self.app, &self.run.spec.environment, output.clone());
                until_read(&self.app, fetch).await.map(Some)
            }
        }
    }

    /// Journals what a step gave. What another invocation journalled before it, if one did.
    pub(crate) async fn finish_step(&self, name: &str, text: String) -> Result<Option<String>, TaskError> {
        let size = text.len();
        if size > Payload::MAX_BYTES {
            let most = Payload::MAX_BYTES;
            return Err(TaskError::abort(format!(
                "step {name:?}: its result has {size} bytes of JSON; the limit is {most} (3 MB)"
            )));
        }
        let run = &self.run;
        let result = output::keep_step(&self.app, &run.spec.environment, text.clone()).await?;
        let until = expiry(self.app.clock.now());
        let there = self.app.store.put_step(&run.id, run.spec.created_at, name, result.clone(), until).await?;
        self.note_expiry([step_item(name)], until);
        let first = there == result;
        let text = if first { text } else { output::fetch(&self.app, &run.spec.environment, there).await? };
        lock(&self.steps).insert(name.to_owned(), text.clone());
        Ok((!first).then_some(text))
    }
}
