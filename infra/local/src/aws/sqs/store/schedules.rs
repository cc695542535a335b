//! Schedules that send to these queues: each turns into a message when its time has come and somebody looks at its queue.

use std::time::Duration;

use oncekey_core::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::Queues;
use crate::aws::iam::{queue_arn, schedule_arn};

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS schedules (
        group_name TEXT NOT NULL,
        name TEXT NOT NULL,
        at INTEGER NOT NULL,
        queue TEXT NOT NULL,
        dead_letter TEXT,
        input TEXT NOT NULL,
        kept INTEGER NOT NULL,
        client_token TEXT,
        document TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        fired INTEGER NOT NULL DEFAULT 0,
        every INTEGER,
        PRIMARY KEY (group_name, name)
    );
    CREATE INDEX IF NOT EXISTS by_queue ON schedules (queue, at) WHERE NOT fired;
    CREATE INDEX IF NOT EXISTS by_dead_letter ON schedules (dead_letter, at) WHERE NOT fired;
";

/// A schedule.
#[derive(Clone, Debug)]
pub(in crate::aws) struct Schedule {
    pub group: String,
    pub name: String,
    pub at: Timestamp,
    /// How long after that it fires again, if it does.
    pub every: Option<Duration>,
    /// The name of the queue that it sends to.
    pub queue: String,
    /// Where it is sent if there is no such queue.
    pub dead_letter: Option<String>,
    pub input: String,
    /// Whether it stays when it has fired.
    pub is_kept: bool,
    pub client_token: Option<String>,
    /// As it was asked for.
    pub document: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What became of a schedule that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::aws) enum Made {
    /// It is there now.
    Created,
    /// The same request has made it before.
    Before,
    /// Another of its name is there.
    Conflict,
}

impl Queues {
    /// Makes a schedule.
    pub(in crate::aws) fn create_schedule(&self, schedule: &Schedule) -> rusqlite::Result<Made> {
        let connection = self.lock();
        if let Some(there) = find(&connection, &schedule.group, &schedule.name)? {
            let again = there.client_token.is_some() && there.client_token == schedule.client_token;
            return Ok(if again { Made::Before } else { Made::Conflict });
        }
        put(&connection, schedule)?;
        drop(connection);
        self.wake_for(schedule);
        Ok(Made::Created)
    }

    /// Puts another in the place of one that is there. Whether one was.
    pub(in crate::aws) fn update_schedule(&self, schedule: &Schedule) -> rusqlite::Result<bool> {
        let connection = self.lock();
        let Some(there) = find(&connection, &schedule.group, &schedule.name)? else { return Ok(false) };
        put(&connection, &Schedule { created_at: there.created_at, ..schedule.clone() })?;
        drop(connection);
        self.wake_for(schedule);
        Ok(true)
    }

    /// The schedule of this name.
    pub(in crate::aws) fn schedule(&self, group: &str, name: &str) -> rusqlite::Result<Option<Schedule>> {
        find(&self.lock(), group, name)
    }

    /// Whether there was one of this name; it is deleted.
    pub(in crate::aws) fn delete_schedule(&self, group: &str, name: &str) -> rusqlite::Result<bool> {
        let deleted =
            self.lock().execute("DELETE FROM schedules WHERE group_name = ?1 AND name = ?2", [group, name])?;
        Ok(deleted > 0)
    }

    /// Up to `most` schedules whose names begin with `prefix`, after this group and name, in their order.
    pub(in crate::aws) fn schedules(
        &self,
        group: Option<&str>,
        prefix: &str,
        after: (&str, &str),
        most: u64,
    ) -> rusqlite::Result<Vec<Schedule>> {
        let connection = self.lock();
        let mut select = connection.prepare_cached(
            "SELECT * FROM schedules WHERE (?1 IS NULL OR group_name = ?1) AND substr(name, 1, length(?2)) = ?2
             AND (group_name, name) > (?3, ?4) ORDER BY group_name, name LIMIT ?5",
        )?;
        select.query_map(params![group, prefix, after.0, after.1, most], read)?.collect()
    }

    fn wake_for(&self, schedule: &Schedule) {
        self.wake(&schedule.queue);
        schedule.dead_letter.iter().for_each(|queue| self.wake(queue));
    }

