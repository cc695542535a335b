//! S3: payloads and outputs that are too large for a DynamoDB item. The signed URLs by which we put and get them are what
//! callers get, too.
//!
//! An object of an environment is named `{environment}/{path}`. What we put ourselves is named by its content, so two who
//! make the same run never write different things to one place.

use std::time::Duration;

use aws_config::SdkConfig;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use hyper::body::Bytes;
use oncekey_wire::EnvironmentId;
use url::Url;

use crate::clock::Clock;
use crate::error::Error;
use crate::payload::path::{BlobPath, OUTPUTS, PAYLOADS};
use crate::payload::{Payload, PayloadType};
use crate::signed::{Answer, Requests, Signer, Unexpected};

/// How long a signed URL works.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// A bucket.
#[derive(Clone, Debug)]
pub struct Blobs {
    bucket: Url,
    signer: Signer,
    clock: Clock,
    requests: Requests,
}

impl Blobs {
    /// A bucket that is not looked at until it is used; at `endpoint`, if it is one of another S3 than AWS's.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings have no region or credentials, or make no URL.
    pub fn new(sdk: &SdkConfig, endpoint: Option<&str>, bucket: &str, clock: Clock) -> Result<Self, Error> {
        let signer = Signer::of(sdk)?;
        let url = match endpoint {
            Some(endpoint) => format!("{}/{bucket}/", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{}.amazonaws.com/", signer.region()),
        };
        let bucket = Url::parse(&url).map_err(|error| Error::Configuration(format!("{url} is not a URL: {error}")))?;
        Ok(Self { bucket, signer, clock, requests: Requests::default() })
    }

    /// What signs for this bucket.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// A URL to which whoever has it may put an object, for fifteen minutes.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_url(&self, environment: &EnvironmentId, path: &BlobPath) -> Result<Url, Error> {
        self.signed_url(Method::PUT, environment, path).await
    }

    /// A URL from which whoever has it may get an object, for fifteen minutes.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn get_url(&self, environment: &EnvironmentId, path: &BlobPath) -> Result<Url, Error> {
        self.signed_url(Method::GET, environment, path).await
    }

    async fn signed_url(&self, method: Method, environment: &EnvironmentId, path: &BlobPath) -> Result<Url, Error> {
        let name = format!("{environment}/{}", path.as_str());
        let url = self.bucket.join(&name).map_err(|error| Error::invalid("path", error.to_string()))?;
        self.signer.signed(&method, url, self.clock.now(), SIGNED_FOR).await
    }

    /// Stores a payload that is too large for an item. Its path, which is what the run keeps.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_payload(
        &self,
        environment: &EnvironmentId,
        kind: PayloadType,
        text: String,
    ) -> Result<BlobPath, Error> {
        let path = BlobPath::of_content(PAYLOADS, &text);
        self.put(environment, &path, kind, text).await?;
        Ok(path)
    }

    /// Stores an output. Its path.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_output(
        &self,
        environment: &EnvironmentId,
        kind: PayloadType,
        output: String,
    ) -> Result<BlobPath, Error> {
        let path = BlobPath::of_content(OUTPUTS, &output);
        self.put(environment, &path, kind, output).await?;
        Ok(path)
    }

    /// A payload that is kept in its run as it is, and one that is stored as it was stored. `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Aws`]; [`Error::Invalid`] for what was stored and is not a payload.
    pub async fn fetch(&self, environment: &EnvironmentId, payload: Payload) -> Result<Option<Payload>, Error> {
        match &payload.text {
            Some(path) if payload.kind == PayloadType::Store => {
                self.get(environment, &BlobPath::parse("payload", path)?).await
            }
            _ => Ok(Some(payload)),
        }
    }

    async fn put(
        &self,
        environment: &EnvironmentId,
        path: &BlobPath,
        kind: PayloadType,
        text: String,
    ) -> Result<(), Error> {
        let url = self.put_url(environment, path).await?;
        let answer = self.send("s3:PutObject", &Method::PUT, &url, kind, text).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(Error::aws("s3:PutObject")(Unexpected(answer.status)))
    }

    /// An object as a payload.
    ///
    /// # Errors
    /// [`Error::Aws`]; [`Error::Invalid`] for what is not a payload.
    pub async fn get(&self, environment: &EnvironmentId, path: &BlobPath) -> Result<Option<Payload>, Error> {
        let call = "s3:GetObject";
        let url = self.get_url(environment, path).await?;
        let answer = self.send(call, &Method::GET, &url, PayloadType::Json, String::new()).await?;
        match answer.status {
            StatusCode::OK => {}
            // Who may list the bucket is told so of what is not there.
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(Error::aws(call)(Unexpected(status))),
        }
        let Some(body) = answer.body else {
            let limit = Payload::MAX_BYTES;
            return Err(Error::TooLarge(format!(
                "{}: more than {limit} bytes (3 MB), which is the limit",
                path.as_str()
            )));
        };
        let text = String::from_utf8(body.into()).map_err(|_| Error::invalid(path.as_str(), "it is not UTF-8"))?;
        Ok(Some(Payload { text: Some(text), kind: PayloadType::of_content_type(&answer.content_type) }))
    }

    /// Sends a request, and sends it again when what became of it may be another time: puts write what is there already.
    async fn send(
        &self,
        call: &'static str,
        method: &Method,
        url: &Url,
        kind: PayloadType,
        text: String,
    ) -> Result<Answer, Error> {
        let request = Request::builder().method(method).uri(url.as_str()).header(CONTENT_TYPE, kind.as_str());
        let request = request.body(Bytes::from(text)).map_err(Error::aws(call))?;
        self.requests.send(call, &request, Payload::MAX_BYTES).await
    }
}
