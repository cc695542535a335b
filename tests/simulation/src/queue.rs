//! SQS at its worst, and still within its word: at least once, in no order, with delays, visibility timeouts and redrive.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;
use fastrand::Rng;
use oncekey_core::Timestamp;
use serde_json::{Value, json};

/// How long a received message is hidden.
const VISIBILITY: Duration = Duration::from_secs(180);

/// The queues of the simulation, by the last part of their URL.
pub const RUNS: &str = "sim-runs";
/// Where run messages go that were delivered too often.
pub const RUNS_DEAD: &str = "sim-runs-dead";
/// Times of cron schedules.
pub const TRIGGERS: &str = "sim-triggers";
/// Completion events.
pub const COMPLETIONS: &str = "sim-completions";
/// Where completion events go that were delivered too often.
pub const COMPLETIONS_DEAD: &str = "sim-completions-dead";

#[derive(Clone, Debug)]
struct Message {
    queue: &'static str,
    body: String,
    visible_at: Timestamp,
    received: u32,
}

/// How often a message is received before it is dead-lettered.
#[derive(Clone, Copy, Debug)]
pub struct Receives {
    /// From the queue of runs.
    pub runs: u32,
    /// From the queue of completion events.
    pub completions: u32,
}

impl Receives {
    /// As it is deployed.
    pub const IN_EARNEST: Self = Self { runs: 20, completions: 20 };
    /// Sooner, so that it happens in many schedules.
    pub const FEW: Self = Self { runs: 2, completions: 3 };
}

/// All messages there are.
#[derive(Debug)]
pub struct Queues {
    receives: Receives,
    /// Whether a receiver may say when a message comes again.
    hears: bool,
    /// How many messages were dead-lettered.
    pub dead_lettered: u32,
    messages: BTreeMap<u64, Message>,
    sent: u64,
    /// By their names, the messages that are schedules until they fire.
    schedules: BTreeMap<String, u64>,
}

/// How late a schedule fires, at most.
const LATE_MS: u64 = 60_000;

fn queue_of(url: &str) -> &'static str {
    let name = url.rsplit('/').next().unwrap_or_default();
    let known = [RUNS, RUNS_DEAD, TRIGGERS, COMPLETIONS, COMPLETIONS_DEAD];
    known.into_iter().find(|queue| *queue == name).expect("a queue of the simulation")
}

impl Queues {
    /// Empty queues, whose messages are dead-lettered when they were received so often, and come again when their receiver says
    /// if it `hears` that.
    #[must_use]
    pub fn new(receives: Receives, hears: bool) -> Self {
        Self { receives, hears, dead_lettered: 0, messages: BTreeMap::new(), sent: 0, schedules: BTreeMap::new() }
    }

    /// Where the messages of a queue go that are delivered too often, and how often that is.
    fn redrive(&self, queue: &str) -> Option<(u32, &'static str)> {
        match queue {
            RUNS => Some((self.receives.runs, RUNS_DEAD)),
            COMPLETIONS => Some((self.receives.completions, COMPLETIONS_DEAD)),
            _ => None,
        }
    }

    /// Carries a call out.
    pub fn call(&mut self, operation: &str, body: &Value, now: Timestamp) -> Value {
        match operation {
            "SendMessage" => {
                self.sent += 1;
                let delay = Duration::from_secs(body["DelaySeconds"].as_u64().unwrap_or(0));
                let text = body["MessageBody"].as_str().unwrap_or_default().to_owned();
                let queue = queue_of(body["QueueUrl"].as_str().unwrap_or_default());
                let message = Message { queue, body: text, visible_at: now.plus(delay), received: 0 };
                self.messages.insert(self.sent, message);
                json!({ "MessageId": self.sent.to_string(), "MD5OfMessageBody": "" })
            }
            "ChangeMessageVisibility" => {
                let (id, received) = receipt(body["ReceiptHandle"].as_str().unwrap_or_default());
                let hidden = Duration::from_secs(body["VisibilityTimeout"].as_u64().unwrap_or(0));
                let its = |message: &&mut Message| self.hears && message.received == received;
                if let Some(message) = self.messages.get_mut(&id).filter(its) {
                    message.visible_at = now.plus(hidden);
                }
                json!({})
            }
            other => panic!("the simulation's SQS has no {other}"),
        }
    }

