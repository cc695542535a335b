//! Queues: list, retrieve, pause and resume; another limit than the one that code declares; and the pause of all of them.

use axum::Json;
use axum::extract::{RawQuery, State};
use oncekey_core::flow::{Overridden, QueueSetting, Rate};
use oncekey_core::protocol::change::{self, change_queue};
use oncekey_core::request::queue::{LimitBody, NamedBy, PauseBody, PauseEnvironmentBody};
use oncekey_core::runs::queues::{QueueView, Queues, view};
use oncekey_core::{App, EnvironmentId, Error};
use oncekey_http::{ApiError, Body, Caller, Refusal, Segment, routes};
use oncekey_wire::{EnvironmentPaused, Pages, Queue, QueueConcurrency, QueueLabel, QueueType, QueuesPage};

use crate::query::{form_pairs, page};

/// Lists queues
///
/// Those that code declares or that tasks have; and others while runs are parked in them, they are paused, or another limit than the
/// declared one holds for them.
#[utoipa::path(
    get,
    path = routes::LIST_QUEUES.path,
    tag = "queues",
    params(
        ("page" = Option<u32>, Query, minimum = 1, maximum = 1000000, description = "The page; the first if absent"),
        ("perPage" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Queues on a page; 20 if absent"),
    ),
    responses((status = 200, description = "A page of queues", body = QueuesPage), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(environment): Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<QueuesPage>, ApiError> {
    let (page, size) = page(query.as_deref().unwrap_or_default())?;
    let queues = Queues::of(&app, &environment).await?;
    let count = queues.names.len();
    let names = queues.names.iter().skip((page - 1).saturating_mul(size)).take(size);
    let data = queues.views(&app, &environment, names).await?.into_iter().map(shown).collect();
    let pagination = Pages { current_page: page, total_pages: count.div_ceil(size).max(1), count };
    Ok(Json(QueuesPage { data, pagination, paused: queues.are_paused() }))
}

/// Shows a queue
#[utoipa::path(
    get,
    path = routes::RETRIEVE_QUEUE.path,
    tag = "queues",
    params(
        ("queue" = String, Path, description = "Its id or its name, each / spelt %2F before it is spelt for the path"),
        ("type" = Option<NamedBy>, Query, description = "Which of these; the id if absent"),
    ),
    responses((status = 200, description = "The queue", body = Queue), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn retrieve(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(queue): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<Queue>, ApiError> {
    let pairs = form_pairs(query.as_deref().unwrap_or_default());
    let by = pairs.into_iter().find(|(name, _)| name == "type").map(|(_, value)| NamedBy::parse(&value)).transpose()?;
    let queue = by.unwrap_or_default().queue(&queue)?;
    let queues = found(&app, &environment, &queue).await?;
    let mut views = queues.views(&app, &environment, [&queue]).await?;
    Ok(Json(shown(views.remove(0))))
}

/// Pauses a queue, or has it go on
///
/// From five seconds after this, nothing of it starts; what executes goes on. When it goes on, its runs start in their order.
#[utoipa::path(
    post,
    path = routes::PAUSE_QUEUE.path,
    tag = "queues",
    params(("queue" = String, Path, description = "Its id or its name, each / spelt %2F before it is spelt for the path")),
    request_body = PauseBody,
    responses((status = 200, description = "The queue", body = Queue), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn pause(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(queue): Segment,
    Body(body): Body,
) -> Result<Json<Queue>, ApiError> {
    let (by, paused) = PauseBody::parse(&body)?;
    let queue = by.queue(&queue)?;
    changed(&app, &environment, &queue, |setting| setting.paused = paused).await
}

/// Gives a queue another limit than its code declares
///
/// Until it is reset, whatever is deployed meanwhile. Places that there are more are given at once.
#[utoipa::path(
    post,
    path = routes::OVERRIDE_LIMIT.path,
    tag = "queues",
    params(("queue" = String, Path, description = "Its id or its name, each / spelt %2F before it is spelt for the path")),
    request_body = LimitBody,
    responses((status = 200, description = "The queue", body = Queue), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn override_limit(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(queue): Segment,
    Body(body): Body,
) -> Result<Json<Queue>, ApiError> {
    let (by, limit) = LimitBody::parse_override(&body)?;
    let queue = by.queue(&queue)?;
    let at = app.clock.now();
    changed(&app, &environment, &queue, |setting| {
        if setting.overridden.as_ref().is_none_or(|there| there.limit != limit) {
            setting.overridden = Some(Overridden { limit, at });
        }
    })
    .await
}

/// Gives a queue the limit that its code declares
#[utoipa::path(
    post,
    path = routes::RESET_LIMIT.path,
    tag = "queues",
    params(("queue" = String, Path, description = "Its id or its name, each / spelt %2F before it is spelt for the path")),
    request_body = LimitBody,
    responses((status = 200, description = "The queue", body = Queue), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn reset_limit(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(queue): Segment,
    Body(body): Body,
) -> Result<Json<Queue>, ApiError> {
    let queue = LimitBody::parse_reset(&body)?.queue(&queue)?;
    changed(&app, &environment, &queue, |setting| setting.overridden = None).await
}

/// Pauses an environment, or has it go on
///
/// As a queue is, for all of them.
#[utoipa::path(
    post,
    path = routes::PAUSE_ENVIRONMENT.path,
    tag = "queues",
    request_body = PauseEnvironmentBody,
    responses((status = 200, description = "Whether it is paused", body = EnvironmentPaused), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn pause_environment(
    State(app): State<App>,
    Caller(environment): Caller,
    Body(body): Body,
) -> Result<Json<EnvironmentPaused>, ApiError> {
    let paused = PauseEnvironmentBody::parse(&body)?;
    change::pause_environment(&app, &environment, paused).await?;
    Ok(Json(EnvironmentPaused { paused }))
}

async fn changed(
    app: &App,
    environment: &EnvironmentId,
    queue: &QueueLabel,
    edit: impl Fn(&mut QueueSetting),
) -> Result<Json<Queue>, ApiError> {
    found(app, environment, queue).await?;
    let setting = change_queue(app, environment, queue, edit).await?;
    Ok(Json(shown(view(app, environment, setting).await?)))
}

/// The queues of an environment, if this is one of them.
async fn found(app: &App, environment: &EnvironmentId, queue: &QueueLabel) -> Result<Queues, Error> {
    let queues = Queues::of(app, environment).await?;
    if queues.names.contains(queue) {
        return Ok(queues);
    }
    let text = format!("there is no queue {queue} in {environment}: it is there once code that names it is deployed");
    Err(Error::NotFound(text))
}

fn shown(view: QueueView) -> Queue {
    let QueueView { setting, running, parked } = view;
    let current = setting.limit();
    let QueueSetting { queue, declared, rate, overridden, paused, .. } = setting;
    Queue {
        id: queue.id(),
        name: queue.own_name().to_owned(),
        kind: if queue.is_of_task() { QueueType::Task } else { QueueType::Custom },
        running,
        queued: parked,
        paused,
        concurrency_limit: current,
        concurrency: QueueConcurrency {
            current,
            base: declared,
            overridden: overridden.as_ref().map(|overridden| overridden.limit),
            overridden_at: overridden.map(|overridden| overridden.at),
            overridden_by: None,
        },
        rate_limit: rate.map(Rate::to_wire),
    }
}
