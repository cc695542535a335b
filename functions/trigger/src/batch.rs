//! Batches: create, then stream the items, either as often as it takes; and look at what became of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use oncekey_core::key::{KeyOptions, KeyRelease};
use oncekey_core::request::held::OnKeyHeld;
use oncekey_core::request::ignored::Ignored;
use oncekey_core::request::object::Object;
use oncekey_core::request::options::{Options, text_of_window};
use oncekey_core::request::{BatchLine, KeyHeaders, not_by_token};
use oncekey_core::runs::batch::{Batch, BatchItem, BatchKey, NewBatch, NewItem, add_items, create, find};
use oncekey_core::{App, BatchId, Error, TaskId};
use oncekey_http::{
    ApiError, BatchPath, Body, Permit, Refusal, is_by_hand, key_headers, request_id, routes, told_unless_by_hand,
};
use oncekey_wire::{BatchHandle, BatchItemError, BatchReport, BatchStatus, ItemsAnswer};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateBody {
    /// How many items it will have.
    #[schema(minimum = 0, maximum = 1000)]
    run_count: u32,
    /// What the keys of items without one are made of: `{key}-{index}`.
    #[schema(max_length = 2048)]
    #[serde(default)]
    idempotency_key: Option<String>,
    /// How long the keys of items hold that do not say it themselves: a whole number and `s`, `m`, `h` or `d`, 1 second to
    /// 365 days. 30 days by default.
    #[serde(rename = "idempotencyKeyTTL", default, deserialize_with = "text_of_window")]
    #[schema(pattern = "^[0-9]{1,8}[smhd]$")]
    idempotency_key_ttl: Option<String>,
    /// What to show of the key.
    #[schema(value_type = Option<KeyOptions>)]
    #[serde(default)]
    idempotency_key_options: Option<Object<KeyOptions>>,
    /// The run that triggers the items which name none. One of another service is recorded, and not acted on.
    #[schema(max_length = 128)]
    #[serde(default)]
    parent_run_id: Option<String>,
    /// The tasks of its items, for a caller with a public token, which must cover each.
    #[serde(default)]
    task_identifiers: Option<Vec<String>>,
    /// Not supported: leave it out, or false.
    #[serde(default)]
    resume_parent_on_completion: Option<bool>,
}

impl CreateBody {
    fn key(&self, headers: &KeyHeaders) -> Result<Option<BatchKey>, Error> {
        headers.window_over("idempotencyKeyTTL", self.idempotency_key_ttl.as_deref())?;
        let ttl = headers.ttl.as_ref().or(self.idempotency_key_ttl.as_ref()).cloned();
        let options = self.idempotency_key_options.as_ref().map(|Object(options)| options);
        let key = headers.key_over("idempotencyKey", self.idempotency_key.as_deref(), options)?;
        let sent = headers.key.as_ref().or(self.idempotency_key.as_ref()).cloned();
        Ok(key.zip(sent).map(|(key, sent)| BatchKey { sent, shown: key.display_text().to_owned(), ttl }))
    }
}

