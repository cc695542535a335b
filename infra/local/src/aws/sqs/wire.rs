//! SQS's JSON protocol (`application/x-amz-json-1.0`): one POST, the action in `x-amz-target`.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::limits::{self, Entry, MAX_REQUEST_BYTES, Outgoing};
use super::store::receive::{Received, parse_receipt};
use super::store::{QueueSettings, Queues};

const MAX_DELAY_SECONDS: i64 = 900;
const MAX_VISIBILITY_SECONDS: i64 = 12 * 60 * 60;
const MAX_WAIT_SECONDS: i64 = 20;

/// The endpoint's routes: any path, as queue URLs hold one.
pub fn router(queues: Queues) -> Router {
    let limit = DefaultBodyLimit::max(MAX_REQUEST_BYTES);
    Router::new().route("/", post(act)).route("/{*path}", post(act)).layer(limit).with_state(queues)
}

/// What the endpoint answers.
pub(crate) struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// JSON.
    pub body: String,
    /// The header `x-amzn-query-error`, by which SDKs know an error.
    pub error: Option<String>,
}

async fn act(State(queues): State<Queues>, headers: HeaderMap, body: Bytes) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let action = target.strip_prefix("AmazonSQS.").unwrap_or(target);
    let Answer { status, body, error } = execute(&queues, host, action, &body).await;
    let error = error.map(|error| [("x-amzn-query-error", error)]);
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], error, body).into_response()
}

/// Carries an action out. `host` is what queue URLs begin with.
pub(crate) async fn execute(queues: &Queues, host: &str, action: &str, body: &[u8]) -> Answer {
    match answer(queues, host, action, body).await {
        Ok(answer) => Answer { status: StatusCode::OK, body: answer.to_string(), error: None },
        Err(fault) => {
            Answer { status: fault.status(), body: fault.body().to_string(), error: Some(fault.query_error()) }
        }
    }
}

async fn answer(queues: &Queues, host: &str, action: &str, body: &[u8]) -> Result<Value, Fault> {
    Ok(match action {
        "SendMessage" => send_message(queues, parse(body)?)?,
        "SendMessageBatch" => send_message_batch(queues, parse(body)?)?,
        "ReceiveMessage" => receive_message(queues, parse(body)?).await?,
        "DeleteMessage" => {
            let request: Receipt = parse(body)?;
            queue(queues, &request.queue_url)?;
            check_receipt(&request.receipt_handle)?;
            queues.delete(&[request.receipt_handle])?;
            json!({})
        }
        "DeleteMessageBatch" => delete_message_batch(queues, parse(body)?)?,
        "ChangeMessageVisibility" => change_visibility(queues, parse(body)?)?,
        "GetQueueUrl" => {
            let name = parse::<QueueName>(body)?.queue_name;
            queue(queues, &name)?;
            json!({ "QueueUrl": queue_url(host, &name) })
        }
        "ListQueues" => json!({ "QueueUrls": queues.names().map(|name| queue_url(host, name)).collect::<Vec<_>>() }),
        "GetQueueAttributes" => attributes(queues, &parse(body)?)?,
        "PurgeQueue" => {
            let request: QueueOnly = parse(body)?;
            queues.purge(&queue(queues, &request.queue_url)?.name)?;
            json!({})
        }
        _ => return Err(Fault::sender("UnsupportedOperation", format!("this endpoint has no {action:?}"))),
    })
}

/// The URL of a queue, as clients should name it.
fn queue_url(host: &str, name: &str) -> String {
    format!("http://{host}/000000000000/{name}")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => Fault::missing(field),
            None => Fault::sender("InvalidParameterValue", text),
        }
    })
}

fn queue<'a>(queues: &'a Queues, url: &str) -> Result<&'a QueueSettings, Fault> {
    let name = url.rsplit('/').next().unwrap_or_default();
    queues.settings(name).ok_or_else(|| Fault::sender("QueueDoesNotExist", format!("there is no queue {name:?}")))
}

fn seconds(value: Option<i64>, most: i64, field: &str) -> Result<Option<Duration>, Fault> {
    let seconds = limits::within(value, 0..=most, field)?;
    Ok(seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs())))
}

