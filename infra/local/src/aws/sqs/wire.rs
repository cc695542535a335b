//! SQS's JSON protocol (`application/x-amz-json-1.0`): one POST, the action in `x-amz-target`.

use std::collections::BTreeMap;
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

use super::store::{QueueSettings, Queues, Received};

/// The largest message: 1 MiB, as SQS has it.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
const MAX_DELAY_SECONDS: u64 = 900;
const MAX_VISIBILITY_SECONDS: u64 = 12 * 60 * 60;

/// The endpoint's routes: any path, as queue URLs hold one.
pub fn router(queues: Queues) -> Router {
    let limit = DefaultBodyLimit::max(12 * MAX_MESSAGE_BYTES);
    Router::new().route("/", post(act)).route("/{*path}", post(act)).layer(limit).with_state(queues)
}

/// An error as SQS answers it.
struct Fault {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Fault {
    fn sender(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind, message: message.into() }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the queues' database failed");
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "InternalFailure", message: error.to_string() }
    }
}

async fn act(State(queues): State<Queues>, headers: HeaderMap, body: Bytes) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let action = target.strip_prefix("AmazonSQS.").unwrap_or(target);
    let (status, text) = execute(&queues, host, action, &body).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], text).into_response()
}

/// Carries an action out: the status and the JSON to answer. `host` is what queue URLs begin with.
pub(crate) async fn execute(queues: &Queues, host: &str, action: &str, body: &[u8]) -> (u16, String) {
    match answer(queues, host, action, body).await {
        Ok(answer) => (200, answer.to_string()),
        Err(Fault { status, kind, message }) => {
            let fault = json!({ "__type": format!("com.amazonaws.sqs#{kind}"), "message": message });
            (status.as_u16(), fault.to_string())
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
    serde_json::from_slice(body).map_err(|error| Fault::sender("InvalidParameterValue", error.to_string()))
}

fn queue<'a>(queues: &'a Queues, url: &str) -> Result<&'a QueueSettings, Fault> {
    let name = url.rsplit('/').next().unwrap_or_default();
    queues.settings(name).ok_or_else(|| Fault::sender("QueueDoesNotExist", format!("there is no queue {name:?}")))
}

fn seconds(value: Option<u64>, most: u64, field: &str) -> Result<Option<Duration>, Fault> {
    match value {
        Some(value) if value > most => {
            Err(Fault::sender("InvalidParameterValue", format!("{field} is at most {most} seconds")))
        }
        value => Ok(value.map(Duration::from_secs)),
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
struct Outgoing {
    message_body: String,
    #[serde(default)]
    message_attributes: BTreeMap<String, Value>,
    #[serde(default)]
    delay_seconds: Option<u64>,
    #[serde(default)]
    id: String,
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveMessage {
    queue_url: String,
    #[serde(default)]
    max_number_of_messages: Option<u32>,
    #[serde(default)]
    wait_time_seconds: Option<u64>,
    #[serde(default)]
    visibility_timeout: Option<u64>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeVisibility {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: u64,
}

/// What the store takes: body, attributes as JSON, delay.
fn accept(message: &Outgoing) -> Result<(String, String, Duration), Fault> {
    if message.message_body.is_empty() || message.message_body.len() > MAX_MESSAGE_BYTES {
        return Err(Fault::sender("InvalidParameterValue", format!("a message has 1 to {MAX_MESSAGE_BYTES} bytes")));
    }
    let delay = seconds(message.delay_seconds, MAX_DELAY_SECONDS, "DelaySeconds")?.unwrap_or_default();
    let attributes = json!(message.message_attributes).to_string();
    Ok((message.message_body.clone(), attributes, delay))
}

fn sent(message: &Outgoing, message_id: &str) -> Value {
    json!({ "MessageId": message_id, "MD5OfMessageBody": md5_hex(&message.message_body) })
}

fn send_message(queues: &Queues, request: SendMessage) -> Result<Value, Fault> {
    let queue = queue(queues, &request.queue_url)?;
    let ids = queues.send(&queue.name, &[accept(&request.message)?])?;
    Ok(sent(&request.message, ids.first().map_or("", String::as_str)))
}

fn send_message_batch(queues: &Queues, request: Batch<Outgoing>) -> Result<Value, Fault> {
    let queue = queue(queues, &request.queue_url)?;
    ten_at_most(&request.entries)?;
    let messages = request.entries.iter().map(accept).collect::<Result<Vec<_>, _>>()?;
    let ids = queues.send(&queue.name, &messages)?;
    let entry = |(message, id): (&Outgoing, &String)| {
        let mut entry = sent(message, id);
        entry["Id"] = json!(message.id);
        entry
    };
    Ok(json!({ "Successful": request.entries.iter().zip(&ids).map(entry).collect::<Vec<_>>(), "Failed": [] }))
}

fn ten_at_most<T>(entries: &[T]) -> Result<(), Fault> {
    match entries.len() {
        1..=10 => Ok(()),
        0 => Err(Fault::sender("EmptyBatchRequest", "a batch has at least one entry")),
        _ => Err(Fault::sender("TooManyEntriesInBatchRequest", "a batch has at most ten entries")),
    }
}

async fn receive_message(queues: &Queues, request: ReceiveMessage) -> Result<Value, Fault> {
    let queue = queue(queues, &request.queue_url)?;
    let most = request.max_number_of_messages.unwrap_or(1);
    if !(1..=10).contains(&most) {
        return Err(Fault::sender("InvalidParameterValue", "MaxNumberOfMessages is 1 to 10"));
    }
    let visibility = seconds(request.visibility_timeout, MAX_VISIBILITY_SECONDS, "VisibilityTimeout")?;
    let wait = seconds(request.wait_time_seconds, 20, "WaitTimeSeconds")?.unwrap_or_default();
    let received = queues.receive(queue, most, visibility.unwrap_or(queue.visibility_timeout), wait).await?;
    let with_attributes = !request.message_attribute_names.is_empty();
    Ok(json!({ "Messages": received.iter().map(|message| shown(message, with_attributes)).collect::<Vec<_>>() }))
}

fn shown(message: &Received, with_attributes: bool) -> Value {
    let mut shown = json!({
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
        shown["MessageAttributes"] = attributes;
    }
    shown
}

fn delete_message_batch(queues: &Queues, request: Batch<BatchReceipt>) -> Result<Value, Fault> {
    queue(queues, &request.queue_url)?;
    ten_at_most(&request.entries)?;
    let (ids, receipts): (Vec<Value>, Vec<String>) =
        request.entries.into_iter().map(|entry| (json!({ "Id": entry.id }), entry.receipt_handle)).unzip();
    queues.delete(&receipts)?;
    Ok(json!({ "Successful": ids, "Failed": [] }))
}

fn change_visibility(queues: &Queues, request: ChangeVisibility) -> Result<Value, Fault> {
    queue(queues, &request.queue_url)?;
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
