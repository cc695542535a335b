//! Resets an idempotency key: `POST /api/v1/idempotencyKeys/{key}/reset`.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use oncekey_core::request::parse_json;
use oncekey_core::reset::reset;
use oncekey_core::{App, KeyHash, TaskId};
use oncekey_http::{ApiError, Body, Caller, Segment};
use serde::Deserialize;
use serde_json::{Value, json};

/// The routes of this function.
pub fn router(app: App) -> Router {
    Router::new().route("/api/v1/idempotencyKeys/{key}/reset", post(reset_key)).with_state(app)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResetBody {
    task_identifier: TaskId,
}

/// Answers with the key as it was given: the client knows it by that.
async fn reset_key(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(key): Segment,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let body: ResetBody = parse_json(&body)?;
    let hash = KeyHash::from_wire("idempotency key", &key)?;
    reset(&app, &environment, &body.task_identifier, &hash).await?;
    Ok(Json(json!({ "id": key })))
}
