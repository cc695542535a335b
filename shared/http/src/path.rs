//! What a path names.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use oncekey_core::cron::ScheduleId;
use oncekey_core::{BatchId, Error, RunId, TokenId};
use oncekey_wire::{BulkActionId, WorkerName};

use crate::error::ApiError;

/// The one variable segment of a path, percent-decoded.
#[derive(Debug)]
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        let refused = |_| ApiError(Error::invalid("path", "it is not UTF-8 when decoded"));
        segment.map(|Path(text)| Self(text)).map_err(refused)
    }
}

/// The run that a path names. To be taken after the caller: whoever may not ask is not told what a run's id looks like.
#[derive(Debug)]
pub struct RunPath(pub RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        Ok(Self(run_id(&text)?))
    }
}

/// The batch that a path names. To be taken after the caller.
#[derive(Debug)]
pub struct BatchPath(pub BatchId);

impl<S: Send + Sync> FromRequestParts<S> for BatchPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        let unknown = || Error::NotFound(format!("there is no batch {text:?}: a batch id is batch_ and 32 characters"));
        Ok(Self(BatchId::parse(&text).map_err(|_| unknown())?))
    }
}

/// The cron schedule that a path names. To be taken after the caller.
#[derive(Debug)]
pub struct SchedulePath(pub ScheduleId);

impl<S: Send + Sync> FromRequestParts<S> for SchedulePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        let unknown =
            || Error::NotFound(format!("there is no schedule {text:?}: a schedule id is sched_ and 32 characters"));
        Ok(Self(ScheduleId::parse(&text).map_err(|_| unknown())?))
    }
}

/// The bulk action that a path names. To be taken after the caller.
#[derive(Debug)]
pub struct BulkActionPath(pub BulkActionId);

impl<S: Send + Sync> FromRequestParts<S> for BulkActionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        Ok(Self(bulk_action_id(&text)?))
    }
}

/// The wait token that a path names. To be taken after the caller.
#[derive(Debug)]
pub struct TokenPath(pub TokenId);

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        Ok(Self(token_id(&text)?))
    }
}

/// The worker that a path names. To be taken after the caller.
#[derive(Debug)]
pub struct WorkerPath(pub WorkerName);

impl<S: Send + Sync> FromRequestParts<S> for WorkerPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        Ok(Self(WorkerName::parse(&text).map_err(Error::from)?))
    }
}

/// The run that a path's segment names.
///
/// # Errors
/// [`Error::NotFound`]: what cannot be a run's id names no run.
pub fn run_id(segment: &str) -> Result<RunId, Error> {
    let unknown = || Error::NotFound(format!("there is no run {segment:?}: a run id is run_ and 32 characters"));
    RunId::parse(segment).map_err(|_| unknown())
}

/// The bulk action that a path's segment names.
///
/// # Errors
/// [`Error::NotFound`]: what cannot be a bulk action's id names none.
pub fn bulk_action_id(segment: &str) -> Result<BulkActionId, Error> {
    let told = || format!("there is no bulk action {segment:?}: its id is bulk_ and 32 characters of a-z and 2-7");
    BulkActionId::parse(segment).map_err(|_| Error::NotFound(told()))
}

/// The wait token that a path's segment names.
///
/// # Errors
/// [`Error::NotFound`]: what cannot be a wait token's id names none.
pub fn token_id(segment: &str) -> Result<TokenId, Error> {
    let told = || format!("there is no wait token {segment:?}: its id is waitpoint_ and 32 characters of 0-9 and a-v");
    TokenId::parse(segment).map_err(|_| Error::NotFound(told()))
}
