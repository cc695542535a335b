//! Many items at once: BatchWriteItem, with what it left over sent again.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};

use super::Store;
use crate::error::Error;

/// The most that DynamoDB takes in one call.
const MAX_PER_CALL: usize = 25;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Store {
    /// Puts items of one table, over whatever is there. One alone is an ordinary put.
    ///
    /// # Errors
    /// [`Error::Aws`]; some may have been written.
    pub(super) async fn put_all(
        &self,
        table: &str,
        mut items: Vec<HashMap<String, AttributeValue>>,
    ) -> Result<(), Error> {
        if items.len() == 1 {
            let put = self.client.put_item().table_name(table).set_item(items.pop());
            return put.send().await.map(|_| ()).map_err(Error::aws("dynamodb:PutItem"));
        }
        while !items.is_empty() {
            let later = items.split_off(items.len().min(MAX_PER_CALL));
            self.put_some(table, items).await?;
            items = later;
        }
        Ok(())
    }

    async fn put_some(&self, table: &str, items: Vec<HashMap<String, AttributeValue>>) -> Result<(), Error> {
        let mut left = Vec::with_capacity(items.len());
        for item in items {
            let put =
                PutRequest::builder().set_item(Some(item)).build().map_err(Error::aws("dynamodb:BatchWriteItem"))?;
            left.push(WriteRequest::builder().put_request(put).build());
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = self
                .client
                .batch_write_item()
                .request_items(table, left)
                .send()
                .await
                .map_err(Error::aws("dynamodb:BatchWriteItem"))?;
            left = answer.unprocessed_items.unwrap_or_default().remove(table).unwrap_or_default();
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
