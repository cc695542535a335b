//! What every function holds: its tables, its queues, the time.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::environment::Environments;
use crate::error::Error;
use crate::queue::name::QueueName;
use crate::queue::{QueueUrls, Queues};
use crate::store::{Store, TableNames};

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
    /// The time.
    pub clock: Clock,
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
            queues: Queues::new(sqs, urls, clock.clone()),
            store,
            clock,
        }
    }

    /// An app as a Lambda's environment variables describe it: `ONCEKEY_KEYS_TABLE`, `ONCEKEY_RUNS_TABLE`,
    /// `ONCEKEY_ENVIRONMENTS_TABLE`, `ONCEKEY_RUNS_QUEUES` (`{"default": "https://…"}`), `ONCEKEY_MORE_RUNS_QUEUES`
    /// (those of other workers, may be left out), `ONCEKEY_TASK_QUEUES` (`{"send-email": "email"}`, may be left out), `ONCEKEY_RUNS_DEAD_LETTER_QUEUE`,
    /// `ONCEKEY_TRIGGERS_QUEUE`, `ONCEKEY_TRIGGERS_DEAD_LETTER_QUEUE`, `ONCEKEY_COMPLETIONS_QUEUE`,
    /// `ONCEKEY_COMPLETIONS_DEAD_LETTER_QUEUE`, `ONCEKEY_BUCKET`, and whatever the AWS SDK reads.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming the variable that is missing or malformed.
    pub async fn from_env() -> Result<Self, Error> {
        let tables = TableNames {
            keys: variable("ONCEKEY_KEYS_TABLE")?,
            runs: variable("ONCEKEY_RUNS_TABLE")?,
            environments: variable("ONCEKEY_ENVIRONMENTS_TABLE")?,
        };
        let mut runs: BTreeMap<QueueName, String> = parsed("ONCEKEY_RUNS_QUEUES", &variable("ONCEKEY_RUNS_QUEUES")?)?;
        runs.extend(parsed::<QueueName, String>("ONCEKEY_MORE_RUNS_QUEUES", &or_empty("ONCEKEY_MORE_RUNS_QUEUES"))?);
        let of_task = parsed("ONCEKEY_TASK_QUEUES", &or_empty("ONCEKEY_TASK_QUEUES"))?;
        let urls = QueueUrls {
            runs,
            of_task,
            runs_dead_letter: variable("ONCEKEY_RUNS_DEAD_LETTER_QUEUE")?,
            triggers: variable("ONCEKEY_TRIGGERS_QUEUE")?,
            triggers_dead_letter: variable("ONCEKEY_TRIGGERS_DEAD_LETTER_QUEUE")?,
            completions: variable("ONCEKEY_COMPLETIONS_QUEUE")?,
            completions_dead_letter: variable("ONCEKEY_COMPLETIONS_DEAD_LETTER_QUEUE")?,
        };
        let sdk = aws_config::load_from_env().await;
        let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk));
        // As the SDK's own clients find their endpoints.
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").ok().or_else(|| sdk.endpoint_url().map(str::to_owned));
        let blobs = Blobs::new(&sdk, endpoint.as_deref(), &variable("ONCEKEY_BUCKET")?, Clock::system())?;
        Ok(Self::new(dynamodb, sqs, tables, urls, blobs, Clock::system()))
    }
}

fn parsed<K: DeserializeOwned + Ord, V: DeserializeOwned>(name: &str, text: &str) -> Result<BTreeMap<K, V>, Error> {
    serde_json::from_str(text).map_err(|error| {
        Error::Configuration(format!("the environment variable {name} is not a JSON object of texts: {error}"))
    })
}

fn or_empty(name: &str) -> String {
    std::env::var(name).ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".to_owned())
}

fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| Error::Configuration(format!("the environment variable {name} is not set")))
}