    /// Sends what is due to this queue: also what no queue takes, if its dead letters go here.
    pub(super) fn fire(&self, connection: &Connection, queue: &str, now: Timestamp) -> rusqlite::Result<()> {
        let due: Vec<Schedule> = connection
            .prepare_cached(
                // Two halves, each by its index: every receive asks.
                "SELECT * FROM schedules WHERE NOT fired AND queue = ?1 AND at <= ?2 UNION ALL
                 SELECT * FROM schedules WHERE NOT fired AND dead_letter = ?1 AND queue <> ?1 AND at <= ?2",
            )?
            .query_map(params![queue, now.millis()], read)?
            .collect::<Result<_, _>>()?;
        for schedule in due {
            let is_dead = schedule.queue != queue;
            if is_dead && self.settings(&schedule.queue).is_some() {
                continue;
            }
            let (body, attributes) = if is_dead { unsent(&schedule) } else { (filled_in(&schedule), "{}".to_owned()) };
            Self::insert(connection, queue, &body, &attributes, now, now)?;
            let Schedule { group, name, at, .. } = &schedule;
            match schedule.every {
                // Of the times that have passed unseen, one is made up for.
                Some(every) => connection
                    .prepare_cached("UPDATE schedules SET at = ?3 WHERE group_name = ?1 AND name = ?2")?
                    .execute(params![group, name, next(*at, every, now).millis()])?,
                None if schedule.is_kept => connection
                    .prepare_cached("UPDATE schedules SET fired = 1 WHERE group_name = ?1 AND name = ?2")?
                    .execute([group, name])?,
                None => connection
                    .prepare_cached("DELETE FROM schedules WHERE group_name = ?1 AND name = ?2")?
                    .execute([group, name])?,
            };
        }
        Ok(())
    }

    /// When the next one may fire.
    pub(super) fn next_fire(connection: &Connection, queue: &str) -> rusqlite::Result<Option<Timestamp>> {
        let next = connection
            .prepare_cached("SELECT MIN(at) FROM schedules WHERE NOT fired AND queue = ?1")?
            .query_row([queue], |row| row.get::<_, Option<i64>>(0))?;
        Ok(next.map(Timestamp::from_millis))
    }
}

/// The first time after `now` of those that follow `at` in equal steps.
fn next(at: Timestamp, every: Duration, now: Timestamp) -> Timestamp {
    let steps = now.since(at).as_millis() / every.as_millis().max(1) + 1;
    at.plus(every * u32::try_from(steps).unwrap_or(u32::MAX))
}

fn find(connection: &Connection, group: &str, name: &str) -> rusqlite::Result<Option<Schedule>> {
    let mut select = connection.prepare_cached("SELECT * FROM schedules WHERE group_name = ?1 AND name = ?2")?;
    select.query_row([group, name], read).optional()
}

fn put(connection: &Connection, schedule: &Schedule) -> rusqlite::Result<()> {
    let Schedule {
        group,
        name,
        at,
        every,
        queue,
        dead_letter,
        input,
        is_kept,
        client_token,
        document,
        created_at,
        updated_at,
    } = schedule;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO schedules (group_name, name, at, queue, dead_letter, input, kept, client_token, document,
             created_at, updated_at, every) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            group,
            name,
            at.millis(),
            queue,
            dead_letter,
            input,
            is_kept,
            client_token,
            document,
            created_at.millis(),
            updated_at.millis(),
            every.map(|every| every.as_millis() as i64)
        ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Schedule> {
    Ok(Schedule {
        group: row.get("group_name")?,
        name: row.get("name")?,
        at: Timestamp::from_millis(row.get("at")?),
        every: row.get::<_, Option<i64>>("every")?.map(|millis| Duration::from_millis(millis.unsigned_abs())),
        queue: row.get("queue")?,
        dead_letter: row.get("dead_letter")?,
        input: row.get("input")?,
        is_kept: row.get("kept")?,
        client_token: row.get("client_token")?,
        document: row.get("document")?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        updated_at: Timestamp::from_millis(row.get("updated_at")?),
    })
}

/// The input with Scheduler's words for what is known when it fires.
fn filled_in(schedule: &Schedule) -> String {
    [
        ("<aws.scheduler.schedule-arn>", schedule_arn(&schedule.group, &schedule.name)),
        ("<aws.scheduler.scheduled-time>", schedule.at.to_string()),
        ("<aws.scheduler.execution-id>", uuid::Uuid::new_v4().to_string()),
        ("<aws.scheduler.attempt-number>", "1".to_owned()),
    ]
    .into_iter()
    .fold(schedule.input.clone(), |input, (keyword, value)| input.replace(keyword, &value))
}

/// What stands among the dead letters of a schedule whose queue is not there: the call that failed, and why.
fn unsent(schedule: &Schedule) -> (String, String) {
    let queue_arn = queue_arn(&schedule.queue);
    let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
    let attributes = json!({
        "ERROR_CODE": text("AWS.SimpleQueueService.NonExistentQueue"),
        "ERROR_MESSAGE": text("The specified queue does not exist."),
        "SCHEDULE_ARN": text(&schedule_arn(&schedule.group, &schedule.name)),
        "TARGET_ARN": text(&queue_arn),
        "RETRY_ATTEMPTS": text("0"),
    });
    let call = json!({ "MessageBody": filled_in(schedule), "QueueUrl": queue_arn });
    (call.to_string(), attributes.to_string())
}
