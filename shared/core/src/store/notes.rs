//! What is noted on a run while it goes on: its own data about itself, and tags.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::conditional::{Written, written};
use super::expression::{number, text};
use super::runs::run_key;
use crate::error::Error;
use crate::run::{MetadataBefore, Run};

impl Store {
    /// Writes a run's metadata, as JSON, if it is still what `run` tells; with what it was, if the present attempt changes it
    /// for the first time. Whether it was.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Refused`].
    pub async fn put_metadata(&self, run: &Run, metadata: &str) -> Result<bool, Error> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(&run.id)))
            .update_expression("SET #metadata = :new")
            .expression_attribute_names("#metadata", "metadata")
            .expression_attribute_values(":new", text(metadata));
        if run.metadata_before.as_ref().is_none_or(|before| before.attempt != run.turn.attempt) {
            let before = MetadataBefore { attempt: run.turn.attempt, metadata: run.metadata().cloned() };
            let before = serde_json::to_string(&before).map_err(|error| Error::unreadable("metadata", error))?;
            update = update
                .update_expression("SET #metadata = :new, metadata_before = :before")
                .expression_attribute_values(":before", text(before));
        }
        let update = match &run.changed_metadata {
            Some(known) => update
                .condition_expression("#metadata = :known")
                .expression_attribute_values(":known", text(known.to_string())),
            None => update.condition_expression("attribute_exists(run_id) AND attribute_not_exists(#metadata)"),
        };
        Ok(matches!(written("dynamodb:UpdateItem", update.send().await)?, Written::Done(_)))
    }

    /// Adds tags to a run, if nobody has since `run` was read. Whether nobody had.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn add_tags(&self, run: &Run, tags: Vec<String>) -> Result<bool, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(&run.id)))
            .update_expression("ADD added_tags :tags")
            .expression_attribute_values(":tags", AttributeValue::Ss(tags));
        let update = match run.added_tags.len() {
            0 => update.condition_expression("attribute_exists(run_id) AND attribute_not_exists(added_tags)"),
            known => update
                .condition_expression("size(added_tags) = :known")
                .expression_attribute_values(":known", number(known)),
        };
        Ok(matches!(written("dynamodb:UpdateItem", update.send().await)?, Written::Done(_)))
    }
}
