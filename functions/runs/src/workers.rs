//! Workers: which there are, what each has, and what a deployment of one has from now on.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use oncekey_core::deployment::StoredDeployment;
use oncekey_core::protocol::declare::declare;
use oncekey_core::request::manifest;
use oncekey_core::{App, Error};
use oncekey_http::{ApiError, Body, Caller, Refusal, WorkerPath, request_id, routes};
use oncekey_wire::{Deployment, Manifest, WorkerName, Workers};

/// Lists workers, as they were deployed last
#[utoipa::path(
    get,
    path = routes::LIST_WORKERS.path,
    tag = "workers",
    responses((status = 200, description = "The workers that have tasks", body = Workers), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn list(State(app): State<App>, Caller(environment): Caller) -> Result<Json<Workers>, ApiError> {
    let all = app.store.deployments(&environment).await?;
    let data = all.into_iter().filter(|deployment| !deployment.manifest.tasks.is_empty()).map(shown).collect();
    Ok(Json(Workers { data }))
}

/// Says what a worker has from now on
///
/// The schedules that its tasks declare are there once this is answered, and those that they declare no longer are gone. The same
/// request sent again changes nothing, also not when another deployment has followed it: the answer is the one that stands.
#[utoipa::path(
    put,
    path = routes::DEPLOY_WORKER.path,
    tag = "workers",
    params(
        ("worker" = WorkerName, Path, description = "What the worker is called"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header, description = "The same on every try of one request"),
    ),
    request_body = Manifest,
    responses((status = 200, description = "The deployment", body = Deployment), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn deploy(
    State(app): State<App>,
    Caller(environment): Caller,
    WorkerPath(worker): WorkerPath,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Deployment>, ApiError> {
    let manifest = manifest::parse(&body)?;
    let deployed = declare(&app, &environment, &worker, &manifest, &request_id(&headers)?).await?;
    Ok(Json(shown(deployed)))
}

/// Removes a worker
///
/// The schedules that its tasks declare go with it. Runs go on, and wait for a worker that has their task.
#[utoipa::path(
    delete,
    path = routes::REMOVE_WORKER.path,
    tag = "workers",
    params(
        ("worker" = WorkerName, Path, description = "What the worker is called"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header, description = "The same on every try of one request"),
    ),
    responses((status = 200, description = "A deployment without tasks", body = Deployment), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn remove(
    State(app): State<App>,
    Caller(environment): Caller,
    WorkerPath(worker): WorkerPath,
    headers: HeaderMap,
) -> Result<Json<Deployment>, ApiError> {
    if app.store.deployment(&environment, &worker).await?.is_none() {
        return Err(ApiError(Error::NotFound(format!("there is no worker {worker} in {environment}"))));
    }
    let removed = declare(&app, &environment, &worker, &Manifest::default(), &request_id(&headers)?).await?;
    Ok(Json(shown(removed)))
}

fn shown(deployment: StoredDeployment) -> Deployment {
    let StoredDeployment { worker, number, manifest, deployed_at, .. } = deployment;
    Deployment { worker, number, deployed_at, tasks: manifest.tasks }
}
