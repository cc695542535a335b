//! Batches: create, then stream the items, either as often as it takes; and look at what became of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use oncekey_core::batch::{Batch, BatchItem, Created, Item, NewBatch, add_items, create, find};
use oncekey_core::key::Scope;
use oncekey_core::request::{BatchLine, parse_json};
use oncekey_core::{App, BatchId, Error, IdempotencyKey, KeyHash};
use oncekey_http::{ApiError, Body, Caller, Segment, request_id};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody {
    run_count: u32,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    idempotency_key_options: Option<KeyOptions>,
    #[serde(default)]
    resume_parent_on_completion: Option<bool>,
}

#[derive(Deserialize)]
struct KeyOptions {
    key: String,
    scope: Scope,
}

impl CreateBody {
    fn key(&self) -> Result<Option<IdempotencyKey>, Error> {
        let Some(text) = self.idempotency_key.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let hash = KeyHash::from_wire("idempotencyKey", text)?;
        let told = self.idempotency_key_options.as_ref();
        let text = told.map(|told| told.key.clone()).or_else(|| (hash.as_str() != text).then(|| text.clone()));
        Ok(Some(IdempotencyKey { text, scope: told.map(|told| told.scope), ..IdempotencyKey::of_hash(hash) }))
    }
}

pub(crate) async fn create_batch(
    State(app): State<App>,
    Caller(environment): Caller,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body: CreateBody = parse_json(&body)?;
    if body.resume_parent_on_completion == Some(true) {
        let text = "resumeParentOnCompletion is not supported: leave it out".to_owned();
        return Err(Error::Unprocessable(text).into());
    }
    let new = NewBatch { environment, request_id: request_id(&headers)?, run_count: body.run_count, key: body.key()? };
    let Created { batch, is_cached } = create(&app, new).await?;
    let mut answer = json!({ "id": batch.id, "runCount": batch.run_count, "isCached": is_cached });
    if let Some(key) = &batch.key {
        answer["idempotencyKey"] = json!(key.shown());
    }
    let status = if is_cached { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(answer)))
}

pub(crate) async fn add_batch_items(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(id): Segment,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let id = batch_id(&id)?;
    let (batch, accepted) = add_items(&app, &environment, &id, items(&body)?).await?;
    let mut answer = json!({
        "id": batch.id,
        "itemsAccepted": accepted.accepted,
        "itemsDeduplicated": accepted.deduplicated,
        "sealed": batch.is_sealed(),
    });
    if !batch.is_sealed() {
        answer["enqueuedCount"] = json!(batch.items.len());
        answer["expectedCount"] = json!(batch.run_count);
    }
    Ok(Json(answer))
}

/// The items of an NDJSON body. Blank lines, `\r\n` and a missing last newline are fine.
fn items(body: &[u8]) -> Result<Vec<Item<'_>>, Error> {
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let item = |(number, line)| {
        let line: BatchLine<'_> = parse_json(line).map_err(|error| match error {
            Error::Invalid { field, message } => {
                Error::Invalid { field: format!("line {}: {field}", number + 1), message }
            }
            other => other,
        })?;
        let body = line.body();
        Ok(Item { index: line.index, task: line.task, body })
    };
    lines.map(item).collect()
}

pub(crate) async fn retrieve_batch(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(id): Segment,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&find(&app, &environment, &batch_id(&id)?).await?)))
}

fn shown(batch: &Batch) -> Value {
    let status = match (batch.is_sealed(), batch.has_errors()) {
        (false, _) if batch.items.is_empty() => "PENDING",
        (false, _) => "PROCESSING",
        (true, false) => "COMPLETED",
        (true, true) => "PARTIAL_FAILED",
    };
    let (mut runs, mut errors) = (Vec::new(), Vec::new());
    for (index, item) in &batch.items {
        match item {
            // Items that share a key are one run, named once for each.
            BatchItem::Run { id } => runs.push(json!(id)),
            BatchItem::Error { task, error } => errors.push(json!({
                "index": index,
                "taskIdentifier": task,
                "error": error,
                "errorCode": "BATCH_ITEM_COULD_NOT_TRIGGER",
            })),
        }
    }
    let mut processing = json!({ "errors": errors });
    if batch.is_sealed() {
        processing["completedAt"] = json!(batch.updated_at.to_string());
    }
    let mut shown = json!({
        "id": batch.id,
        "status": status,
        "createdAt": batch.created_at.to_string(),
        "updatedAt": batch.updated_at.to_string(),
        "runCount": batch.run_count,
        "runs": runs,
        "processing": processing,
    });
    if !batch.is_sealed() {
        let missing = (0..batch.run_count).filter(|index| !batch.items.contains_key(index));
        shown["missingIndexes"] = json!(missing.collect::<Vec<_>>());
    }
    if let Some(key) = &batch.key {
        shown["idempotencyKey"] = json!(key.shown());
    }
    shown
}

/// What cannot be a batch's id names no batch.
fn batch_id(text: &str) -> Result<BatchId, Error> {
    BatchId::parse(text)
        .map_err(|_| Error::NotFound(format!("there is no batch {text:?}: a batch id is batch_ and 32 characters")))
}
