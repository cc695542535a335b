//! The client itself: where Oncekey is, who is calling, and how often a call is tried.

use std::time::Duration;

use oncekey_wire::{ErrorAnswer, Json};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

/// How often a call is sent, at most.
const TRIES: u32 = 5;
/// The pause before the second try; it doubles, and is spread by half.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that an answer may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one environment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    api_key: String,
}

/// What a call sends.
pub(crate) enum Content {
    None,
    Json(Json),
    /// A JSON value a line.
    Lines(String),
}

impl Content {
    pub(crate) fn json(body: &impl Serialize) -> Result<Self, Error> {
        Json::of(body).map(Self::Json).map_err(|source| Error::Json { what: "the request", source })
    }
}

impl Client {
    /// A client of the Oncekey at `url`, like `http://localhost:3030`.
    ///
    /// # Errors
    /// [`Error::Configuration`] when `url` is none, or the TLS library cannot be set up.
    pub fn new(url: &str, api_key: impl Into<String>) -> Result<Self, Error> {
        let base = Url::parse(url).ok().filter(|base| !base.cannot_be_a_base());
        let base = base.ok_or_else(|| {
            Error::Configuration(format!("{url:?} is not a URL: give one like http://localhost:3030"))
        })?;
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let http = http.map_err(|error| Error::Configuration(error.to_string()))?;
        Ok(Self { http, base, api_key: api_key.into() })
    }

    /// A client as the environment describes it: `TRIGGER_API_URL` and `TRIGGER_SECRET_KEY`, the variables of the official
    /// client.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming the variable that is missing.
    pub fn from_env() -> Result<Self, Error> {
        let variable = |name: &str, what: &str| {
            std::env::var(name).map_err(|_| {
                Error::Configuration(format!("the environment variable {name} is not set: give it {what}"))
            })
        };
        let url = variable("TRIGGER_API_URL", "Oncekey's URL, like http://localhost:3030")?;
        Self::new(&url, variable("TRIGGER_SECRET_KEY", "an API key of your environment")?)
    }

    /// Sends a call until it is answered for good: every time with the same request id.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(String, String)],
        content: Content,
    ) -> Result<T, Error> {
        let request_id = Uuid::new_v4().to_string();
        let (_, text) = answered(|| self.request(method.clone(), path, query, &content, &request_id)).await?;
        serde_json::from_slice(&text).map_err(|source| Error::Json { what: "the answer", source })
    }

    /// Gets a value that is too large to be kept in its run; `None` if it was never put there, or is there no more. Its URL
    /// says by itself who may: the API key stays here.
    pub(crate) async fn stored(&self, url: &str) -> Result<Option<Json>, Error> {
        let (kind, text) = match answered(|| self.http.get(url)).await {
            Err(Error::Refused { status: 403 | 404, .. }) => return Ok(None),
            answer => answer?,
        };
        #[derive(Deserialize)]
        struct SuperJson {
            json: Option<Json>,
        }
        let stored = match kind.as_str() {
            kind if kind.starts_with("text/plain") => Json::of(&String::from_utf8_lossy(&text)).map(Some),
            kind if kind.starts_with("application/super+json") => {
                serde_json::from_slice::<SuperJson>(&text).map(|stored| stored.json)
            }
            _ => serde_json::from_slice(&text).map(Some),
        };
        stored.map_err(|source| Error::Json { what: "what is stored", source })
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(String, String)],
        content: &Content,
        request_id: &str,
    ) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self
            .http
            .request(method, url)
            .query(query)
            .bearer_auth(&self.api_key)
            .header("x-trigger-request-idempotency-key", request_id);
        match content {
            Content::None => request,
            Content::Json(body) => request.json(body),
            Content::Lines(lines) => request.header("content-type", "application/x-ndjson").body(lines.clone()),
        }
    }
}

/// Sends a request until it is answered for good: the media type and the bytes.
async fn answered(request: impl Fn() -> RequestBuilder) -> Result<(String, Vec<u8>), Error> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        let (error, wait) = match request().send().await {
            Ok(answer) if answer.status().is_success() => {
                let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                let kind = kind.unwrap_or_default().to_owned();
                // An answer that breaks off is as one that never came.
                match answer.bytes().await {
                    Ok(text) => return Ok((kind, text.into())),
                    Err(error) => (Error::Unreachable(error), None),
                }
            }
            Ok(answer) => {
                let (retry, wait) = (should_retry(&answer), retry_after(&answer));
                let error = refusal(answer).await;
                if !retry {
                    return Err(error);
                }
                (error, wait)
            }
            Err(error) => (Error::Unreachable(error), None),
        };
        if tries == TRIES {
            return Err(error);
        }
        tokio::time::sleep(wait.unwrap_or_else(|| pause.mul_f64(0.5 + fastrand::f64()))).await;
        pause *= 2;
        tries += 1;
    }
}

/// What Oncekey says of another try; else what the status says.
fn should_retry(answer: &Response) -> bool {
    match answer.headers().get("x-should-retry").and_then(|value| value.to_str().ok()) {
        Some("true") => true,
        Some("false") => false,
        _ => {
            let status = answer.status();
            status.is_server_error()
                || [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
        }
    }
}

/// The pause that the answer asks for, in seconds.
fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_PAUSE))
}

async fn refusal(answer: Response) -> Error {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap_or_default();
    let message = serde_json::from_str::<ErrorAnswer>(&text).map_or(text, |answer| answer.error);
    Error::Refused { status, message }
}
