//! Everything about runs that are there: retrieve, list, cancel, replay, reschedule, one by one and in bulk; which run holds a key; cron
//! schedules; wait tokens; and workers.

mod bulk;
mod key;
mod logs;
mod notes;
mod packet;
mod public_tokens;
mod query;
mod queues;
mod schedules;
mod tokens;
mod view;
mod workers;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Json, Router};
use oncekey_core::protocol::cancel::cancel;
use oncekey_core::protocol::overdue;
use oncekey_core::request::options::Options;
use oncekey_core::request::parse_json;
use oncekey_core::runs::content::{output_of, payload_of};
use oncekey_core::runs::list::{Cursor, list};
use oncekey_core::runs::replay::{ReplayRequest, replay};
use oncekey_core::runs::reschedule::reschedule;
use oncekey_core::runs::waiting::waiting_for;
use oncekey_core::{App, Error, Run, RunId};
use oncekey_http::{
    ApiError, Body, Caller, OPENAPI, Permit, Refusal, RunPath, header_text, is_by_hand, key_headers, request_id, routes,
};
use oncekey_wire::{Pagination, RetrievedRun, RunName, RunsPage};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

/// The routes of this function.
pub fn router(app: App) -> Router {
    Router::new()
        .route(routes::RETRIEVE_RUN.path, routes::RETRIEVE_RUN.to(retrieve))
        .route(routes::LIST_RUNS.path, routes::LIST_RUNS.to(list_runs))
        .route(routes::CANCEL_RUN.path, routes::CANCEL_RUN.to(cancel_run))
        .route(routes::REPLAY_RUN.path, routes::REPLAY_RUN.to(replay_run))
        .route(routes::RESCHEDULE_RUN.path, routes::RESCHEDULE_RUN.to(reschedule_run))
        .route(routes::CHANGE_METADATA.path, routes::CHANGE_METADATA.to(notes::change_metadata))
        .route(routes::ADD_TAGS.path, routes::ADD_TAGS.to(notes::add_tags))
        .route(routes::RUN_RESULT.path, routes::RUN_RESULT.to(notes::result))
        .route(routes::RUN_LOGS.path, routes::RUN_LOGS.to(logs::run_logs))
        .route(routes::LOOK_UP_KEY.path, routes::LOOK_UP_KEY.to(key::look_up_key))
        .route(routes::FIND_PACKET.path, routes::FIND_PACKET.to(packet::find_packet))
        .route(routes::CREATE_SCHEDULE.path, routes::CREATE_SCHEDULE.to(schedules::create))
        .route(routes::LIST_SCHEDULES.path, routes::LIST_SCHEDULES.to(schedules::list))
        .route(routes::RETRIEVE_SCHEDULE.path, routes::RETRIEVE_SCHEDULE.to(schedules::retrieve))
        .route(routes::UPDATE_SCHEDULE.path, routes::UPDATE_SCHEDULE.to(schedules::update))
        .route(routes::DELETE_SCHEDULE.path, routes::DELETE_SCHEDULE.to(schedules::delete))
        .route(routes::ACTIVATE_SCHEDULE.path, routes::ACTIVATE_SCHEDULE.to(schedules::activate))
        .route(routes::DEACTIVATE_SCHEDULE.path, routes::DEACTIVATE_SCHEDULE.to(schedules::deactivate))
        .route(routes::TIMEZONES.path, routes::TIMEZONES.to(schedules::list_timezones))
        .route(routes::CREATE_TOKEN.path, routes::CREATE_TOKEN.to(tokens::create))
        .route(routes::LIST_TOKENS.path, routes::LIST_TOKENS.to(tokens::list))
        .route(routes::RETRIEVE_TOKEN.path, routes::RETRIEVE_TOKEN.to(tokens::retrieve))
        .route(routes::COMPLETE_TOKEN.path, routes::COMPLETE_TOKEN.to(tokens::complete))
        .route(routes::CALL_BACK_TOKEN.path, routes::CALL_BACK_TOKEN.to(tokens::call_back))
        .route(routes::LIST_WORKERS.path, routes::LIST_WORKERS.to(workers::list))
        .route(routes::DEPLOY_WORKER.path, routes::DEPLOY_WORKER.to(workers::deploy))
        .route(routes::REMOVE_WORKER.path, routes::REMOVE_WORKER.to(workers::remove))
        .route(routes::CREATE_BULK_ACTION.path, routes::CREATE_BULK_ACTION.to(bulk::create))
        .route(routes::LIST_BULK_ACTIONS.path, routes::LIST_BULK_ACTIONS.to(bulk::list))
        .route(routes::RETRIEVE_BULK_ACTION.path, routes::RETRIEVE_BULK_ACTION.to(bulk::retrieve))
        .route(routes::ABORT_BULK_ACTION.path, routes::ABORT_BULK_ACTION.to(bulk::abort))
        .route(routes::LIST_QUEUES.path, routes::LIST_QUEUES.to(queues::list))
        .route(routes::RETRIEVE_QUEUE.path, routes::RETRIEVE_QUEUE.to(queues::retrieve))
        .route(routes::PAUSE_QUEUE.path, routes::PAUSE_QUEUE.to(queues::pause))
        .route(routes::OVERRIDE_LIMIT.path, routes::OVERRIDE_LIMIT.to(queues::override_limit))
        .route(routes::RESET_LIMIT.path, routes::RESET_LIMIT.to(queues::reset_limit))
        .route(routes::PAUSE_ENVIRONMENT.path, routes::PAUSE_ENVIRONMENT.to(queues::pause_environment))
        .route(routes::PUBLIC_TOKEN_CLAIMS.path, routes::PUBLIC_TOKEN_CLAIMS.to(public_tokens::claims))
        .route(routes::OPENAPI_JSON.path, routes::OPENAPI_JSON.to(openapi_json))
        .route(routes::HEALTH.path, routes::HEALTH.to(health))
        .with_state(app)
}