    /// Carries a call to Scheduler out: its status. One of a name that is there, or was until just now, is refused.
    pub fn schedule(&mut self, operation: &str, body: &Value, now: Timestamp, random: &mut Rng) -> u16 {
        let name = body["Name"].as_str().unwrap_or_default();
        let there = self.schedules.get(name).copied();
        let waits =
            |id: &u64| self.messages.get(id).is_some_and(|message| message.received == 0 && message.visible_at > now);
        match operation {
            "CreateSchedule" if there.is_some() => 409,
            "CreateSchedule" => {
                self.sent += 1;
                let at = Timestamp::from_millis(body["At"].as_i64().unwrap_or_default());
                let queue = queue_of(body["QueueUrl"].as_str().unwrap_or_default());
                let body = body["MessageBody"].as_str().unwrap_or_default().to_owned();
                let visible_at = at.plus(Duration::from_millis(random.u64(..LATE_MS)));
                self.messages.insert(self.sent, Message { queue, body, visible_at, received: 0 });
                self.schedules.insert(name.to_owned(), self.sent);
                200
            }
            "DeleteSchedule" => match there.filter(waits) {
                Some(id) => {
                    self.messages.remove(&id);
                    self.schedules.remove(name);
                    200
                }
                None => 404,
            },
            other => panic!("the simulation's Scheduler has no {other}"),
        }
    }

    /// Receives any message that is visible. A copy of it may stay visible.
    pub fn receive(&mut self, now: Timestamp, random: &mut Rng, faults: bool) -> Option<(&'static str, SqsMessage)> {
        let visible: Vec<u64> =
            self.messages.iter().filter(|(_, message)| message.visible_at <= now).map(|(id, _)| *id).collect();
        let id = *visible.get(random.usize(..visible.len().max(1)))?;
        let redrive = self.redrive(self.messages.get(&id)?.queue);
        let message = self.messages.get_mut(&id)?;
        if let Some((most, dead)) = redrive
            && message.received >= most
        {
            (message.queue, message.received) = (dead, 0);
            self.dead_lettered += 1;
        }
        message.received += 1;
        if !(faults && random.u8(..100) < 10) {
            message.visible_at = now.plus(VISIBILITY);
        }
        let mut received = SqsMessage::default();
        received.message_id = Some(id.to_string());
        received.receipt_handle = Some(format!("{id}#{}", message.received));
        received.body = Some(message.body.clone());
        received.attributes.insert("ApproximateReceiveCount".to_owned(), message.received.to_string());
        received.event_source_arn = Some(format!("arn:aws:sqs:us-east-1:000000000000:{}", message.queue));
        Some((message.queue, received))
    }

    /// Deletes a received message, whoever has received it since.
    pub fn delete(&mut self, handle: &str) {
        self.messages.remove(&receipt(handle).0);
    }

    /// Whether a message names a run.
    #[must_use]
    pub fn name(&self, run: &str) -> bool {
        self.messages.values().any(|message| message.body.contains(run))
    }

    /// Whether a message has all of these texts.
    #[must_use]
    pub fn have(&self, texts: &[&str]) -> bool {
        self.messages.values().any(|message| texts.iter().all(|text| message.body.contains(text)))
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// When the next message can be received, if there is one.
    #[must_use]
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.messages.values().map(|message| message.visible_at).min()
    }
}

fn receipt(handle: &str) -> (u64, u32) {
    let (id, received) = handle.split_once('#').unwrap_or_default();
    (id.parse().unwrap_or_default(), received.parse().unwrap_or_default())
}
