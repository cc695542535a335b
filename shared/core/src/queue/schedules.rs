//! EventBridge Scheduler: what is further away than SQS delays waits there, as a schedule that sends one message and is gone
//! then. Without one, such a message goes in hops of a quarter of an hour, and each hop is an invocation.

use std::fmt::Debug;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::sqs::SqsMessage;
use data_encoding::BASE32_NOPAD;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::cron::Tick;
use crate::error::Error;
use crate::queue::message::RunMessage;
use crate::signed::{Requests, Signer, Unexpected};

/// A schedule fires up to a minute late, and what it sends is not delayed: it is set so much early, and a delay of SQS's makes
/// the end exact.
const EARLY: Duration = Duration::from_secs(120);
/// The largest text that a schedule sends (256 KB).
const MAX_INPUT_BYTES: usize = 256 * 1024;
/// What Scheduler puts something in the place of, wherever it stands.
const KEYWORD: &str = "<aws.scheduler.";
/// The attribute of a message that Scheduler could not send, and put where dead letters go.
const OF_SCHEDULE: &str = "SCHEDULE_ARN";
/// What is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What sends a message at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Its name, which tells this message at this time from all others: who makes it again makes no second one.
    pub name: String,
    /// When it fires.
    pub at: Timestamp,
    /// The URL of the queue.
    pub queue_url: String,
    /// The message.
    pub message: String,
}

/// Keeps schedules.
pub trait Scheduler: Debug + Send + Sync {
    /// Makes a schedule, unless one of its name is there.
    ///
    /// # Errors
    /// [`Error::Aws`]: it may be there all the same.
    fn create(&self, schedule: Schedule) -> BoxFuture<'_, Result<(), Error>>;

    /// Deletes the schedule of this name, if there is one.
    ///
    /// # Errors
    /// [`Error::Aws`].
    fn delete(&self, name: String) -> BoxFuture<'_, Result<(), Error>>;
}

impl Schedule {
    /// That of a message which is due at a moment far enough away. `None` if it is larger than a schedule's may be.
    pub(super) fn of(name: String, text: &str, due_at: Timestamp, queue_url: &str) -> Option<Self> {
        // Only strings of the JSON can hold it.
        let message_text = text.replace(KEYWORD, "\\u003caws.scheduler.");
        (message_text.len() <= MAX_INPUT_BYTES).then(|| Self {
            name,
            at: Timestamp::from_millis(due_at.millis().saturating_sub(EARLY.as_millis() as i64)),
            queue_url: queue_url.to_owned(),
            message: message_text,
        })
    }
}

/// The name of what sends `message` to be there at `due_at`. A run that is given the same start a second time has another for it:
/// whoever deletes the first one may be late.
pub(super) fn name(message: &RunMessage, due_at: Timestamp) -> String {
    let RunMessage { run_id, turn, wakes, rescheduled, .. } = message;
    let what = match wakes {
        Some(call) => format!("wake {run_id} {} {call}", turn.attempt),
        None => format!("start {run_id} {} {} {rescheduled}", turn.attempt, turn.resume),
    };
    BASE32_NOPAD.encode(&Sha256::digest(format!("{what} {}", due_at.millis())))
}

/// The name of what sends a tick.
pub(super) fn name_of_tick(tick: &Tick) -> String {
    let Tick { environment, schedule, generation, at } = tick;
    let what = format!("tick {environment} {schedule} {generation} {}", at.millis());
    BASE32_NOPAD.encode(&Sha256::digest(what))
}

/// Where a stack's schedules are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleGroup {
    /// The name of the group.
    pub name: String,
    /// The ARN of the role by which Scheduler sends.
    pub role_arn: String,
}

/// AWS's own, or what speaks as it does.
#[derive(Clone, Debug)]
pub struct EventBridge {
    schedules: Url,
    group: ScheduleGroup,
    dead_letter_url: String,
    signer: Signer,
    clock: Clock,
    requests: Requests,
}