/// What this function answers to.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        retrieve,
        list_runs,
        cancel_run,
        replay_run,
        reschedule_run,
        notes::change_metadata,
        notes::add_tags,
        notes::result,
        logs::run_logs,
        key::look_up_key,
        packet::find_packet,
        schedules::create,
        schedules::list,
        schedules::retrieve,
        schedules::update,
        schedules::delete,
        schedules::activate,
        schedules::deactivate,
        tokens::create,
        tokens::list,
        tokens::retrieve,
        tokens::complete,
        workers::list,
        workers::deploy,
        workers::remove,
        bulk::create,
        bulk::list,
        bulk::retrieve,
        bulk::abort,
        queues::list,
        queues::retrieve,
        queues::pause,
        queues::override_limit,
        queues::reset_limit,
        queues::pause_environment,
        public_tokens::claims
    ))]
    struct Described;
    Described::openapi()
}

/// For load balancers and people: no key, no call to AWS.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

async fn openapi_json() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

/// Shows a run
#[utoipa::path(
    get,
    path = routes::RETRIEVE_RUN.path,
    tag = "runs",
    params(("id" = RunId, Path, description = "The run's id")),
    responses((status = 200, description = "The run", body = RetrievedRun), Refusal),
    security(("api_key" = []), ("public_token" = []))
)]
async fn retrieve(
    State(app): State<App>,
    permit: Permit,
    RunPath(id): RunPath,
) -> Result<Json<RetrievedRun>, ApiError> {
    let run = permit.run(&app, &id).await?;
    Ok(Json(retrieved(&app, run, Some(&permit)).await?))
}

/// A run with its key if it holds that, and those of its relatives that a caller of this permit may see; all, of one with an API key.
async fn retrieved(app: &App, mut run: Run, permit: Option<&Permit>) -> Result<RetrievedRun, Error> {
    let above = run.spec.lineage.iter().flat_map(|line| [&line.parent, &line.root]);
    let relatives: Vec<&RunId> = above.chain(&run.children).collect();
    let mut relatives = overdue::runs(app, &unique(relatives)).await?;
    relatives.retain(|relative| permit.is_none_or(|permit| permit.sees(relative)));
    app.store.read_metadata(&mut relatives).await?;
    app.store.read_metadata(std::slice::from_mut(&mut run)).await?;
    let run = &run;
    let now = app.clock.now();
    let holds = app.store.holds_key(std::slice::from_ref(run), now).await?;
    let (payload, output) = tokio::try_join!(payload_of(app, run), output_of(app, run))?;
    let payload = payload.filter(|_| run.stored_payload().is_none()).and_then(|payload| payload.json().ok().flatten());
    let output = output.and_then(|output| output.json().ok().flatten());
    let mut shown = view::retrieved(run, payload, output, holds == [true], &relatives, now);
    if permit.is_none_or(Permit::sees_all) {
        shown.waiting_for = waiting_for(app, run).await?;
    }
    let environment = &run.spec.environment;
    if let Some(path) = run.stored_payload() {
        shown.payload_presigned_url = Some(app.blobs.get_url(environment, &path).await?.to_string());
    }
    if let Some(path) = &run.stored_output {
        shown.output_presigned_url = Some(app.blobs.get_url(environment, path).await?.to_string());
    }
    Ok(shown)
}

fn unique(mut ids: Vec<&RunId>) -> Vec<&RunId> {
    ids.sort();
    ids.dedup();
    ids
}

