//! The queues' store: one SQLite database, in a file or in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oncekey_core::{Clock, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::Notify;

/// How long a message is kept: 14 days, the most SQS offers.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL,
        queue TEXT NOT NULL,
        body TEXT NOT NULL,
        attributes TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        visible_at INTEGER NOT NULL,
        receive_count INTEGER NOT NULL DEFAULT 0,
        first_received_at INTEGER,
        in_flight INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS by_time ON messages (queue, visible_at, id);
";

/// How a queue behaves.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// Its name.
    pub name: String,
    /// How long a received message stays hidden.
    pub visibility_timeout: Duration,
    /// After how many receives a message goes to the dead-letter queue of this name.
    pub redrive: Option<(u32, String)>,
}

/// A message as it is received.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub message_id: String,
    pub receipt: String,
    pub body: String,
    pub attributes: String,
    pub sent_at: Timestamp,
    pub first_received_at: Timestamp,
    pub receive_count: u32,
}

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

/// Durable queues.
#[derive(Clone, Debug)]
pub struct Queues {
    connection: Arc<Mutex<Connection>>,
    settings: Arc<Vec<QueueSettings>>,
    clock: Clock,
    /// By queue, so that a message wakes nobody who waits at another.
    arrived: Arc<BTreeMap<String, Notify>>,
}

