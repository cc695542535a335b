//! Many items at once: what DynamoDB leaves over, as it does when it is throttled, is asked for again.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};

use super::Store;
use crate::error::Error;

/// Most items that one `BatchGetItem` reads, a DynamoDB limit.
const MAX_READ: usize = 100;
/// Most items that one `BatchWriteItem` writes, a DynamoDB limit.
const MAX_WRITTEN: usize = 25;
/// How often in a row DynamoDB may leave something over before we give up: some five seconds.
const MAX_REFUSED: u32 = 8;

/// How long to wait before asking again for what was left over: from 25 ms, twice as long each time, a part of it by chance
/// so that callers do not come back together.
fn pause_after(refused: u32) -> Duration {
    let most = 25 << refused.min(MAX_REFUSED).saturating_sub(1);
    Duration::from_millis(fastrand::u64(most / 2..=most))
}

/// How often in a row something was left over.
#[derive(Default)]
struct Refused(u32);

impl Refused {
    /// Waits before `call` is made again if it left anything over.
    ///
    /// # Errors
    /// [`Error::Throttled`] when it has done so too often.
    async fn pause(&mut self, call: &'static str, anything: bool) -> Result<(), Error> {
        if !anything {
            self.0 = 0;
            return Ok(());
        }
        self.0 += 1;
        if self.0 > MAX_REFUSED {
            return Err(Error::Throttled(call));
        }
        tokio::time::sleep(pause_after(self.0)).await;
        Ok(())
    }
}

impl Store {
    /// Reads items of one table, consistently; those that are not there are left out.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Throttled`].
    pub(super) async fn batch_get_items(
        &self,
        table: &str,
        keys: Vec<HashMap<String, AttributeValue>>,
    ) -> Result<Vec<HashMap<String, AttributeValue>>, Error> {
        let call = "dynamodb:BatchGetItem";
        let mut found = Vec::with_capacity(keys.len());
        let mut left = keys;
        let mut refused = Refused::default();
        while !left.is_empty() {
            let later = left.split_off(left.len().min(MAX_READ));
            let request = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build();
            let request = request.map_err(Error::aws(call))?;
            let answer = self.client.batch_get_item().request_items(table, request).send().await;
            let answer = answer.map_err(Error::aws(call))?;
            found.extend(answer.responses.unwrap_or_default().remove(table).unwrap_or_default());
            let unprocessed = answer.unprocessed_keys.unwrap_or_default().remove(table);
            left = unprocessed.map(|keys| keys.keys).unwrap_or_default();
            refused.pause(call, !left.is_empty()).await?;
            left.extend(later);
        }
        Ok(found)
    }

    /// Puts items of one table, over whatever is there. One alone is an ordinary put.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Throttled`]; some may have been written.
    pub(super) async fn put_all(
        &self,
        table: &str,
        mut items: Vec<HashMap<String, AttributeValue>>,
    ) -> Result<(), Error> {
        if items.len() == 1 {
            let put = self.client.put_item().table_name(table).set_item(items.pop());
            return put.send().await.map(|_| ()).map_err(Error::aws("dynamodb:PutItem"));
        }
        let call = "dynamodb:BatchWriteItem";
        let put = |item| PutRequest::builder().set_item(Some(item)).build().map_err(Error::aws(call));
        let write = |item| Ok(WriteRequest::builder().put_request(put(item)?).build());
        let mut left = items.into_iter().map(write).collect::<Result<Vec<_>, Error>>()?;
        let mut refused = Refused::default();
        while !left.is_empty() {
            let later = left.split_off(left.len().min(MAX_WRITTEN));
            let answer = self.client.batch_write_item().request_items(table, left).send().await;
            left = answer
                .map_err(Error::aws(call))?
                .unprocessed_items
                .unwrap_or_default()
                .remove(table)
                .unwrap_or_default();
            refused.pause(call, !left.is_empty()).await?;
            left.extend(later);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_what_was_left_out_grows_to_seconds() {
        let millis = |refused| pause_after(refused).as_millis();
        assert!((12..=25).contains(&millis(1)));
        assert!((1_600..=3_200).contains(&millis(MAX_REFUSED)));
        assert!((1..MAX_REFUSED).all(|refused| millis(refused + 2) >= millis(refused)));
    }
}
