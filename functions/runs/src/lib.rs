//! Everything about runs that are there: retrieve, list, cancel, replay, reschedule; and which run holds a key.

mod key;
mod query;
mod view;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use oncekey_core::cancel::{cancel, find};
use oncekey_core::list::list;
use oncekey_core::replay::{Asked, replay};
use oncekey_core::request::parse_json;
use oncekey_core::reschedule::reschedule;
use oncekey_core::{App, Error, Run, RunId};
use oncekey_http::{ApiError, Body, Caller, Segment, header_text, request_id};
use serde::Deserialize;
use serde_json::{Value, json};

/// The routes of this function.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/api/v3/runs/{id}", get(retrieve))
        .route("/api/v1/runs", get(list_runs))
        .route("/api/v2/runs/{id}/cancel", post(cancel_run))
        .route("/api/v1/runs/{id}/replay", post(replay_run))
        .route("/api/v1/runs/{id}/reschedule", post(reschedule_run))
        .route("/api/v1/idempotencyKeys/{key}", get(key::look_up_key))
        .with_state(app)
}

async fn retrieve(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(id): Segment,
) -> Result<Json<Value>, ApiError> {
    let run = find(&app, &environment, &run_id(&id)?).await?;
    Ok(Json(retrieved(&app, &run).await?))
}

/// A run with its relatives, and its key if it holds that.
async fn retrieved(app: &App, run: &Run) -> Result<Value, Error> {
    let relatives: Vec<&RunId> = run.spec.lineage.iter().flat_map(|line| [&line.parent, &line.root]).collect();
    let relatives = if relatives.is_empty() { Vec::new() } else { app.store.runs(&unique(relatives)).await? };
    let now = app.clock.now();
    let holds = app.store.holds_key(std::slice::from_ref(run), now).await?;
    Ok(view::retrieved(run, holds == [true], &relatives, now))
}

fn unique(mut ids: Vec<&RunId>) -> Vec<&RunId> {
    ids.sort();
    ids.dedup();
    ids
}

async fn list_runs(
    State(app): State<App>,
    Caller(environment): Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let now = app.clock.now();
    let asked = query::Asked::parse(query.as_deref().unwrap_or_default(), now)?;
    let page = list(&app, &environment, &asked.filter, &asked.from, asked.size).await?;
    let holds = app.store.holds_key(&page.runs, now).await?;
    let item = |(run, holds): (&Run, bool)| view::list_item(run, holds, now);
    let data: Vec<Value> = page.runs.iter().zip(holds).map(item).collect();
    // An absent cursor is left out: the client refuses null.
    let cursors = [("next", page.next), ("previous", page.previous)];
    let pagination: serde_json::Map<_, _> =
        cursors.into_iter().filter_map(|(name, cursor)| Some((name.to_owned(), json!(cursor?.to_string())))).collect();
    Ok(Json(json!({ "data": data, "pagination": pagination })))
}

async fn cancel_run(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(id): Segment,
) -> Result<Json<Value>, ApiError> {
    let id = run_id(&id)?;
    cancel(&app, &environment, &id).await?;
    Ok(Json(json!({ "id": id })))
}

async fn replay_run(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let traceparent = header_text(&headers, "traceparent")?.map(str::to_owned);
    let asked = Asked { environment, request_id: request_id(&headers)?, traceparent };
    let triggered = replay(&app, asked, &run_id(&id)?, &body).await?;
    Ok(Json(json!({ "id": triggered.handle.id })))
}

#[derive(Deserialize)]
struct RescheduleBody {
    delay: Value,
}

async fn reschedule_run(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(id): Segment,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let body: RescheduleBody = parse_json(&body)?;
    let run = reschedule(&app, &environment, &run_id(&id)?, &body.delay).await?;
    Ok(Json(retrieved(&app, &run).await?))
}

/// What cannot be a run's id names no run.
fn run_id(text: &str) -> Result<RunId, Error> {
    RunId::parse(text)
        .map_err(|_| Error::NotFound(format!("there is no run {text:?}: a run id is run_ and 32 characters")))
}
