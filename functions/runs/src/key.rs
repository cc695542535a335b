//! Which run holds a key: `GET /api/v1/idempotencyKeys/{key}?taskIdentifier=…`.

use axum::Json;
use axum::extract::{RawQuery, State};
use oncekey_core::key::{KeyGroup, KeyPlace};
use oncekey_core::runs::holder::look_up;
use oncekey_core::store::KeyAddress;
use oncekey_core::{App, Error, KeyHash, TaskId};
use oncekey_http::{ApiError, Caller, Refusal, Segment, routes};
use oncekey_wire::HeldKey;

use crate::query::form_pairs;

/// Shows which run holds an idempotency key
///
/// 404 when nobody does.
#[utoipa::path(
    get,
    path = routes::LOOK_UP_KEY.path,
    tag = "keys",
    params(
        ("key" = String, Path, description = "The key's hash or text"),
        ("taskIdentifier" = Option<TaskId>, Query, description = "The task in which it holds: this or the next"),
        ("idempotencyKeyGroup" = Option<KeyGroup>, Query, description = "The group of tasks in which it holds"),
    ),
    responses((status = 200, description = "Who holds it", body = HeldKey), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn look_up_key(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(key): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<HeldKey>, ApiError> {
    let (task, group) = place(query.as_deref().unwrap_or_default())?;
    let place = KeyPlace::of(task.as_ref(), group.as_ref())?;
    let hash = KeyHash::from_wire("idempotency key", &key)?;
    let record = look_up(&app, KeyAddress { environment: &environment, place, hash: &hash }, &key).await?;
    let shown = record.key.unwrap_or_else(|| hash.to_string());
    let mut held = HeldKey::new(shown, hash, record.run_id, record.created_at, record.window_ends_at);
    held.scope = record.scope.map(Into::into);
    Ok(Json(held))
}

fn place(query: &str) -> Result<(Option<TaskId>, Option<KeyGroup>), Error> {
    let (mut task, mut group) = (None, None);
    for (name, value) in form_pairs(query) {
        match name.as_str() {
            "taskIdentifier" => task = Some(TaskId::parse(&value)?),
            "idempotencyKeyGroup" => group = Some(KeyGroup::parse(&value)?),
            _ => {}
        }
    }
    Ok((task, group))
}
