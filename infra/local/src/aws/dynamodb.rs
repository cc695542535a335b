//! The embedded DynamoDB's endpoint: its HTTP protocol over the database, so that the official SDKs and command line use it.
//!
//! The database brings a server of its own, which lets any web page in (`access-control-allow-origin: *`) and takes no layer.

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use dynoxide::auth_material::{AuthMaterial, validate};
use dynoxide::{Database, DynoxideError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest request that DynamoDB reads: 16 MB.
pub(crate) const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

const JSON: &str = "application/x-amz-json-1.0";
/// What names an operation in `x-amz-target`.
const TARGETS: [&str; 2] = ["DynamoDB_20120810.", "DynamoDBStreams_20120810."];

/// The endpoint's routes.
pub(crate) fn router(database: Database) -> Router {
    let limit = DefaultBodyLimit::max(MAX_REQUEST_BYTES);
    Router::new().route("/", any(act)).fallback(|| async { nothing_there() }).layer(limit).with_state(database)
}

fn nothing_there() -> Response {
    (StatusCode::NOT_FOUND, "<UnknownOperationException/>\n").into_response()
}

async fn act(method: Method, uri: Uri, State(database): State<Database>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = [JSON, "application/json"].iter().any(|json| kind.eq_ignore_ascii_case(json));
    match method {
        Method::GET => return "healthy: dynamodb.us-east-1.amazonaws.com ".into_response(),
        Method::POST if is_json || body.is_empty() => {}
        _ => return nothing_there(),
    }
    let target = text("x-amz-target").unwrap_or_default();
    let operation = TARGETS.iter().find_map(|before| target.strip_prefix(before)).unwrap_or_default();
    let authorization = AuthMaterial {
        authorization: text("authorization"),
        query: uri.query().unwrap_or_default(),
        has_date_header: headers.contains_key("x-amz-date") || headers.contains_key("date"),
    };
    let (status, answer) = match validate(authorization) {
        Some(refusal) if OPERATIONS.contains(&operation) => (400, refusal),
        _ => execute(&database, operation, &body),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let id = uuid::Uuid::new_v4().simple().to_string();
    (status, [(header::CONTENT_TYPE.as_str(), JSON), ("x-amzn-requestid", &id)], answer).into_response()
}

macro_rules! operations {
    ($($name:literal => $method:ident),+ $(,)?) => {
        const OPERATIONS: &[&str] = &[$($name),+];

        /// Nothing, for an operation that there is not.
        fn carry_out(database: &Database, operation: &str, body: &[u8]) -> Option<Result<String, DynoxideError>> {
            match operation {
                $($name => Some(
                    serde_json::from_slice(body)
                        .map_err(|error| unreadable(&error))
                        .and_then(|request| database.$method(request))
                        .and_then(|answer| written(&answer)),
                ),)+
                _ => None,
            }
        }
    };
}

operations!(
    "PutItem" => put_item,
    "GetItem" => get_item,
    "UpdateItem" => update_item,
    "DeleteItem" => delete_item,
    "BatchGetItem" => batch_get_item,
    "BatchWriteItem" => batch_write_item,
    "TransactGetItems" => transact_get_items,
    "TransactWriteItems" => transact_write_items,
    "Query" => query,
    "Scan" => scan,
    "ExecuteStatement" => execute_statement,
    "BatchExecuteStatement" => batch_execute_statement,
    "ExecuteTransaction" => execute_transaction,
    "CreateTable" => create_table,
    "DeleteTable" => delete_table,
    "DescribeTable" => describe_table,
    "ListTables" => list_tables,
    "UpdateTable" => update_table,
    "UpdateTimeToLive" => update_time_to_live,
    "DescribeTimeToLive" => describe_time_to_live,
    "ListTagsOfResource" => list_tags_of_resource,
    "TagResource" => tag_resource,
    "UntagResource" => untag_resource,
    "ListStreams" => list_streams,
    "DescribeStream" => describe_stream,
    "GetShardIterator" => get_shard_iterator,
    "GetRecords" => get_records,
);

/// Has the embedded DynamoDB carry out an operation: the status and the JSON that its endpoint answers.
#[must_use]
pub fn execute(database: &Database, operation: &str, body: &[u8]) -> (u16, String) {
    if operation == "Query" && asks_for_an_empty_key(body) {
        const WHY: &str = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
                           empty string value.";
        let refused = DynoxideError::ValidationException(WHY.to_owned());
        return (refused.status_code(), refused.to_json());
    }
    match carry_out(database, operation, body) {
        Some(Ok(answer)) => (200, answer),
        Some(Err(error)) => (error.status_code(), error.to_json()),
        None => (400, r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#.to_owned()),
    }
}

/// Whether a query names an empty text as a key or a bound of keys: the database takes that, and DynamoDB does not.
fn asks_for_an_empty_key(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Asked {
        #[serde(default)]
        key_condition_expression: String,
        #[serde(default)]
        expression_attribute_values: HashMap<String, Value>,
    }
    let Ok(Asked { key_condition_expression, expression_attribute_values }) = serde_json::from_slice(body) else {
        return false;
    };
    let is_of_a_name = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    key_condition_expression.split(|character| !is_of_a_name(character)).any(|name| {
        let value = expression_attribute_values.get(name);
        value.is_some_and(|value| value["S"] == "" || value["B"] == "")
    })
}

fn written(answer: &impl Serialize) -> Result<String, DynoxideError> {
    serde_json::to_string(answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// How DynamoDB calls a request that cannot be read. The database's readers mark what is a refusal of a value.
fn unreadable(error: &serde_json::Error) -> DynoxideError {
    const OF_A_VALUE: [&str; 5] =
        ["missing field", "unknown variant", "invalid type: null", "empty AttributeValue", "Supplied AttributeValue"];
    let text = error.to_string();
    // serde_json adds where it stood.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let marked = |marks: &[&str]| marks.iter().find_map(|mark| text.strip_prefix(mark)).map(ToOwned::to_owned);
    if let Some(text) = marked(&["VALIDATION:", "VALIDATION_REQUEST:", "VALIDATION_AS_READ:"]) {
        return DynoxideError::ValidationException(text);
    }
    if let Some(text) = marked(&["SERIALIZATION:", "SERIALIZATION_AS_READ:"]) {
        return DynoxideError::SerializationException(text);
    }
    if OF_A_VALUE.iter().any(|part| text.contains(part)) {
        return DynoxideError::ValidationException(text.to_owned());
    }
    DynoxideError::SerializationException(text.to_owned())
}
