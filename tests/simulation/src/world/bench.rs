//! What a schedule runs on: clients whose calls wait, and a database with Oncekey's tables.

use dynoxide::Database;
use oncekey_core::store::schema;
use serde_json::{Value, json};

use crate::network::Network;

/// What is the same for every schedule of a thread: making clients takes longer than running one.
pub struct Bench {
    pub(super) network: Network,
    pub(super) dynamodb: aws_sdk_dynamodb::Client,
    pub(super) sqs: aws_sdk_sqs::Client,
    pub(super) sdk: aws_config::SdkConfig,
}

impl Bench {
    /// Clients whose calls wait for the scheduler.
    pub async fn new() -> Self {
        let network = Network::default();
        let sdk = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(network.clone())
            .region("us-east-1")
            .test_credentials()
            .endpoint_url("http://simulation")
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .stalled_stream_protection(aws_config::stalled_stream_protection::StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        Self { dynamodb: aws_sdk_dynamodb::Client::new(&sdk), sqs: aws_sdk_sqs::Client::new(&sdk), network, sdk }
    }

    /// A database with Oncekey's tables.
    #[must_use]
    pub fn database() -> Database {
        let database = Database::memory().expect("a database");
        for (name, schema) in [("keys", schema::KEYS), ("runs", schema::RUNS), ("environments", schema::ENVIRONMENTS)] {
            let key = |key: &[&str]| -> Vec<Value> {
                let kinds = ["HASH", "RANGE"].into_iter();
                key.iter().zip(kinds).map(|(key, kind)| json!({ "AttributeName": key, "KeyType": kind })).collect()
            };
            let definition = |name| json!({ "AttributeName": name, "AttributeType": "S" });
            let mut request = json!({ "TableName": name, "BillingMode": "PAY_PER_REQUEST", "KeySchema": key(schema.key),
                "AttributeDefinitions": schema.attributes().map(definition).collect::<Vec<_>>() });
            if let Some((name, of_index)) = schema.index {
                request["GlobalSecondaryIndexes"] = json!([{ "IndexName": name, "KeySchema": key(&of_index),
                    "Projection": { "ProjectionType": "KEYS_ONLY" } }]);
            }
            database.create_table(serde_json::from_value(request).expect("a request")).expect("a table");
        }
        database
    }
}
