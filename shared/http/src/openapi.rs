//! The description of the API: what every operation shares. Each function describes its own.

use oncekey_wire::ErrorAnswer;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

/// The description as it is served at `/openapi.json`: generated from the code by `oncekey openapi`, and kept in a file so
/// that any function can serve it. A test compares the two.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// Answers that any operation may give. `x-should-retry: false` says that sending it again cannot help.
#[derive(Debug, IntoResponses)]
pub enum Refusal {
    /// Something in the request is malformed: the text names it
    #[response(status = 400)]
    Invalid(ErrorAnswer),
    /// The API key is missing or unknown, or the public token is not good
    #[response(status = 401)]
    Unauthorized(ErrorAnswer),
    /// The public token does not cover this
    #[response(status = 403)]
    Forbidden(ErrorAnswer),
    /// There is no such thing in this environment
    #[response(status = 404)]
    NotFound(ErrorAnswer),
    /// Larger than a limit, which the text names
    #[response(status = 413)]
    TooLarge(ErrorAnswer),
    /// The body has a content encoding
    #[response(status = 415)]
    Encoded(ErrorAnswer),
    /// Well-formed, and not acceptable as it stands
    #[response(status = 422)]
    Unprocessable(ErrorAnswer),
    /// Something behind Oncekey failed: the same request can be sent again
    #[response(status = 500)]
    Failed(ErrorAnswer),
    /// Many callers change the same key or batch at once: the same request can be sent again
    #[response(status = 503)]
    Contended(ErrorAnswer),
}

/// The whole description, of what each function says of its own operations.
pub fn describe(parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Oncekey")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Background tasks in which every trigger is idempotent."))
        .build();
    let api_key = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let public_token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let public_token =
        SecurityScheme::Http(public_token.description(Some("With a scope that covers what is asked for")).build());
    let components = ComponentsBuilder::new()
        .security_scheme("api_key", api_key)
        .security_scheme("public_token", public_token)
        .schema(ErrorAnswer::name(), ErrorAnswer::schema())
        .build();
    let whole = OpenApiBuilder::new().info(info).components(Some(components)).build();
    parts.into_iter().fold(whole, OpenApi::merge_from)
}