fn check_receipt(receipt: &str) -> Result<(), Fault> {
    match parse_receipt(receipt) {
        Some(_) => Ok(()),
        None => Err(Fault::sender("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueName {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttributesOf {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueOnly {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receipt {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    queue_url: String,
    #[serde(flatten)]
    message: Outgoing,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<T> {
    queue_url: String,
    entries: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchReceipt {
    id: String,
    receipt_handle: String,
}

impl Entry for BatchReceipt {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveMessage {
    queue_url: String,
    #[serde(default)]
    max_number_of_messages: Option<i64>,
    #[serde(default)]
    wait_time_seconds: Option<i64>,
    #[serde(default)]
    visibility_timeout: Option<i64>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeVisibility {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

/// What the store takes: body, attributes as JSON, delay.
fn accept(message: &Outgoing) -> Result<(String, String, Duration), Fault> {
    limits::check_message(message)?;
    let delay = seconds(message.delay_seconds, MAX_DELAY_SECONDS, "DelaySeconds")?.unwrap_or_default();
    let attributes = json!(message.message_attributes).to_string();
    Ok((message.message_body.clone(), attributes, delay))
}

fn sent(message: &Outgoing, message_id: &str) -> Value {
    json!({ "MessageId": message_id, "MD5OfMessageBody": md5_hex(&message.message_body) })
}

/// What SQS answers to a `SendMessage` that it refuses for its message: the status and the body. Nothing if it takes it.
#[must_use]
pub fn refusal(body: &[u8]) -> Option<(u16, String)> {
    let checked = parse(body).and_then(|request: SendMessage| accept(&request.message).map(drop));
    checked.err().map(|fault| (fault.status().as_u16(), fault.body().to_string()))
}

fn send_message(queues: &Queues, request: SendMessage) -> Result<Value, Fault> {
    let queue = queue(queues, &request.queue_url)?;
    let ids = queues.send(&queue.name, &[accept(&request.message)?])?;
    Ok(sent(&request.message, ids.first().map_or("", String::as_str)))
}

fn send_message_batch(queues: &Queues, request: Batch<Outgoing>) -> Result<Value, Fault> {
    let queue = queue(queues, &request.queue_url)?;
    limits::check_batch(&request.entries, "SendMessageBatchRequestEntry")?;
    limits::check_total(&request.entries)?;
    let (mut accepted, mut messages, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for entry in &request.entries {
        match accept(entry) {
            Ok(message) => {
                accepted.push(entry);
                messages.push(message);
            }
            Err(fault) => failed.push(fault.of_entry(&entry.id)),
        }
    }
    let ids = queues.send(&queue.name, &messages)?;
    let entry = |(message, id): (&Outgoing, &String)| {
        let mut entry = sent(message, id);
        entry["Id"] = json!(message.id);
        entry
    };
    Ok(json!({ "Successful": accepted.into_iter().zip(&ids).map(entry).collect::<Vec<_>>(), "Failed": failed }))
}

async fn receive_message(queues: &Queues, request: ReceiveMessage) -> Result<Value, Fault> {
    let queue = queue(queues, &request.queue_url)?;
    let most = limits::within(request.max_number_of_messages, 1..=10, "MaxNumberOfMessages")?.unwrap_or(1);
    let visibility = seconds(request.visibility_timeout, MAX_VISIBILITY_SECONDS, "VisibilityTimeout")?;
    let wait = seconds(request.wait_time_seconds, MAX_WAIT_SECONDS, "WaitTimeSeconds")?.unwrap_or_default();
    let received =
        queues.receive(queue, most.unsigned_abs(), visibility.unwrap_or(queue.visibility_timeout), wait).await?;
    let with_attributes = !request.message_attribute_names.is_empty();
    Ok(json!({ "Messages": received.iter().map(|message| to_json(message, with_attributes)).collect::<Vec<_>>() }))
}

fn to_json(message: &Received, with_attributes: bool) -> Value {
    let mut json = json!({
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "MD5OfBody": md5_hex(&message.body),
        "Attributes": {
            "SentTimestamp": message.sent_at.millis().to_string(),
            "ApproximateFirstReceiveTimestamp": message.first_received_at.millis().to_string(),
            "ApproximateReceiveCount": message.receive_count.to_string(),
        },
    });
    if with_attributes && let Ok(attributes) = serde_json::from_str::<Value>(&message.attributes) {
        json["MessageAttributes"] = attributes;
    }
    json
}

fn delete_message_batch(queues: &Queues, request: Batch<BatchReceipt>) -> Result<Value, Fault> {
    queue(queues, &request.queue_url)?;
    limits::check_batch(&request.entries, "DeleteMessageBatchRequestEntry")?;
    let (mut successful, mut receipts, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for BatchReceipt { id, receipt_handle } in request.entries {
        match check_receipt(&receipt_handle) {
            Ok(()) => {
                successful.push(json!({ "Id": id }));
                receipts.push(receipt_handle);
            }
            Err(fault) => failed.push(fault.of_entry(&id)),
        }
    }
    queues.delete(&receipts)?;
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

fn change_visibility(queues: &Queues, request: ChangeVisibility) -> Result<Value, Fault> {
    queue(queues, &request.queue_url)?;
    check_receipt(&request.receipt_handle)?;
    let visibility = seconds(Some(request.visibility_timeout), MAX_VISIBILITY_SECONDS, "VisibilityTimeout")?;
    if queues.hide(&request.receipt_handle, visibility.unwrap_or_default())? {
        return Ok(json!({}));
    }
    Err(Fault::sender("MessageNotInflight", "the message was deleted, or somebody else has received it"))
}

/// Those that were asked for: none, if none was named.
fn attributes(queues: &Queues, request: &AttributesOf) -> Result<Value, Fault> {
    let queue = queue(queues, &request.queue_url)?;
    let depth = queues.depth(&queue.name)?;
    let all = [
        ("ApproximateNumberOfMessages", depth.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", depth.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", depth.delayed.to_string()),
        ("VisibilityTimeout", queue.visibility_timeout.as_secs().to_string()),
    ];
    let asked = |name: &str| request.attribute_names.iter().any(|asked| asked == name || asked == "All");
    let attributes: Map<String, Value> =
        all.into_iter().filter(|(name, _)| asked(name)).map(|(name, value)| (name.to_owned(), value.into())).collect();
    Ok(json!({ "Attributes": attributes }))
}

fn md5_hex(text: &str) -> String {
    HEXLOWER.encode(&Md5::digest(text.as_bytes()))
}
