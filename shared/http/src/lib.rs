//! What Oncekey's HTTP functions share: who is calling, what they sent, and how an error reads.
//!
//! A function's own router holds its routes and nothing else; [`finish`] gives it the rest, once, whether it is served
//! alone on Lambda or merged with the others on a laptop.

mod absent;
mod caller;
mod cors;
mod error;
mod lambda;
mod openapi;
mod path;
mod permit;
mod received;
pub mod routes;

use axum::Router;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::from_fn_with_state;

pub use caller::{Caller, Owner};
pub use cors::{ALLOWED_ORIGINS, Origins};
pub use error::{ApiError, ErrorView};
pub use lambda::serve;
pub use lambda_http::Error as LambdaError;
pub use openapi::{OPENAPI, Refusal, describe};
pub use path::{
    BatchPath, BulkActionPath, RunPath, SchedulePath, Segment, TokenPath, WorkerPath, bulk_action_id, run_id, token_id,
};
pub use permit::Permit;
pub use received::{Body, BodyRefusal, header_text, is_by_hand, key_headers, request_id, told_unless_by_hand};

/// The largest request body: 4.5 MiB, what a Lambda takes as base64 within its 6 MB.
pub const MAX_BODY_BYTES: usize = 4_718_592;

/// Adds answers to unknown paths and methods that read like every other error, and to those that the official client knows
/// and Oncekey does not have; and lets pages of these origins call what takes public tokens.
pub fn finish(router: Router, origins: Origins) -> Router {
    // Deployed, a path's other methods come to a function that does not know the path.
    let nothing = |method: Method, uri: Uri, headers: HeaderMap| async move {
        absent::answer(&uri, &headers).unwrap_or_else(|| error::nothing_there(&method, uri.path(), &headers))
    };
    router
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .layer(from_fn_with_state(origins, cors::let_pages_call))
}
