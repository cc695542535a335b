//! What a run says of itself while it goes on, and how it ended.

use axum::Json;
use axum::extract::State;
use oncekey_core::request::described::TagsSchema;
use oncekey_core::request::parse_json;
use oncekey_core::run::end::End;
use oncekey_core::runs::content::output_of;
use oncekey_core::runs::metadata::{Changes, change};
use oncekey_core::runs::tag;
use oncekey_core::{App, Error};
use oncekey_http::{ApiError, Body, Caller, Permit, Refusal, RunPath, routes};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A run's metadata, as it now is.
#[derive(Serialize, ToSchema)]
pub(crate) struct MetadataAnswer {
    metadata: Map<String, Value>,
}

/// Changes a run's metadata
///
/// By operations, so that several who change it at once lose nothing; also that of its parent and of the first run of its
/// family. `metadata` puts another in its place first.
#[utoipa::path(
    put,
    path = routes::CHANGE_METADATA.path,
    tag = "runs",
    params(("id" = oncekey_core::RunId, Path, description = "The run's id")),
    request_body = Changes,
    responses((status = 200, description = "The run's own, as it now is", body = MetadataAnswer), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn change_metadata(
    State(app): State<App>,
    Caller(environment): Caller,
    RunPath(id): RunPath,
    Body(body): Body,
) -> Result<Json<MetadataAnswer>, ApiError> {
    let changes = Changes::parse(&body)?;
    let metadata = change(&app, &environment, &id, changes).await?;
    Ok(Json(MetadataAnswer { metadata }))
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct TagsBody {
    /// A tag, or several.
    #[schema(value_type = TagsSchema)]
    tags: Value,
}

/// What was done, in words.
#[derive(Serialize, ToSchema)]
pub(crate) struct TagsAnswer {
    message: String,
}

/// Gives a run tags
///
/// Beside those that it has, up to ten.
#[utoipa::path(
    post,
    path = routes::ADD_TAGS.path,
    tag = "runs",
    params(("id" = oncekey_core::RunId, Path, description = "The run's id")),
    request_body = TagsBody,
    responses((status = 200, description = "It has them", body = TagsAnswer), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn add_tags(
    State(app): State<App>,
    Caller(environment): Caller,
    RunPath(id): RunPath,
    Body(body): Body,
) -> Result<Json<TagsAnswer>, ApiError> {
    let TagsBody { tags } = parse_json(&body)?;
    let run = tag::add_tags(&app, &environment, &id, tags).await?;
    Ok(Json(TagsAnswer { message: format!("run {} has these tags", run.id) }))
}

/// Shows how a run ended
///
/// 404 until it has.
#[utoipa::path(
    get,
    path = routes::RUN_RESULT.path,
    tag = "runs",
    params(("id" = oncekey_core::RunId, Path, description = "The run's id")),
    responses((status = 200, description = "The output, or the error", body = Value), Refusal),
    security(("api_key" = []), ("public_token" = []))
)]
pub(crate) async fn result(
    State(app): State<App>,
    permit: Permit,
    RunPath(id): RunPath,
) -> Result<Json<Value>, ApiError> {
    let run = permit.run(&app, &id).await?;
    let output = output_of(&app, &run).await?.and_then(|output| output.text);
    let going_on = || Error::NotFound(format!("run {} has not ended: it is {}", run.id, run.status));
    let end = End::of(&run, output).ok_or_else(going_on)?;
    Ok(Json(end.result(run.id.as_str(), run.spec.task.as_str())))
}
