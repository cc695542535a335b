//! Who asks what of AWS: each call that a function makes, named as IAM names it, so that a stack can refuse what a deployed one
//! would. Only calls to what is embedded are looked at.

use std::fmt;
use std::sync::Arc;

use oncekey_core::queue::name::QueueName;
use oncekey_core::store::schema::{ENVIRONMENTS, RUNS};
use serde_json::Value;

/// What ARNs say between the service and the resource.
const PLACE: &str = "us-east-1:000000000000";

/// A function, by whose permissions a call is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// HTTP: triggers, batches, places for large payloads.
    Trigger,
    /// SQS: triggers that come as messages.
    Ingest,
    /// HTTP: frees keys.
    Reset,
    /// HTTP: runs that are there.
    Runs,
    /// HTTP: the pages.
    Dashboard,
    /// SQS: how attempts ended, and dead letters.
    Complete,
    /// SQS: the worker that a queue for runs feeds.
    Worker(QueueName),
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trigger => "trigger",
            Self::Ingest => "ingest",
            Self::Reset => "reset",
            Self::Runs => "runs",
            Self::Dashboard => "dashboard",
            Self::Complete => "complete",
            Self::Worker(queue) => return write!(f, "worker.{queue}"),
        })
    }
}

/// One thing that a function asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessRequest {
    /// Who asks.
    pub function: Function,
    /// What for, as `dynamodb:PutItem`.
    pub action: String,
    /// The ARN of what it is done to: a table, an index, a queue, an object or a bucket.
    pub resource: String,
    /// The partition key of the item, where it is one: what the condition `dynamodb:LeadingKeys` is about.
    pub leading_key: Option<String>,
}

impl fmt::Display for AccessRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not authorized to perform: {} on resource: {}", self.function, self.action, self.resource)
    }
}

/// Says of each thing that a function asks for whether it may have it.
#[derive(Clone)]
pub struct Permissions(Arc<dyn Fn(AccessRequest) -> bool + Send + Sync>);

impl Permissions {
    /// Those that `allows` says.
    pub fn new(allows: impl Fn(AccessRequest) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permissions")
    }
}

/// A function that calls, and what says whether it may.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub function: Function,
    pub permissions: Permissions,
}

impl Caller {
    /// Whether it may: otherwise how AWS puts it.
    fn ask(&self, action: &str, resource: String, leading_key: Option<String>) -> Result<(), String> {
        let asked = AccessRequest { function: self.function.clone(), action: action.to_owned(), resource, leading_key };
        let words = format!("User: {asked} because no identity-based policy allows it");
        if (self.permissions.0)(asked) { Ok(()) } else { Err(words) }
    }

    /// Whether it may make this call to DynamoDB.
    pub(crate) fn ask_dynamodb(&self, operation: &str, body: &[u8]) -> Result<(), String> {
        // What cannot be read is refused by the database, in its own words.
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
        if let Some(writes) = body.get("TransactItems").and_then(Value::as_array) {
            return writes.iter().try_for_each(|write| self.ask_transacted(write));
        }
        let action = format!("dynamodb:{operation}");
        if let Some(tables) = body.get("RequestItems").and_then(Value::as_object) {
            return tables.keys().try_for_each(|table| self.ask(&action, table_arn(table), None));
        }
        let table = table_arn(body["TableName"].as_str().unwrap_or("*"));
        let resource = match body["IndexName"].as_str() {
            Some(index) => format!("{table}/index/{index}"),
            None => table,
        };
        self.ask(&action, resource, leading_key(&body))
    }

    /// Whether it may make this write of a transaction, which IAM knows as the write alone; a check has a name of its own.
    fn ask_transacted(&self, write: &Value) -> Result<(), String> {
        for (name, of_write) in write.as_object().into_iter().flatten() {
            let action = match name.as_str() {
                "ConditionCheck" => "dynamodb:ConditionCheckItem".to_owned(),
                name => format!("dynamodb:{name}Item"),
            };
            self.ask(&action, table_arn(of_write["TableName"].as_str().unwrap_or("*")), leading_key(of_write))?;
        }
        Ok(())
    }

    /// Whether it may make this call to SQS, whose batches are the single actions to IAM.
    pub(crate) fn ask_sqs(&self, action: &str, body: &[u8]) -> Result<(), String> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
        let queue = body["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or("*");
        let action = format!("sqs:{}", action.strip_suffix("Batch").unwrap_or(action));
        self.ask(&action, queue_arn(queue), None)
    }

    /// Whether it may do this to a schedule.
    pub(crate) fn ask_scheduler(&self, action: &str, group: &str, name: &str) -> Result<(), String> {
        self.ask(&format!("scheduler:{action}"), schedule_arn(group, name), None)
    }

    /// Whether it may have a service act by this role.
    pub(crate) fn ask_pass_role(&self, role_arn: &str) -> Result<(), String> {
        self.ask("iam:PassRole", role_arn.to_owned(), None)
    }

    /// Whether it may do this to an object of this path, which begins with its bucket; or to a bucket.
    pub(crate) fn ask_s3(&self, action: &str, path: &str) -> Result<(), String> {
        self.ask(&format!("s3:{action}"), format!("arn:aws:s3:::{}", path.trim_start_matches('/')), None)
    }
}

/// The partition key of the item that is meant, where it is one.
fn leading_key(body: &Value) -> Option<String> {
    let item = body.get("Item").or(body.get("Key"));
    let of_key = |name: &str| item?.get(name)?.get("S")?.as_str().map(str::to_owned);
    [RUNS.key, ENVIRONMENTS.key].into_iter().find_map(|key| of_key(key.first()?))
}

/// The ARN of a queue.
pub(crate) fn queue_arn(queue: &str) -> String {
    format!("arn:aws:sqs:{PLACE}:{queue}")
}

/// The ARN of a schedule.
pub(crate) fn schedule_arn(group: &str, name: &str) -> String {
    format!("arn:aws:scheduler:{PLACE}:schedule/{group}/{name}")
}

fn table_arn(table: &str) -> String {
    format!("arn:aws:dynamodb:{PLACE}:table/{table}")
}
