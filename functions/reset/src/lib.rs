//! Resets an idempotency key: `POST /api/v1/idempotencyKeys/{key}/reset`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Json, Router};
use oncekey_core::key::{KeyGroup, KeyPlace};
use oncekey_core::protocol::reset::{reset, reset_once};
use oncekey_core::request::parse_json;
use oncekey_core::store::KeyAddress;
use oncekey_core::{App, KeyHash, RequestId, TaskId};
use oncekey_http::{ApiError, Body, Caller, Refusal, Segment, header_text, routes};
use oncekey_wire::ResetAnswer;
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

/// The routes of this function.
pub fn router(app: App) -> Router {
    Router::new().route(routes::RESET_KEY.path, routes::RESET_KEY.to(reset_key)).with_state(app)
}

/// What this function answers to.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(reset_key))]
    struct Described;
    Described::openapi()
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ResetBody {
    /// The task in which it holds: this or the next.
    task_identifier: Option<TaskId>,
    /// The group of tasks in which it holds.
    idempotency_key_group: Option<KeyGroup>,
}

/// Frees an idempotency key
///
/// The run that held it goes on. 404 when nobody holds it.
#[utoipa::path(
    post,
    path = routes::RESET_KEY.path,
    tag = "keys",
    params(
        ("key" = String, Path, description = "The key's hash or text"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header, description = "The same on every try of one request"),
    ),
    request_body = ResetBody,
    responses((status = 200, description = "It is free", body = ResetAnswer), Refusal),
    security(("api_key" = []))
)]
async fn reset_key(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(key): Segment,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<ResetAnswer>, ApiError> {
    let body: ResetBody = parse_json(&body)?;
    let place = KeyPlace::of(body.task_identifier.as_ref(), body.idempotency_key_group.as_ref())?;
    let hash = KeyHash::from_wire("idempotency key", &key)?;
    let address = KeyAddress { environment: &environment, place, hash: &hash };
    match header_text(&headers, "x-trigger-request-idempotency-key")? {
        Some(id) => reset_once(&app, address, &key, &RequestId::from_caller(id)?).await?,
        None => reset(&app, address, &key).await?,
    }
    Ok(Json(ResetAnswer::new(key)))
}
