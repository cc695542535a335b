//! Where a large payload can be got.

use axum::Json;
use axum::extract::State;
use oncekey_core::App;
use oncekey_core::payload::path::BlobPath;
use oncekey_http::{ApiError, Caller, Refusal, Segment, routes};
use serde::Serialize;
use utoipa::ToSchema;

/// Where an object is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PacketUrl {
    /// Its bytes can be got here for fifteen minutes, if it is there.
    presigned_url: String,
}

/// Tells where a large payload can be got
#[utoipa::path(
    get,
    path = routes::FIND_PACKET.path,
    tag = "packets",
    params(("path" = String, Path, description = "The path it is stored under, percent-encoded as one segment")),
    responses((status = 200, description = "Where it is", body = PacketUrl), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn find_packet(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(path): Segment,
) -> Result<Json<PacketUrl>, ApiError> {
    let path = BlobPath::parse("path", &path)?;
    Ok(Json(PacketUrl { presigned_url: app.blobs.get_url(&environment, &path).await?.to_string() }))
}
