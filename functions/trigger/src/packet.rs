//! Where the official client puts payloads over 128 KB, before it triggers with their path.

use axum::Json;
use axum::extract::State;
use oncekey_core::App;
use oncekey_core::payload::path::BlobPath;
use oncekey_http::{ApiError, Caller, Refusal, Segment, routes};
use serde::Serialize;
use utoipa::ToSchema;

/// A place for a payload.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PacketPlace {
    /// The payload's bytes are to be put here, with their media type, within fifteen minutes.
    presigned_url: String,
    /// What to trigger with then, as a payload of the type `application/store`.
    storage_path: BlobPath,
}

/// Makes a place for a large payload
#[utoipa::path(
    put,
    path = routes::PLACE_PACKET.path,
    tag = "packets",
    params(("path" = String, Path, description = "The path to store it under, percent-encoded as one segment")),
    responses((status = 200, description = "The place", body = PacketPlace), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn place_packet(
    State(app): State<App>,
    Caller(environment): Caller,
    Segment(path): Segment,
) -> Result<Json<PacketPlace>, ApiError> {
    let storage_path = BlobPath::for_caller("path", &path)?;
    let presigned_url = app.blobs.put_url(&environment, &storage_path).await?.to_string();
    Ok(Json(PacketPlace { presigned_url, storage_path }))
}
