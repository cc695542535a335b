//! Cron schedules: create, retrieve, list, change, stop, start and delete; and the time zones that they are meant in.

use axum::Json;
use axum::extract::{RawQuery, State};
use oncekey_core::App;
use oncekey_core::cron::expression::timezones;
use oncekey_core::cron::{CronSchedule, ScheduleId};
use oncekey_core::protocol::schedule::{self, Change};
use oncekey_core::request::schedule::ScheduleBody;
use oncekey_http::{ApiError, Body, Caller, Refusal, SchedulePath, routes};
use oncekey_wire::{DeletedSchedule, Generator, Pages, Schedule, ScheduleEnvironment, SchedulesPage, Timezones};

use crate::query::{form_pairs, page};

/// Creates a schedule, or changes the one of this key
///
/// It is active then. The same request sent again changes nothing.
#[utoipa::path(
    post,
    path = routes::CREATE_SCHEDULE.path,
    tag = "schedules",
    request_body = ScheduleBody,
    responses((status = 200, description = "The schedule", body = Schedule), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Caller(environment): Caller,
    Body(body): Body,
) -> Result<Json<Schedule>, ApiError> {
    let (key, plan) = ScheduleBody::parse(&body)?.for_create()?;
    Ok(Json(shown(schedule::create(&app, &environment, key, plan).await?)))
}

/// Lists schedules
#[utoipa::path(
    get,
    path = routes::LIST_SCHEDULES.path,
    tag = "schedules",
    params(
        ("page" = Option<u32>, Query, minimum = 1, maximum = 1000000, description = "The page; the first if absent"),
        ("perPage" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Schedules on a page; 20 if absent"),
    ),
    responses((status = 200, description = "A page of schedules", body = SchedulesPage), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(environment): Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<SchedulesPage>, ApiError> {
    let (page, size) = page(query.as_deref().unwrap_or_default())?;
    let all = app.store.cron_schedules(&environment).await?;
    let pagination = Pages { current_page: page, total_pages: all.len().div_ceil(size).max(1), count: all.len() };
    let data = all.into_iter().skip((page - 1).saturating_mul(size)).take(size).map(shown).collect();
    Ok(Json(SchedulesPage { data, pagination }))
}

/// Shows a schedule
#[utoipa::path(
    get,
    path = routes::RETRIEVE_SCHEDULE.path,
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule's id")),
    responses((status = 200, description = "The schedule", body = Schedule), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn retrieve(
    State(app): State<App>,
    Caller(environment): Caller,
    SchedulePath(id): SchedulePath,
) -> Result<Json<Schedule>, ApiError> {
    Ok(Json(shown(schedule::find(&app, &environment, &id).await?)))
}

/// Changes a schedule
///
/// To what the body says, whole: what it leaves out is as in a new one. It stays active, or stopped.
#[utoipa::path(
    put,
    path = routes::UPDATE_SCHEDULE.path,
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule's id")),
    request_body = ScheduleBody,
    responses((status = 200, description = "The schedule", body = Schedule), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn update(
    State(app): State<App>,
    Caller(environment): Caller,
    SchedulePath(id): SchedulePath,
    Body(body): Body,
) -> Result<Json<Schedule>, ApiError> {
    let plan = ScheduleBody::parse(&body)?.for_update()?;
    let change = Change { plan: Some(plan), ..Change::default() };
    Ok(Json(shown(schedule::change(&app, &environment, &id, change).await?)))
}

/// Starts a schedule that was stopped
#[utoipa::path(
    post,
    path = routes::ACTIVATE_SCHEDULE.path,
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule's id")),
    responses((status = 200, description = "The schedule", body = Schedule), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn activate(
    State(app): State<App>,
    Caller(environment): Caller,
    SchedulePath(id): SchedulePath,
) -> Result<Json<Schedule>, ApiError> {
    let change = Change { is_active: Some(true), ..Change::default() };
    Ok(Json(shown(schedule::change(&app, &environment, &id, change).await?)))
}

/// Stops a schedule
///
/// A tick that was carried out has its run all the same.
#[utoipa::path(
    post,
    path = routes::DEACTIVATE_SCHEDULE.path,
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule's id")),
    responses((status = 200, description = "The schedule", body = Schedule), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn deactivate(
    State(app): State<App>,
    Caller(environment): Caller,
    SchedulePath(id): SchedulePath,
) -> Result<Json<Schedule>, ApiError> {
    let change = Change { is_active: Some(false), ..Change::default() };
    Ok(Json(shown(schedule::change(&app, &environment, &id, change).await?)))
}

/// Deletes a schedule
#[utoipa::path(
    delete,
    path = routes::DELETE_SCHEDULE.path,
    tag = "schedules",
    params(("id" = ScheduleId, Path, description = "The schedule's id")),
    responses((status = 200, description = "It is not there any more", body = DeletedSchedule), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Caller(environment): Caller,
    SchedulePath(id): SchedulePath,
) -> Result<Json<DeletedSchedule>, ApiError> {
    schedule::delete(&app, &environment, &id).await?;
    Ok(Json(DeletedSchedule { id }))
}

/// Lists the time zones that a schedule may be meant in, for everybody. No call to AWS.
pub(crate) async fn list_timezones(RawQuery(query): RawQuery) -> Json<Timezones> {
    let without_utc = form_pairs(query.as_deref().unwrap_or_default())
        .iter()
        .any(|(name, value)| name == "excludeUtc" && value == "true");
    let timezones = timezones().into_iter().filter(|name| !(without_utc && name == "UTC")).collect();
    Json(Timezones { timezones })
}

fn shown(schedule: CronSchedule) -> Schedule {
    let kind = schedule.kind().to_owned();
    let CronSchedule { id, environment, deduplication_key, declared_by, plan, is_active, next_at, last_at, .. } =
        schedule;
    Schedule {
        id,
        kind,
        active: is_active,
        deduplication_key,
        declared_by,
        generator: Generator::cron(plan.cron.expression().to_owned(), plan.cron.description()),
        timezone: plan.cron.timezone().to_owned(),
        task: plan.task,
        external_id: plan.external_id,
        on_overlap: plan.on_overlap.into(),
        on_missed: plan.on_missed.into(),
        next_run: is_active.then_some(next_at),
        last_run: last_at,
        environments: vec![ScheduleEnvironment::new(environment)],
    }
}
