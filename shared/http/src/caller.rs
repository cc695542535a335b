//! Who is calling a route that takes no public tokens: the environment that the request's API key opens.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use oncekey_core::{App, EnvironmentId, Error};

use crate::error::ApiError;
use crate::permit::Permit;

/// The caller's environment. A handler that takes one runs only for a known API key.
#[derive(Debug)]
pub struct Caller(pub EnvironmentId);

/// The same, for a handler whose caller signs a public token for what it has made.
#[derive(Debug)]
pub struct Owner(pub Permit);

impl FromRequestParts<App> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let permit = Permit::from_request_parts(parts, app).await?;
        if permit.token_use().is_some() {
            let text = format!("a public token does not open {}: call it with the API key", parts.uri.path());
            return Err(Error::forbidden(text).into());
        }
        Ok(Self(permit))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Owner(permit) = Owner::from_request_parts(parts, app).await?;
        Ok(Self(permit.environment().clone()))
    }
}
