//! Triggers over HTTP: one task (`POST /api/v1/tasks/{task}/trigger`) or a batch (`POST /api/v3/batches`, then its items).
//! Who triggers with a large payload asks for a place to put it first (`PUT /api/v2/packets/{path}`).

mod answer;
mod batch;
mod packet;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Json, Router};
use oncekey_core::protocol::trigger::trigger;
use oncekey_core::request::held::OnKeyHeld;
use oncekey_core::request::ignored::Ignored;
use oncekey_core::request::options::Options;
use oncekey_core::request::{Envelope, TriggerBody};
use oncekey_core::{App, TaskId};
use oncekey_http::{
    ApiError, Body, Permit, Refusal, Segment, header_text, key_headers, request_id, routes, told_unless_by_hand,
};
use oncekey_wire::{Handle, KeyRelease};
use utoipa::{OpenApi, ToSchema};

use crate::answer::answer;

/// The routes of this function.
pub fn router(app: App) -> Router {
    Router::new()
        .route(routes::TRIGGER.path, routes::TRIGGER.to(trigger_task))
        .route(routes::CREATE_BATCH.path, routes::CREATE_BATCH.to(batch::create_batch))
        .route(routes::ADD_BATCH_ITEMS.path, routes::ADD_BATCH_ITEMS.to(batch::add_batch_items))
        .route(routes::RETRIEVE_BATCH.path, routes::RETRIEVE_BATCH.to(batch::retrieve_batch))
        .route(routes::PLACE_PACKET.path, routes::PLACE_PACKET.to(packet::place_packet))
        .with_state(app)
}

/// What this function answers to.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        trigger_task,
        batch::create_batch,
        batch::add_batch_items,
        batch::retrieve_batch,
        packet::place_packet
    ))]
    struct Described;
    Described::openapi()
}

/// A trigger's payload and options.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described; `TriggerBody` is what parses it")]
struct TriggerRequestBody {
    /// What the task is given: any JSON, or a text that `payloadType` says how to read.
    payload: Option<serde_json::Value>,
    options: Option<Options>,
}

/// Triggers a task
///
/// With an idempotency key, the first trigger makes a run; every later one within the key's window gets that run's id.
#[utoipa::path(
    post,
    path = routes::TRIGGER.path,
    tag = "triggers",
    params(
        ("task" = TaskId, Path, description = "The task's id"),
        ("idempotency-key" = Option<String>, Header, description = "The key, bare or as a quoted string; wins over the body"),
        ("idempotency-key-ttl" = Option<String>, Header, description = "How long it holds; wins over the body"),
        ("idempotency-key-release" = Option<KeyRelease>, Header, description = "Which ends of its run free it; wins over the body"),
        ("idempotency-key-held" = Option<OnKeyHeld>, Header, description = "What to do if another run holds it; wins over the body"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header, description = "The same on every try of one request"),
    ),
    request_body = TriggerRequestBody,
    responses((status = 200, description = "The run's handle", body = Handle), Refusal),
    security(("api_key" = []), ("public_token" = []))
)]
async fn trigger_task(
    State(app): State<App>,
    permit: Permit,
    Segment(task): Segment,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<(HeaderMap, Json<Handle>), ApiError> {
    let task = TaskId::parse(&task)?;
    permit.may_trigger(&task)?;
    let envelope = Envelope {
        key: key_headers(&headers)?,
        traceparent: header_text(&headers, "traceparent")?.map(str::to_owned),
        ..Envelope::new(permit.environment().clone(), task.clone(), request_id(&headers)?, app.clock.now())
    };
    let (body, ignored) = Ignored::parse::<TriggerBody<'_>>(&body)?;
    let ignored = told_unless_by_hand(&headers, ignored)?;
    let request = permit.admit(body.check(envelope)?)?;
    let warning = app.tasks.warning(permit.environment(), &task);
    let (triggered, warning) = tokio::join!(trigger(&app, request), warning);
    let triggered = triggered?;
    // Who has a public token knows a key, perhaps, and not therefore the run that another has made under it.
    let reads = permit.has_made(&triggered).then(|| format!("read:runs:{}", triggered.handle.id));
    let mut answer = answer(triggered);
    answer.ignored = ignored;
    answer.warnings.extend(warning);
    Ok((permit.handle_headers(reads, app.clock.now()), Json(answer)))
}