impl Queues {
    /// Queues in a file, or in memory if there is none. Whoever had received messages from them died with the last
    /// process, so those can be received again at once.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(file: Option<&Path>, settings: Vec<QueueSettings>, clock: Clock) -> rusqlite::Result<Self> {
        let connection = match file {
            Some(file) => Connection::open(file)?,
            None => Connection::open_in_memory()?,
        };
        // A commit survives the process; only a power cut may take the last ones back.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        let now = clock.now().millis();
        connection.execute("UPDATE messages SET visible_at = ?1, in_flight = 0 WHERE in_flight = 1", [now])?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            arrived: Arc::new(settings.iter().map(|queue| (queue.name.clone(), Notify::new())).collect()),
            settings: Arc::new(settings),
            clock,
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|queue| queue.name.as_str())
    }

    pub(super) fn settings(&self, name: &str) -> Option<&QueueSettings> {
        self.settings.iter().find(|queue| queue.name == name)
    }

    fn wake(&self, queue: &str) {
        if let Some(waiting) = self.arrived.get(queue) {
            waiting.notify_waiters();
        }
    }

    /// Deletes what is older than the retention.
    ///
    /// # Errors
    /// SQLite's.
    pub fn expire(&self) -> rusqlite::Result<usize> {
        let oldest = self.clock.now().millis() - RETENTION.as_millis() as i64;
        self.lock().execute("DELETE FROM messages WHERE sent_at < ?1", [oldest])
    }

    /// Sends messages in one transaction; their ids.
    pub(super) fn send(&self, queue: &str, messages: &[(String, String, Duration)]) -> rusqlite::Result<Vec<String>> {
        let now = self.clock.now();
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let mut ids = Vec::with_capacity(messages.len());
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO messages (message_id, queue, body, attributes, sent_at, visible_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (body, attributes, delay) in messages {
                let id = uuid::Uuid::new_v4().to_string();
                insert.execute(params![id, queue, body, attributes, now.millis(), now.plus(*delay).millis()])?;
                ids.push(id);
            }
        }
        transaction.commit()?;
        drop(connection);
        self.wake(queue);
        Ok(ids)
    }

    /// Receives up to `most` messages, waiting up to `wait` for the first.
    pub(super) async fn receive(
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

    fn receive_now(&self, queue: &QueueSettings, most: u64, visibility: Duration) -> rusqlite::Result<Vec<Received>> {
        let now = self.clock.now();
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let mut received = Vec::new();
        let mut buried = None;
        for (id, mut message) in visible(&transaction, &queue.name, now, most)? {
            match &queue.redrive {
                Some((most, dead_letter)) if message.receive_count >= *most => {
                    transaction.prepare_cached(
                        "UPDATE messages SET queue = ?2, visible_at = ?3, receive_count = 0, in_flight = 0 WHERE id = ?1",
                    )?.execute(params![id, dead_letter, now.millis()])?;
                    buried = Some(dead_letter);
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
        if let Some(dead_letter) = buried {
            self.wake(dead_letter);
        }
        Ok(received)
    }

    fn next_visible(&self, queue: &str) -> rusqlite::Result<Option<Timestamp>> {
        let connection = self.lock();
        let next = connection
            .prepare_cached("SELECT MIN(visible_at) FROM messages WHERE queue = ?1")?
            .query_row([queue], |row| row.get::<_, Option<i64>>(0))?;
        Ok(next.map(Timestamp::from_millis))
    }

    /// Deletes a message by the receipt of its latest receive. An older receipt deletes nothing: somebody else has it.
    pub(super) fn delete(&self, receipts: &[String]) -> rusqlite::Result<()> {
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
    pub(super) fn hide(&self, receipt: &str, visibility: Duration) -> rusqlite::Result<bool> {
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

    pub(super) fn purge(&self, queue: &str) -> rusqlite::Result<usize> {
        self.lock().execute("DELETE FROM messages WHERE queue = ?1", [queue])
    }

    pub(super) fn depth(&self, queue: &str) -> rusqlite::Result<Depth> {
        let now = self.clock.now().millis();
        let depth = self
            .lock()
            .query_row(
                "SELECT COALESCE(SUM(visible_at <= ?2), 0), COALESCE(SUM(visible_at > ?2 AND in_flight), 0),
                 COALESCE(SUM(visible_at > ?2 AND NOT in_flight), 0) FROM messages WHERE queue = ?1",
                params![queue, now],
                |row| Ok(Depth { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? }),
            )
            .optional()?;
        Ok(depth.unwrap_or_default())
    }

    /// A panic while it was held cannot have left a transaction open: dropping one rolls it back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(super) fn parse_receipt(receipt: &str) -> Option<(i64, u32)> {
    let (id, count) = receipt.split_once('-')?;
    Some((id.parse().ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VISIBILITY: Duration = Duration::from_secs(30);

    fn queues(file: Option<&Path>, clock: &Clock) -> Queues {
        let queue =
            |name: &str, redrive| QueueSettings { name: name.to_owned(), visibility_timeout: VISIBILITY, redrive };
        let settings = vec![queue("work", Some((2, "dead".to_owned()))), queue("dead", None)];
        Queues::open(file, settings, clock.clone()).expect("queues")
    }

    fn send(queues: &Queues, body: &str, delay: Duration) {
        queues.send("work", &[(body.to_owned(), "{}".to_owned(), delay)]).expect("send");
    }

    fn receive(queues: &Queues, name: &str) -> Vec<Received> {
        let queue = queues.settings(name).expect("queue");
        queues.receive_now(queue, 10, VISIBILITY).expect("receive")
    }

    fn frozen() -> Clock {
        Clock::frozen(Timestamp::from_millis(1_000_000))
    }

    #[test]
    fn a_received_message_is_hidden_until_its_timeout_and_then_comes_again() {
        let clock = frozen();
        let queues = queues(None, &clock);
        send(&queues, "a", Duration::ZERO);
        assert_eq!(receive(&queues, "work").len(), 1);
        assert_eq!(receive(&queues, "work").len(), 0);
        clock.advance(VISIBILITY);
        assert_eq!(receive(&queues, "work")[0].receive_count, 2);
    }

    #[test]
    fn a_delayed_message_comes_when_it_is_due() {
        let clock = frozen();
        let queues = queues(None, &clock);
        send(&queues, "a", Duration::from_secs(5));
        assert_eq!(receive(&queues, "work").len(), 0);
        clock.advance(Duration::from_secs(5));
        assert_eq!(receive(&queues, "work").len(), 1);
    }

    #[test]
    fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
        let clock = frozen();
        let queues = queues(None, &clock);
        send(&queues, "a", Duration::ZERO);
        for _ in 0..2 {
            assert_eq!(receive(&queues, "work").len(), 1);
            clock.advance(VISIBILITY);
        }
        assert_eq!(receive(&queues, "work").len(), 0);
        assert_eq!(receive(&queues, "dead")[0].body, "a");
    }

    #[test]
    fn only_the_latest_receipt_deletes() {
        let clock = frozen();
        let queues = queues(None, &clock);
        send(&queues, "a", Duration::ZERO);
        let old = receive(&queues, "work").remove(0).receipt;
        clock.advance(VISIBILITY);
        let new = receive(&queues, "work").remove(0).receipt;
        queues.delete(&[old]).expect("delete");
        assert_eq!(queues.depth("work").expect("depth").in_flight, 1);
        queues.delete(&[new]).expect("delete");
        assert_eq!(queues.depth("work").expect("depth").in_flight, 0);
    }

    #[test]
    fn messages_survive_the_process_and_those_in_flight_come_again_at_once() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("queues");
        let clock = frozen();
        let before = queues(Some(&file), &clock);
        send(&before, "received", Duration::ZERO);
        assert_eq!(receive(&before, "work").len(), 1);
        send(&before, "delayed", Duration::from_secs(5));
        drop(before);
        let after = queues(Some(&file), &clock);
        let bodies: Vec<_> = receive(&after, "work").into_iter().map(|message| message.body).collect();
        assert_eq!(bodies, ["received"]);
    }

    #[tokio::test]
    async fn a_long_poll_ends_when_a_message_arrives() {
        let queues = queues(None, &Clock::system());
        let waiting = queues.clone();
        let poll = tokio::spawn(async move {
            let queue = waiting.settings("work").expect("queue").clone();
            waiting.receive(&queue, 1, VISIBILITY, Duration::from_secs(60)).await.expect("receive")
        });
        tokio::task::yield_now().await;
        send(&queues, "a", Duration::ZERO);
        assert_eq!(poll.await.expect("poll").len(), 1);
    }
}
