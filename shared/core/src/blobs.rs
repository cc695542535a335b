//! S3: payloads and outputs that are too large for a DynamoDB item. Three requests are all it takes, so they are signed with
//! the SDK's own signer and sent as they are; the same signed URLs are what callers get.
//!
//! An object of an environment is named `{environment}/{path}`. What we put ourselves is named by its content, so two who
//! make the same run never write different things to one place.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use oncekey_wire::EnvironmentId;
use tokio::time::timeout;
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::payload::path::{BlobPath, OUTPUTS, PAYLOADS};
use crate::payload::{Payload, PayloadType};

/// How long a signed URL works.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
/// How long connecting may take.
const TO_CONNECT: Duration = Duration::from_millis(1_500);
/// How long one attempt of a request may take, with all of its answer.
const TO_ATTEMPT: Duration = Duration::from_secs(4);
/// Attempts of a request.
const ATTEMPTS: u32 = 3;
/// The pause after the first; each next is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Signs S3 requests into URLs.
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: SharedCredentialsProvider,
    region: String,
}

impl Signer {
    /// Signs a request to `url` at `now`: for fifteen minutes, whoever has the URL may send it.
    ///
    /// # Errors
    /// [`Error::Aws`] when there are no credentials.
    pub async fn signed(&self, method: &Method, mut url: Url, now: Timestamp, expires: Duration) -> Result<Url, Error> {
        let credentials = self.credentials.provide_credentials().await.map_err(Error::aws("credentials"))?;
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(expires);
        // S3 signs the path as it is sent.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0)))
            .settings(settings)
            .build()
            .map_err(Error::aws("s3:sign"))?
            .into();
        let request =
            SignableRequest::new(method.as_str(), url.as_str(), std::iter::empty(), SignableBody::UnsignedPayload);
        let request = request.map_err(Error::aws("s3:sign"))?;
        let (instructions, _) = sign(request, &params).map_err(Error::aws("s3:sign"))?.into_parts();
        url.query_pairs_mut().extend_pairs(instructions.params());
        Ok(url)
    }
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An answer of S3's that says neither yes nor no.
#[derive(Debug, thiserror::Error)]
#[error("S3 answered {0}")]
struct Unexpected(StatusCode);

/// What S3 answered.
struct Answer {
    status: StatusCode,
    kind: PayloadType,
    /// None, if it is longer than a payload may be.
    body: Option<Bytes>,
}

impl Answer {
    /// Whether the next attempt may be answered better.
    fn may_pass(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct Blobs {
    bucket: Url,
    signer: Signer,
    clock: Clock,
    http: OnceLock<Http>,
}

impl Blobs {
    /// A bucket that is not looked at until it is used; at `endpoint`, if it is one of another S3 than AWS's.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings have no region or credentials, or make no URL.
    pub fn new(sdk: &SdkConfig, endpoint: Option<&str>, bucket: &str, clock: Clock) -> Result<Self, Error> {
        let missing = |what: &str| Error::Configuration(format!("the AWS settings have no {what}"));
        let region = sdk.region().ok_or_else(|| missing("region"))?.to_string();
        let credentials = sdk.credentials_provider().ok_or_else(|| missing("credentials"))?;
        let url = match endpoint {
            Some(endpoint) => format!("{}/{bucket}/", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{region}.amazonaws.com/"),
        };
        let bucket = Url::parse(&url).map_err(|error| Error::Configuration(format!("{url} is not a URL: {error}")))?;
        Ok(Self { bucket, signer: Signer { credentials, region }, clock, http: OnceLock::new() })
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
        Ok(Some(Payload { text: Some(text), kind: answer.kind }))
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
        let body = Bytes::from(text);
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.attempt(call, method, url, kind, body.clone()).await {
                Ok(answer) if !answer.may_pass() => return Ok(answer),
                Ok(answer) => tracing::debug!(call, status = %answer.status, "S3 is asked again"),
                Err(error) => tracing::debug!(call, %error, "S3 is asked again"),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause *= 4;
        }
        self.attempt(call, method, url, kind, body).await
    }

    async fn attempt(
        &self,
        call: &'static str,
        method: &Method,
        url: &Url,
        kind: PayloadType,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let request = Request::builder().method(method).uri(url.as_str()).header(CONTENT_TYPE, kind.as_str());
        let request = request.body(Full::from(body)).map_err(Error::aws(call))?;
        let http = self.http()?;
        let answered = async {
            let answer = http.request(request).await.map_err(Error::aws(call))?;
            let status = answer.status();
            let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let kind = PayloadType::of_content_type(kind);
            let body = match Limited::new(answer.into_body(), Payload::MAX_BYTES).collect().await {
                Ok(body) => Some(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => None,
                Err(error) => return Err(Error::aws(call)(std::io::Error::other(error))),
            };
            Ok(Answer { status, kind, body })
        };
        timeout(TO_ATTEMPT, answered).await.map_err(Error::aws(call))?
    }

    /// Made when it is needed: the trusted roots take a while to read, and most runs store nothing.
    fn http(&self) -> Result<&Http, Error> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let connector = HttpsConnectorBuilder::new().with_native_roots();
        let connector = connector.map_err(|error| Error::Configuration(error.to_string()))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TO_CONNECT));
        let connector = connector.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(self.http.get_or_init(|| Client::builder(TokioExecutor::new()).build(connector)))
    }
}
