//! Reads and cancels runs: `GET /api/v3/runs/{id}`, `GET /api/v1/runs`, `POST /api/v2/runs/{id}/cancel`.

mod query;
mod view;

use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use oncekey_core::cancel::{cancel, find};
use oncekey_core::list::list;
use oncekey_core::{App, Error, Run, RunId};
use oncekey_http::{ApiError, Caller, Segment};
use serde_json::{Value, json};

/// The routes of this function.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/api/v3/runs/{id}", get(retrieve))
        .route("/api/v1/runs", get(list_runs))
        .route("/api/v2/runs/{id}/cancel", post(cancel_run))
        .with_state(app)
}

async fn retrieve(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(id): Segment,
) -> Result<Json<Value>, ApiError> {
    let run = find(&app, &environment, &run_id(&id)?).await?;
    let relatives: Vec<&RunId> = run.spec.lineage.iter().flat_map(|line| [&line.parent, &line.root]).collect();
    let relatives = if relatives.is_empty() { Vec::new() } else { app.store.runs(&unique(relatives)).await? };
    let now = app.clock.now();
    let holds = app.store.holds_key(std::slice::from_ref(&run), now).await?;
    Ok(Json(view::retrieved(&run, holds == [true], &relatives, now)))
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

/// What cannot be a run's id names no run.
fn run_id(text: &str) -> Result<RunId, Error> {
    RunId::parse(text)
        .map_err(|_| Error::NotFound(format!("there is no run {text:?}: a run id is run_ and 32 characters")))
}