/// Lists runs, newest first
#[utoipa::path(
    get,
    path = routes::LIST_RUNS.path,
    tag = "runs",
    params(
        ("page[size]" = Option<u32>, Query, description = "Runs a page, 1 to 100; 25 by default"),
        ("page[after]" = Option<String>, Query, description = "The cursor `next` of another page"),
        ("page[before]" = Option<String>, Query, description = "The cursor `previous` of another page"),
        ("filter[status]" = Option<String>, Query, description = "Statuses, with commas between"),
        ("filter[taskIdentifier]" = Option<String>, Query, description = "Tasks, with commas between"),
        ("filter[tag]" = Option<String>, Query, description = "Tags, with commas between"),
        ("filter[queue]" = Option<String>, Query, description = "Queues, with commas between"),
        ("filter[batch]" = Option<String>, Query, description = "Batches, with commas between"),
        ("filter[idempotencyKey]" = Option<String>, Query, description = "Triggered with this key, whoever holds it now: its text or its hash"),
        ("filter[isTest]" = Option<bool>, Query, description = "Marked as a test, or not"),
        ("filter[createdAt][from]" = Option<String>, Query, description = "Milliseconds since 1970, or a date"),
        ("filter[createdAt][to]" = Option<String>, Query, description = "Milliseconds since 1970, or a date"),
        ("filter[createdAt][period]" = Option<String>, Query, description = "A span back from now, like 7d"),
    ),
    responses((status = 200, description = "A page", body = RunsPage), Refusal),
    security(("api_key" = []), ("public_token" = []))
)]
async fn list_runs(
    State(app): State<App>,
    permit: Permit,
    RawQuery(query): RawQuery,
) -> Result<Json<RunsPage>, ApiError> {
    let now = app.clock.now();
    let asked = query::ListQuery::parse(query.as_deref().unwrap_or_default(), now)?;
    permit.may_list(&asked.filter)?;
    let page = list(&app, permit.environment(), &asked.filter, &asked.from, asked.size).await?;
    let holds = app.store.holds_key(&page.runs, now).await?;
    let data = page.runs.iter().zip(holds).map(|(run, holds)| view::item(run, holds, now)).collect();
    let shown = |cursor: Option<Cursor>| cursor.map(|cursor| cursor.to_string());
    let mut pagination = Pagination::default();
    (pagination.next, pagination.previous) = (shown(page.next), shown(page.previous));
    Ok(Json(RunsPage::new(data, pagination)))
}

/// Cancels a run
///
/// One that is final stays as it is, and that is not an error. Its key stays.
#[utoipa::path(
    post,
    path = routes::CANCEL_RUN.path,
    tag = "runs",
    params(("id" = RunId, Path, description = "The run's id")),
    responses((status = 200, description = "It is final", body = RunName), Refusal),
    security(("api_key" = []))
)]
async fn cancel_run(
    State(app): State<App>,
    Caller(environment): Caller,
    RunPath(id): RunPath,
) -> Result<Json<RunName>, ApiError> {
    cancel(&app, &environment, &id).await?;
    Ok(Json(RunName::new(id)))
}

/// Triggers a run's task again
///
/// With what it was given, or with what the body says otherwise: `payload`, and the options of a trigger beside it. The
/// first run's key is not taken over.
#[utoipa::path(
    post,
    path = routes::REPLAY_RUN.path,
    tag = "runs",
    params(
        ("id" = RunId, Path, description = "The run's id"),
        ("idempotency-key" = Option<String>, Header, description = "A key for the new run, bare or as a quoted string; wins over the body"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header, description = "The same on every try of one request"),
    ),
    request_body = Option<Options>,
    responses((status = 200, description = "The new run", body = RunName), Refusal),
    security(("api_key" = []))
)]
async fn replay_run(
    State(app): State<App>,
    Caller(environment): Caller,
    RunPath(id): RunPath,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<RunName>, ApiError> {
    let traceparent = header_text(&headers, "traceparent")?.map(str::to_owned);
    let (key, by_hand) = (key_headers(&headers)?, is_by_hand(&headers));
    let request = ReplayRequest { environment, request_id: request_id(&headers)?, key, traceparent, by_hand };
    let triggered = replay(&app, request, &id, &body).await?;
    Ok(Json(RunName::new(triggered.handle.id)))
}

#[derive(Deserialize, ToSchema)]
struct RescheduleBody {
    /// A span from now like `1h30m`, or an ISO 8601 date.
    #[schema(value_type = String)]
    delay: Value,
}

/// Gives a delayed run another start
#[utoipa::path(
    post,
    path = routes::RESCHEDULE_RUN.path,
    tag = "runs",
    params(("id" = RunId, Path, description = "The run's id")),
    request_body = RescheduleBody,
    responses((status = 200, description = "The run as it now is", body = RetrievedRun), Refusal),
    security(("api_key" = []))
)]
async fn reschedule_run(
    State(app): State<App>,
    Caller(environment): Caller,
    RunPath(id): RunPath,
    Body(body): Body,
) -> Result<Json<RetrievedRun>, ApiError> {
    let body: RescheduleBody = parse_json(&body)?;
    let run = reschedule(&app, &environment, &id, &body.delay).await?;
    Ok(Json(retrieved(&app, run, None).await?))
}
