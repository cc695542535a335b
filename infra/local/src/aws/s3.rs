//! An S3 endpoint over a folder, or over memory: objects are put and got by signed URL, and nothing else.
//!
//! Signatures are checked by making them again, so a URL that S3 would refuse is refused here: a wrong method, path, key
//! or date, or one that is over.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use oncekey_core::{Clock, Signer, Timestamp};
use reqwest::Url;
use sha2::{Digest, Sha256};

use crate::aws::iam::Caller;
use crate::private;

/// The largest object; payloads and outputs are smaller.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The largest request that is read, so that a larger object is refused in S3's words.
pub(crate) const MAX_REQUEST_BYTES: usize = 2 * MAX_BYTES;

/// The objects, and who may sign for them.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    kept: Kept,
    signers: Arc<HashMap<String, Signatory>>,
    clock: Clock,
    /// Where this endpoint listens: part of what is signed.
    origin: String,
}

/// Whoever may sign, by the access key; who is no function may do everything.
#[derive(Clone, Debug)]
pub(crate) struct Signatory {
    pub signer: Signer,
    pub caller: Option<Caller>,
}

impl Signatory {
    fn may(&self, action: &str, path: &str) -> bool {
        self.caller.as_ref().is_none_or(|caller| caller.ask_s3(action, path).is_ok())
    }
}

#[derive(Clone, Debug)]
enum Kept {
    Folder(PathBuf),
    Memory(Arc<Mutex<HashMap<String, Object>>>),
}

#[derive(Clone, Debug)]
struct Object {
    content_type: String,
    bytes: Vec<u8>,
}

impl Objects {
    /// Objects in `folder`, or in memory, behind an endpoint at `origin`.
    pub(crate) fn new(
        folder: Option<PathBuf>,
        signers: HashMap<String, Signatory>,
        clock: Clock,
        origin: String,
    ) -> std::io::Result<Self> {
        let kept = match folder {
            None => Kept::Memory(Arc::default()),
            Some(folder) => {
                private::folder_inside(&folder)?;
                Kept::Folder(folder)
            }
        };
        Ok(Self { kept, signers: Arc::new(signers), clock, origin })
    }

    /// Who has signed the URL, if the signature is one that we would have made for it, at its date, and still holds.
    async fn signed_by(&self, method: &Method, path: &str, query: &str) -> Option<&Signatory> {
        let pairs: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let (signed_at, expires) = (timestamp(pairs.get("X-Amz-Date")?)?, pairs.get("X-Amz-Expires")?.parse().ok()?);
        let expires = Duration::from_secs(expires);
        if self.clock.now() > signed_at.plus(expires) {
            return None;
        }
        let by = self.signers.get(pairs.get("X-Amz-Credential")?.split('/').next()?)?;
        let url = Url::parse(&format!("{}{path}", self.origin)).ok()?;
        let url = by.signer.signed(method, url, signed_at, expires).await.ok()?;
        let wanted: HashMap<_, _> = url.query_pairs().into_owned().collect();
        wanted.iter().all(|(name, value)| pairs.get(name) == Some(value)).then_some(by)
    }

    fn put(&self, path: &str, object: Object) -> std::io::Result<()> {
        match &self.kept {
            Kept::Memory(objects) => {
                objects.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), object);
                Ok(())
            }
            Kept::Folder(folder) => {
                // One file: the type in its first line, then the bytes.
                let mut bytes = object.content_type.into_bytes();
                bytes.push(b'\n');
                bytes.extend_from_slice(&object.bytes);
                private::write(&folder.join(file_name(path)), &bytes)
            }
        }
    }

    fn get(&self, path: &str) -> std::io::Result<Option<Object>> {
        match &self.kept {
            Kept::Memory(objects) => Ok(objects.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()),
            Kept::Folder(folder) => {
                let mut bytes = match private::read(&folder.join(file_name(path))) {
                    Ok(bytes) => bytes,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                };
                let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default();
                let rest = bytes.split_off((end + 1).min(bytes.len()));
                let content_type = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
                Ok(Some(Object { content_type, bytes: rest }))
            }
        }
    }
}

/// The name of an object's file: paths may be longer than file names, and hold what they may not.
fn file_name(path: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(path.as_bytes()))
}

/// Reads `20260131T093000Z`.
fn timestamp(text: &str) -> Option<Timestamp> {
    let part = |range| text.get(range);
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?
    );
    Timestamp::parse(&iso).ok()
}

/// The endpoint.
pub(crate) fn router(objects: Objects) -> Router {
    Router::new().fallback(handle).with_state(objects)
}

async fn handle(State(objects): State<Objects>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let Some(by) = objects.signed_by(&parts.method, path, query).await else {
        return refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    };
    let action = if parts.method == Method::PUT { "PutObject" } else { "GetObject" };
    if !by.may(action, path) {
        return refused(StatusCode::FORBIDDEN, "AccessDenied");
    }
    // Who may not list is not told that there is nothing.
    let bucket = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let done = match parts.method {
        Method::PUT => put(&objects, path, parts.headers.get(CONTENT_TYPE), body).await,
        Method::GET => objects.get(path).map(|object| match object {
            Some(object) => ([(CONTENT_TYPE, object.content_type)], object.bytes).into_response(),
            None if by.may("ListBucket", bucket) => refused(StatusCode::NOT_FOUND, "NoSuchKey"),
            None => refused(StatusCode::FORBIDDEN, "AccessDenied"),
        }),
        _ => Ok(refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
    };
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "an object could not be kept");
        refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
    })
}

async fn put(objects: &Objects, path: &str, kind: Option<&HeaderValue>, body: Body) -> std::io::Result<Response> {
    let Ok(bytes) = to_bytes(body, MAX_BYTES).await else {
        return Ok(refused(StatusCode::BAD_REQUEST, "EntityTooLarge"));
    };
    let content_type = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("binary/octet-stream").to_owned();
    objects.put(path, Object { content_type, bytes: bytes.to_vec() })?;
    Ok(StatusCode::OK.into_response())
}

/// An error as S3 says it.
fn refused(status: StatusCode, code: &str) -> Response {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>");
    (status, [(CONTENT_TYPE, "application/xml")], body).into_response()
}
