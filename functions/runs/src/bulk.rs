//! Bulk actions: create, retrieve, list and stop.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use oncekey_core::bulk::StoredBulkAction;
use oncekey_core::protocol::bulk::list::{BulkCursor, BulkFrom};
use oncekey_core::protocol::bulk::{self, list as listed};
use oncekey_core::request::bulk::BulkActionBody;
use oncekey_core::{App, Error};
use oncekey_http::{ApiError, Body, BulkActionPath, Caller, Refusal, request_id, routes};
use oncekey_wire::{BulkAction, BulkActionHandle, BulkActionId, BulkActionsPage, Pagination};

use crate::query::{DEFAULT_SIZE, form_pairs, size};

/// Cancels or replays many runs
///
/// Those of `runIds`, or those that `filter` finds. It is done page by page after this answer: `GET` tells how far it is. The same
/// request sent again makes no second one.
#[utoipa::path(
    post,
    path = routes::CREATE_BULK_ACTION.path,
    tag = "bulk actions",
    params(
        ("x-trigger-request-idempotency-key" = Option<String>, Header, description = "The same on every try of one request"),
    ),
    request_body = BulkActionBody,
    responses((status = 202, description = "It goes on", body = BulkActionHandle), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Caller(environment): Caller,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<(StatusCode, Json<BulkActionHandle>), ApiError> {
    let request = BulkActionBody::parse(&body, app.clock.now())?;
    let action = bulk::create(&app, &environment, &request_id(&headers)?, request).await?;
    Ok((StatusCode::ACCEPTED, Json(BulkActionHandle { id: action.id })))
}

/// Lists bulk actions, newest first
#[utoipa::path(
    get,
    path = routes::LIST_BULK_ACTIONS.path,
    tag = "bulk actions",
    params(
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Actions a page; 25 by default"),
        ("page[after]" = Option<String>, Query, description = "The cursor `next` of another page"),
        ("page[before]" = Option<String>, Query, description = "The cursor `previous` of another page"),
    ),
    responses((status = 200, description = "A page", body = BulkActionsPage), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(environment): Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<BulkActionsPage>, ApiError> {
    let (from, size) = asked(query.as_deref().unwrap_or_default())?;
    let page = listed::list(&app, &environment, &from, size).await?;
    let mut pagination = Pagination::default();
    pagination.next = page.next.map(|cursor| cursor.to_string());
    pagination.previous = page.previous.map(|cursor| cursor.to_string());
    Ok(Json(BulkActionsPage { data: page.actions.into_iter().map(shown).collect(), pagination }))
}

fn asked(query: &str) -> Result<(BulkFrom, usize), Error> {
    let (mut from, mut wanted) = (BulkFrom::default(), DEFAULT_SIZE);
    for (name, value) in form_pairs(query) {
        match name.as_str() {
            "page[size]" => wanted = size(&value)?,
            "page[after]" => from = BulkFrom::After(BulkCursor::parse(&name, &value)?),
            "page[before]" => from = BulkFrom::Before(BulkCursor::parse(&name, &value)?),
            _ if name.starts_with("filter[") => {
                return Err(Error::invalid(name, "there is no such filter: leave it out"));
            }
            _ => {}
        }
    }
    Ok((from, wanted))
}

/// Shows a bulk action
#[utoipa::path(
    get,
    path = routes::RETRIEVE_BULK_ACTION.path,
    tag = "bulk actions",
    params(("id" = BulkActionId, Path, description = "The action's id")),
    responses((status = 200, description = "The action", body = BulkAction), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn retrieve(
    State(app): State<App>,
    Caller(environment): Caller,
    BulkActionPath(id): BulkActionPath,
) -> Result<Json<BulkAction>, ApiError> {
    Ok(Json(shown(bulk::find(&app, &environment, &id).await?)))
}

/// Stops a bulk action
///
/// What was done stays. One that has ended stays as it is, and that is not an error.
#[utoipa::path(
    post,
    path = routes::ABORT_BULK_ACTION.path,
    tag = "bulk actions",
    params(("id" = BulkActionId, Path, description = "The action's id")),
    responses((status = 200, description = "It begins no page any more", body = BulkActionHandle), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn abort(
    State(app): State<App>,
    Caller(environment): Caller,
    BulkActionPath(id): BulkActionPath,
) -> Result<Json<BulkActionHandle>, ApiError> {
    bulk::abort(&app, &environment, &id).await?;
    Ok(Json(BulkActionHandle { id }))
}

fn shown(action: StoredBulkAction) -> BulkAction {
    let StoredBulkAction { id, name, kind, status, counts, created_at, completed_at, .. } = action;
    BulkAction { id, name, kind: kind.into(), status: status.into(), counts, created_at, completed_at }
}
