//! What a run's task has written.

use axum::Json;
use axum::extract::{RawQuery, State};
use oncekey_core::runs::logs::{RunLogs, logs};
use oncekey_core::{App, Error, RunId};
use oncekey_http::{ApiError, Caller, Refusal, RunPath, routes};

use crate::query::form_pairs;

/// Shows what a run's task has written
///
/// Kept by a stack on a laptop: the newest thousand lines of a run. On AWS they are in the worker's log group: 404, with the
/// query to find them.
#[utoipa::path(
    get,
    path = routes::RUN_LOGS.path,
    tag = "runs",
    params(
        ("id" = RunId, Path, description = "The run's id"),
        ("after" = Option<u64>, Query, description = "The `next` of an earlier answer: what has come since"),
    ),
    responses((status = 200, description = "The lines, oldest first", body = RunLogs), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn run_logs(
    State(app): State<App>,
    Caller(environment): Caller,
    RunPath(id): RunPath,
    RawQuery(query): RawQuery,
) -> Result<Json<RunLogs>, ApiError> {
    let after = after(query.as_deref().unwrap_or_default())?;
    Ok(Json(logs(&app, &environment, &id, after).await?))
}

fn after(query: &str) -> Result<u64, Error> {
    let Some((_, value)) = form_pairs(query).into_iter().find(|(name, _)| name == "after") else { return Ok(0) };
    // What is described as an integer of 64 bits has a sign.
    let place = value.parse::<i64>().ok().and_then(|place| u64::try_from(place).ok());
    place.ok_or_else(|| Error::invalid("after", "give the `next` of an earlier answer, like 12"))
}
