//! The queues' store: one SQLite database, in a file or in memory.

pub(in crate::aws::sqs) mod receive;
pub(in crate::aws) mod schedules;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oncekey_core::{Clock, Timestamp};
use rusqlite::{Connection, params};
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

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::aws::sqs) struct Depth {
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
        connection.execute_batch(schedules::SCHEMA)?;
        let now = clock.now().millis();
        connection.execute("UPDATE messages SET visible_at = ?1, in_flight = 0 WHERE in_flight = 1", [now])?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            arrived: Arc::new(settings.iter().map(|queue| (queue.name.clone(), Notify::new())).collect()),
            settings: Arc::new(settings),
            clock,
        })
    }

    pub(in crate::aws::sqs) fn names(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|queue| queue.name.as_str())
    }

    pub(in crate::aws::sqs) fn settings(&self, name: &str) -> Option<&QueueSettings> {
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
    pub(in crate::aws::sqs) fn send(
        &self,
        queue: &str,
        messages: &[(String, String, Duration)],
    ) -> rusqlite::Result<Vec<String>> {
        let now = self.clock.now();
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let mut ids = Vec::with_capacity(messages.len());
        for (body, attributes, delay) in messages {
            ids.push(Self::insert(&transaction, queue, body, attributes, now, now.plus(*delay))?);
        }
        transaction.commit()?;
        drop(connection);
        self.wake(queue);
        Ok(ids)
    }

    fn insert(
        connection: &Connection,
        queue: &str,
        body: &str,
        attributes: &str,
        sent_at: Timestamp,
        visible_at: Timestamp,
    ) -> rusqlite::Result<String> {
        let id = uuid::Uuid::new_v4().to_string();
        connection
            .prepare_cached(
                "INSERT INTO messages (message_id, queue, body, attributes, sent_at, visible_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![id, queue, body, attributes, sent_at.millis(), visible_at.millis()])?;
        Ok(id)
    }

    pub(in crate::aws::sqs) fn purge(&self, queue: &str) -> rusqlite::Result<usize> {
        self.lock().execute("DELETE FROM messages WHERE queue = ?1", [queue])
    }

    pub(in crate::aws::sqs) fn depth(&self, queue: &str) -> rusqlite::Result<Depth> {
        let now = self.clock.now();
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        self.fire(&transaction, queue, now)?;
        let depth = transaction.query_row(
            "SELECT COALESCE(SUM(visible_at <= ?2), 0), COALESCE(SUM(visible_at > ?2 AND in_flight), 0),
                 COALESCE(SUM(visible_at > ?2 AND NOT in_flight), 0) FROM messages WHERE queue = ?1",
            params![queue, now.millis()],
            |row| Ok(Depth { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? }),
        )?;
        transaction.commit()?;
        Ok(depth)
    }

    /// A panic while it was held cannot have left a transaction open: dropping one rolls it back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
