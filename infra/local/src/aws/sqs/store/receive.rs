//! What a consumer does: receives messages, and by the receipt of a receive deletes or hides them.

use std::time::Duration;

use oncekey_core::Timestamp;
use rusqlite::{Transaction, params};
use tokio::sync::Notify;

use super::{QueueSettings, Queues};

/// A message as it is received.
#[derive(Clone, Debug)]
pub(in crate::aws::sqs) struct Received {
    pub message_id: String,
    pub receipt: String,
    pub body: String,
    pub attributes: String,
    pub sent_at: Timestamp,
    pub first_received_at: Timestamp,
    pub receive_count: u32,
}

impl Queues {
    /// Receives up to `most` messages, waiting up to `wait` for the first.
    pub(in crate::aws::sqs) async fn receive(
        &self,
        queue: &QueueSettings,
        most: u64,
        visibility: Duration,
        wait: Duration,
    ) -> rusqlite::Result<Vec<Received>> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            // Whoever is about to send may: ten messages cost hardly more than one.
            tokio::task::yield_now().await;
            // Registered before looking, so that nothing arrives unseen in between.
            let mut arrived = std::pin::pin!(self.arrived[&queue.name].notified());
            arrived.as_mut().enable();
            let received = self.receive_now(queue, most, visibility)?;
            if !received.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(received);
            }
            let next = self.next_visible(&queue.name)?;
            tokio::select! {
                () = arrived => {}
                () = async {
                    match next {
                        Some(moment) => self.clock.sleep_until(moment).await,
                        None => std::future::pending().await,
                    }
                } => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    pub(super) fn receive_now(
        &self,
        queue: &QueueSettings,
        most: u64,
        visibility: Duration,
    ) -> rusqlite::Result<Vec<Received>> {
        let now = self.clock.now();
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        self.fire(&transaction, &queue.name, now)?;
        let mut received = Vec::new();
        let mut dead = None;
        for (id, mut message) in visible(&transaction, &queue.name, now, most)? {
            match &queue.redrive {
                Some((most, dead_letter)) if message.receive_count >= *most => {
                    transaction.prepare_cached(
                        "UPDATE messages SET queue = ?2, visible_at = ?3, receive_count = 0, in_flight = 0 WHERE id = ?1",
                    )?.execute(params![id, dead_letter, now.millis()])?;
                    dead = Some(dead_letter);
                }
                _ => {
                    message.receive_count += 1;
                    message.receipt = format!("{id}-{}", message.receive_count);
                    transaction
                        .prepare_cached(
                            "UPDATE messages SET visible_at = ?2, receive_count = ?3, in_flight = 1,
                         first_received_at = COALESCE(first_received_at, ?4) WHERE id = ?1",
                        )?
                        .execute(params![id, now.plus(visibility).millis(), message.receive_count, now.millis()])?;
                    received.push(message);
                }
            }
        }
        transaction.commit()?;
        drop(connection);
        if let Some(dead_letter) = dead {
            self.wake(dead_letter);
        }
        Ok(received)
    }

    fn next_visible(&self, queue: &str) -> rusqlite::Result<Option<Timestamp>> {
        let connection = self.lock();
        let next = connection
            .prepare_cached("SELECT MIN(visible_at) FROM messages WHERE queue = ?1")?
            .query_row([queue], |row| row.get::<_, Option<i64>>(0))?;
        let fires = Self::next_fire(&connection, queue)?;
        Ok(next.map(Timestamp::from_millis).into_iter().chain(fires).min())
    }

    /// Deletes a message by the receipt of its latest receive. An older receipt deletes nothing: somebody else has it.
    pub(in crate::aws::sqs) fn delete(&self, receipts: &[String]) -> rusqlite::Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        for (id, count) in receipts.iter().filter_map(|receipt| parse_receipt(receipt)) {
            transaction
                .prepare_cached("DELETE FROM messages WHERE id = ?1 AND receive_count = ?2")?
                .execute(params![id, count])?;
        }
        transaction.commit()
    }

    /// Hides a received message for `visibility` from now. Whether the receipt was its latest.
    pub(in crate::aws::sqs) fn hide(&self, receipt: &str, visibility: Duration) -> rusqlite::Result<bool> {
        let Some((id, count)) = parse_receipt(receipt) else { return Ok(false) };
        let until = self.clock.now().plus(visibility).millis();
        let changed = self
            .lock()
            .prepare_cached(
                "UPDATE messages SET visible_at = ?3 WHERE id = ?1 AND receive_count = ?2 AND in_flight = 1",
            )?
            .execute(params![id, count, until])?;
        // Whichever its queue is.
        self.arrived.values().for_each(Notify::notify_waiters);
        Ok(changed > 0)
    }
}

fn visible(
    transaction: &Transaction<'_>,
    queue: &str,
    now: Timestamp,
    most: u64,
) -> rusqlite::Result<Vec<(i64, Received)>> {
    let mut select = transaction.prepare_cached(
        "SELECT id, message_id, body, attributes, sent_at, first_received_at, receive_count FROM messages
         WHERE queue = ?1 AND visible_at <= ?2 ORDER BY visible_at, id LIMIT ?3",
    )?;
    let rows = select.query_map(params![queue, now.millis(), most], |row| {
        let message = Received {
            message_id: row.get(1)?,
            receipt: String::new(),
            body: row.get(2)?,
            attributes: row.get(3)?,
            sent_at: Timestamp::from_millis(row.get(4)?),
            first_received_at: row.get::<_, Option<i64>>(5)?.map_or(now, Timestamp::from_millis),
            receive_count: row.get(6)?,
        };
        Ok((row.get(0)?, message))
    })?;
    rows.collect()
}

/// A receipt's message and the receive that it is of.
pub(in crate::aws::sqs) fn parse_receipt(receipt: &str) -> Option<(i64, u32)> {
    let (id, count) = receipt.split_once('-')?;
    Some((id.parse().ok()?, count.parse().ok()?))
}
