//! What a public token must say besides its scopes: the client asks for it, and signs the token itself.

use axum::Json;
use oncekey_http::{ApiError, Owner, Refusal, routes};
use serde_json::Value;

/// Tells what a public token of this API key must say
///
/// Besides its scopes, its issuer and audience, and when it expires. Whoever has the key signs it with that.
#[utoipa::path(
    post,
    path = routes::PUBLIC_TOKEN_CLAIMS.path,
    tag = "public tokens",
    responses((status = 200, description = "The claims", body = Value), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn claims(Owner(permit): Owner) -> Result<Json<Value>, ApiError> {
    Ok(Json(permit.claims()?))
}
