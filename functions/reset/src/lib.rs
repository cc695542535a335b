//! Resets an idempotency key: `POST /api/v1/idempotencyKeys/{key}/reset`.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use oncekey_core::key::{KeyGroup, KeyPlace};
use oncekey_core::request::parse_json;
use oncekey_core::reset::reset;
use oncekey_core::store::KeyAddress;
use oncekey_core::{App, KeyHash, TaskId};
use oncekey_http::{ApiError, Body, Caller, Segment};
use serde::{Deserialize, Serialize};

/// The routes of this function.
pub fn router(app: App) -> Router {
    Router::new().route("/api/v1/idempotencyKeys/{key}/reset", post(reset_key)).with_state(app)
}

/// Where the key holds: one of the two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResetBody {
    task_identifier: Option<TaskId>,
    idempotency_key_group: Option<KeyGroup>,
}

#[derive(Serialize)]
struct ResetAnswer {
    /// The key as it was given: the client knows it by that.
    id: String,
}

async fn reset_key(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(key): Segment,
    Body(body): Body,
) -> Result<Json<ResetAnswer>, ApiError> {
    let body: ResetBody = parse_json(&body)?;
    let place = KeyPlace::of(body.task_identifier.as_ref(), body.idempotency_key_group.as_ref())?;
    let hash = KeyHash::from_wire("idempotency key", &key)?;
    reset(&app, KeyAddress { environment: &environment, place, hash: &hash }).await?;
    Ok(Json(ResetAnswer { id: key }))
}
