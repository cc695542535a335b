//! What a schedule runs on: clients whose calls wait, and a database with Oncekey's tables.

use dynoxide::Database;
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
    pub fn database() -> Database {
        let database = Database::memory().expect("a database");
        let table = |name: &str, keys: &[&str]| {
            let kinds = ["HASH", "RANGE"];
            let schema = |keys: &[&str]| -> Vec<Value> {
                keys.iter().zip(kinds).map(|(key, kind)| json!({ "AttributeName": key, "KeyType": kind })).collect()
            };
            let mut named = keys.to_vec();
            let mut request = json!({ "TableName": name, "BillingMode": "PAY_PER_REQUEST", "KeySchema": schema(keys) });
            if name == "runs" {
                named.extend(["list_pk", "list_sk"]);
                request["GlobalSecondaryIndexes"] = json!([{ "IndexName": "newest", "KeySchema": schema(&["list_pk", "list_sk"]),
                    "Projection": { "ProjectionType": "KEYS_ONLY" } }]);
            }
            let definitions: Vec<Value> =
                named.iter().map(|name| json!({ "AttributeName": name, "AttributeType": "S" })).collect();
            request["AttributeDefinitions"] = json!(definitions);
            database.create_table(serde_json::from_value(request).expect("a request")).expect("a table");
        };
        table("keys", &["pk"]);
        table("runs", &["run_id", "item"]);
        database
    }
}
