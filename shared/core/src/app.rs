//! What every function holds: its tables, its queues, the time.

use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::environments::Environments;
use crate::error::Error;
use crate::flow::KnownLimits;
use crate::queue::schedules::{EventBridge, Scheduler};
use crate::queue::{QueueUrls, Queues};
use crate::settings::Settings;
use crate::store::{Store, TableNames};
use crate::tasks::KnownTasks;
use crate::telemetry::lines::Lines;

/// How long connecting to AWS may take.
const TO_CONNECT: Duration = Duration::from_millis(1_500);
/// How long an answer may be waited for.
const TO_READ: Duration = Duration::from_secs(3);
/// How long one attempt of a call may take: three, and the pauses between them, fit the fifteen seconds of an HTTP function.
const TO_ATTEMPT: Duration = Duration::from_millis(3_500);

/// AWS's settings as the SDK finds them, and how long a call may take: a connection may have died while its process was
/// frozen, and then nobody answers.
#[must_use]
pub fn aws_settings() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder().connect_timeout(TO_CONNECT).read_timeout(TO_READ);
    let timeouts = timeouts.operation_attempt_timeout(TO_ATTEMPT).build();
    aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts)
}

/// The clients and settings of one process. Cloning shares them.
#[derive(Clone, Debug)]
pub struct App {
    /// The tables.
    pub store: Store,
    /// The queues.
    pub queues: Queues,
    /// The bucket.
    pub blobs: Blobs,
    /// API keys seen lately.
    pub environments: Environments,
    /// What holds for queues, as it was known lately.
    pub limits: KnownLimits,
    /// The tasks that workers have declared, as they were known lately.
    pub tasks: KnownTasks,
    /// The time.
    pub clock: Clock,
    /// What tasks have written, where that is kept here.
    pub lines: Option<Arc<dyn Lines>>,
    /// Where callers find the HTTP API, as far as this process is told.
    pub public_url: Option<String>,
}

impl App {
    /// An app over these clients. Makes no call, so a cold start waits for nothing.
    pub fn new(
        dynamodb: aws_sdk_dynamodb::Client,
        sqs: aws_sdk_sqs::Client,
        tables: TableNames,
        urls: QueueUrls,
        blobs: Blobs,
        clock: Clock,
    ) -> Self {
        let store = Store::new(dynamodb, tables);
        Self {
            blobs,
            environments: Environments::new(store.clone(), clock.clone()),
            limits: KnownLimits::new(store.clone(), clock.clone()),
            tasks: KnownTasks::new(store.clone(), clock.clone()),
            queues: Queues::new(sqs, urls, clock.clone()),
            store,
            clock,
            lines: None,
            public_url: None,
        }
    }

    /// The same, with a scheduler for what is further away than SQS delays.
    #[must_use]
    pub fn scheduled_by(mut self, scheduler: Arc<dyn Scheduler>) -> Self {
        self.queues = self.queues.with_scheduler(scheduler);
        self
    }

    /// An app as a Lambda's environment variables describe it: [`Settings`], and whatever the AWS SDK reads.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming the variable that is missing or malformed.
    pub async fn from_env() -> Result<Self, Error> {
        let Settings { tables, queues, schedules, bucket, public_url } = Settings::from_env()?;
        let sdk = aws_settings().load().await;
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk));
        // As the SDK's own clients find their endpoints.
        let endpoint = |name: &str| std::env::var(name).ok().or_else(|| sdk.endpoint_url().map(str::to_owned));
        let clock = Clock::system();
        let blobs = Blobs::new(&sdk, endpoint("AWS_ENDPOINT_URL_S3").as_deref(), &bucket, clock.clone())?;
        let dead_letters = queues.runs_dead_letter.clone();
        let app = Self { public_url, ..Self::new(dynamodb, sqs, tables, queues, blobs, clock.clone()) };
        let Some(group) = schedules else { return Ok(app) };
        let endpoint = endpoint("AWS_ENDPOINT_URL_SCHEDULER");
        Ok(app.scheduled_by(Arc::new(EventBridge::new(&sdk, endpoint.as_deref(), group, dead_letters, clock)?)))
    }
}
