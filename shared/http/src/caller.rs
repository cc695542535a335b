//! Who is calling: the environment that the request's API key opens.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use oncekey_core::{App, EnvironmentId, Error};

use crate::error::ApiError;

/// The longest API key that is looked up, in bytes.
const MAX_KEY_BYTES: usize = 512;

/// The caller's environment. A handler that takes one runs only for a known API key.
#[derive(Debug)]
pub struct Caller(pub EnvironmentId);

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        // Put there by a host in this process, for a run of that environment. Nothing that comes over the wire gets here.
        if let Some(environment) = parts.extensions.get::<EnvironmentId>() {
            return Ok(Self(environment.clone()));
        }
        let mut all = parts.headers.get_all(AUTHORIZATION).iter();
        let header = all.next().and_then(|value| value.to_str().ok());
        if all.next().is_some() {
            return Err(Error::Unauthorized("send the header \"Authorization\" once").into());
        }
        let key = header
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, key)| scheme.eq_ignore_ascii_case("bearer") && (1..=MAX_KEY_BYTES).contains(&key.len()))
            .map(|(_, key)| key.trim())
            .ok_or(Error::Unauthorized("send the header \"Authorization: Bearer <API key>\""))?;
        Ok(Self(app.environments.opened_by(key).await?))
    }
}