/// Creates a batch
///
/// Its items are sent in a second call. An idempotency key stands for those of its items: one without a key of
/// its own has `{key}-{index}`. The batch itself is always a new one, unless the same request is sent again.
#[utoipa::path(
    post,
    path = routes::CREATE_BATCH.path,
    tag = "batches",
    params(
        ("idempotency-key" = Option<String>, Header, description = "As in the body, bare or as a quoted string; wins over it"),
        ("idempotency-key-ttl" = Option<String>, Header, description = "As in the body; wins over it"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header, description = "The same on every try of one request"),
    ),
    request_body = CreateBody,
    responses(
        (status = 202, description = "A batch to be filled", body = BatchHandle),
        Refusal,
    ),
    security(("api_key" = []), ("public_token" = []))
)]
pub(crate) async fn create_batch(
    State(app): State<App>,
    permit: Permit,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<(StatusCode, HeaderMap, Json<BatchHandle>), ApiError> {
    let (body, ignored): (CreateBody, _) = Ignored::parse_options(&body)?;
    permit.may_batch(body.task_identifiers.iter().flatten().map(String::as_str))?;
    let ignored = told_unless_by_hand(&headers, ignored)?;
    if body.resume_parent_on_completion == Some(true) {
        let text = "resumeParentOnCompletion is not supported: leave it out".to_owned();
        return Err(Error::Unprocessable(text).into());
    }
    if permit.token_use().is_some() && body.parent_run_id.is_some() {
        return Err(not_by_token("parentRunId").into());
    }
    let new = NewBatch {
        environment: permit.environment().clone(),
        request_id: request_id(&headers)?,
        run_count: body.run_count,
        key: body.key(&key_headers(&headers)?)?,
        parent: body.parent_run_id,
        token: permit.token_use().cloned(),
    };
    let batch = create(&app, new).await?;
    let mut handle = BatchHandle::new(batch.id, batch.run_count as usize);
    handle.idempotency_key = batch.key.map(|key| key.shown);
    handle.ignored = ignored;
    let token = permit.handle_headers(Some(format!("read:batch:{}", handle.id)), app.clock.now());
    Ok((StatusCode::ACCEPTED, token, Json(handle)))
}

/// An item of a batch: a line of JSON.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described; `BatchLine` is what parses it")]
struct BatchLineBody {
    /// Its place in the batch, from 0.
    index: u32,
    /// What to run.
    task: TaskId,
    /// What the task is given.
    payload: Option<serde_json::Value>,
    options: Option<Options>,
}

/// Sends items of a batch
///
/// A line of JSON each: `{"index", "task", "payload"?, "options"?}`. An item that is sent again is not triggered again.
#[utoipa::path(
    post,
    path = routes::ADD_BATCH_ITEMS.path,
    tag = "batches",
    params(
        ("id" = BatchId, Path, description = "The batch's id"),
        ("idempotency-key-release" = Option<KeyRelease>, Header, description = "Which ends of their runs free the items' keys; wins over the items"),
        ("idempotency-key-held" = Option<OnKeyHeld>, Header, description = "What to do with an item whose key another run holds; wins over the items"),
    ),
    request_body(content = Vec<BatchLineBody>, content_type = "application/x-ndjson", description = "A line of JSON for each item"),
    responses((status = 200, description = "What became of them", body = ItemsAnswer), Refusal),
    security(("api_key" = []), ("public_token" = []))
)]
pub(crate) async fn add_batch_items(
    State(app): State<App>,
    permit: Permit,
    BatchPath(id): BatchPath,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<ItemsAnswer>, ApiError> {
    let environment = permit.environment();
    let (mut items, ignored) = items(&body, is_by_hand(&headers))?;
    permit.may_batch(items.iter().map(|item| item.task.as_str()))?;
    let headers = key_headers(&headers)?;
    for item in &mut items {
        item.headers.clone_from(&headers);
    }
    if items.is_empty() && find(&app, environment, &id).await?.run_count > 0 {
        return Err(Error::invalid("body", "there is no item: send a line of JSON for each").into());
    }
    let (batch, accepted) = add_items(&app, environment, &id, items, permit.token_use()).await?;
    let sealed = batch.is_sealed();
    let mut answer = ItemsAnswer::new(batch.id, accepted.accepted, accepted.deduplicated);
    answer.sealed = sealed;
    answer.enqueued_count = (!sealed).then_some(batch.items.len());
    answer.expected_count = (!sealed).then_some(batch.run_count as usize);
    answer.ignored = ignored.into_told();
    Ok(Json(answer))
}

/// The items of an NDJSON body, and what of them nobody reads, which is an error of its item where lines are written by hand.
/// Blank lines, `\r\n` and a missing last newline are fine.
fn items(body: &[u8], by_hand: bool) -> Result<(Vec<NewItem<'_>>, Ignored), Error> {
    let mut all = Ignored::default();
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let item = |(number, line)| {
        let (line, mut ignored): (BatchLine<'_>, _) = Ignored::parse(line).map_err(|error| match error {
            Error::Invalid { field, message } => Error::invalid(format!("line {}: {field}", number + 1), message),
            other => other,
        })?;
        let mut body = line.body_and_ignored().map(|(body, of_options)| {
            ignored.extend(of_options);
            body
        });
        if by_hand {
            body = ignored.refused().and(body);
        } else {
            all.extend(ignored.of_line(number + 1));
        }
        Ok(NewItem { index: line.index, task: line.task, body, headers: KeyHeaders::default() })
    };
    let items = lines.map(item).collect::<Result<_, Error>>()?;
    Ok((items, all))
}

/// Shows a batch
#[utoipa::path(
    get,
    path = routes::RETRIEVE_BATCH.path,
    tag = "batches",
    params(("id" = BatchId, Path, description = "The batch's id")),
    responses((status = 200, description = "The batch", body = BatchReport), Refusal),
    security(("api_key" = []), ("public_token" = []))
)]
pub(crate) async fn retrieve_batch(
    State(app): State<App>,
    permit: Permit,
    BatchPath(id): BatchPath,
) -> Result<Json<BatchReport>, ApiError> {
    permit.may_see_batch(&id)?;
    Ok(Json(report(find(&app, permit.environment(), &id).await?)))
}

fn report(batch: Batch) -> BatchReport {
    let sealed = batch.is_sealed();
    let status = match (sealed, batch.has_errors()) {
        (false, _) if batch.items.is_empty() => BatchStatus::Pending,
        (false, _) => BatchStatus::Processing,
        (true, false) => BatchStatus::Completed,
        (true, true) => BatchStatus::PartialFailed,
    };
    let mut report = BatchReport::new(batch.id, batch.run_count as usize, batch.created_at, batch.updated_at);
    report.status = status.into();
    report.idempotency_key = batch.key.map(|key| key.shown);
    report.processing.completed_at = sealed.then_some(batch.updated_at);
    for (index, item) in batch.items {
        let index = index as usize;
        report.missing_indexes.remove(&index);
        match item {
            BatchItem::Run { id } => report.runs.push(id),
            BatchItem::Error { task, error } => report.processing.errors.push(BatchItemError::new(index, task, error)),
        }
    }
    report
}