impl EventBridge {
    /// A client that makes no call until it is used; at `endpoint`, if it is another than AWS's. What cannot be sent goes to the
    /// queue at `dead_letter_url`.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings have no region or credentials, or make no URL.
    pub fn new(
        sdk: &SdkConfig,
        endpoint: Option<&str>,
        group: ScheduleGroup,
        dead_letter_url: String,
        clock: Clock,
    ) -> Result<Self, Error> {
        let signer = Signer::of(sdk)?;
        let url = match endpoint {
            Some(endpoint) => format!("{}/schedules/", endpoint.trim_end_matches('/')),
            None => format!("https://scheduler.{}.amazonaws.com/schedules/", signer.region()),
        };
        let schedules =
            Url::parse(&url).map_err(|error| Error::Configuration(format!("{url} is not a URL: {error}")))?;
        Ok(Self { schedules, group, dead_letter_url, signer, clock, requests: Requests::default() })
    }

    /// The ARN of a queue of this account: its URL ends with account and name.
    fn queue_arn(&self, url: &str) -> String {
        let partition = self.group.role_arn.split(':').nth(1).unwrap_or("aws");
        let mut parts = url.rsplit('/');
        let (name, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("arn:{partition}:sqs:{}:{account}:{name}", self.signer.region())
    }

    async fn send(&self, call: &'static str, method: Method, url: Url, body: String) -> Result<StatusCode, Error> {
        let request = Request::builder().method(method).uri(url.as_str()).header(CONTENT_TYPE, "application/json");
        let request = request.body(Bytes::from(body)).map_err(Error::aws(call))?;
        let request = self.signer.in_headers("scheduler", request, self.clock.now()).await?;
        Ok(self.requests.send_once(call, &request, MAX_ANSWER_BYTES).await?.status)
    }

    fn url(&self, name: &str, call: &'static str) -> Result<Url, Error> {
        self.schedules.join(name).map_err(Error::aws(call))
    }
}

impl Scheduler for EventBridge {
    fn create(&self, schedule: Schedule) -> BoxFuture<'_, Result<(), Error>> {
        const CALL: &str = "scheduler:CreateSchedule";
        Box::pin(async move {
            let Schedule { name, at, queue_url, message } = schedule;
            // Without the milliseconds and the Z.
            let at = at.to_string();
            let body = json!({
                "GroupName": self.group.name,
                "ScheduleExpression": format!("at({})", at.get(..19).unwrap_or(&at)),
                "FlexibleTimeWindow": { "Mode": "OFF" },
                "ActionAfterCompletion": "DELETE",
                "Target": {
                    "Arn": self.queue_arn(&queue_url),
                    "RoleArn": self.group.role_arn,
                    "Input": message,
                    "DeadLetterConfig": { "Arn": self.queue_arn(&self.dead_letter_url) },
                },
            });
            match self.send(CALL, Method::POST, self.url(&name, CALL)?, body.to_string()).await? {
                // One of this name sends this very message.
                StatusCode::CONFLICT => Ok(()),
                status if status.is_success() => Ok(()),
                status => Err(Error::aws(CALL)(Unexpected(status))),
            }
        })
    }

    fn delete(&self, name: String) -> BoxFuture<'_, Result<(), Error>> {
        const CALL: &str = "scheduler:DeleteSchedule";
        Box::pin(async move {
            let mut url = self.url(&name, CALL)?;
            url.query_pairs_mut().append_pair("groupName", &self.group.name);
            match self.send(CALL, Method::DELETE, url, String::new()).await? {
                StatusCode::NOT_FOUND => Ok(()),
                status if status.is_success() => Ok(()),
                status => Err(Error::aws(CALL)(Unexpected(status))),
            }
        })
    }
}

/// The text of a run message that Scheduler could not send in a day, as it stands among the dead letters: it was never received.
/// `None` for one that was.
#[must_use]
pub fn unsent(message: &SqsMessage) -> Option<String> {
    /// What Scheduler asks of SQS.
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct SendMessage {
        message_body: String,
    }
    message.message_attributes.get(OF_SCHEDULE)?;
    let body = message.body.as_deref().unwrap_or_default();
    let asked = serde_json::from_str::<SendMessage>(body);
    Some(asked.map_or_else(|_| body.to_owned(), |asked| asked.message_body))
}
