//! Requests to AWS for which no SDK of the service is needed: signed with the SDK's own signer, sent as they are, and sent again
//! when another attempt may be answered better. What a function uploads stays small by it.

use std::iter;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningError, SigningInstructions,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::time::timeout;
use url::Url;

use crate::clock::Timestamp;
use crate::error::Error;

/// How long connecting may take.
const TO_CONNECT: Duration = Duration::from_millis(1_500);
/// How long one attempt of a request may take, with all of its answer.
const TO_ATTEMPT: Duration = Duration::from_secs(4);
/// Attempts of a request.
const ATTEMPTS: u32 = 3;
/// The pause after the first; each next is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Signs requests by the credentials of this process.
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: SharedCredentialsProvider,
    region: String,
}

impl Signer {
    /// One for the region of these settings.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings have no region or credentials.
    pub(crate) fn of(sdk: &SdkConfig) -> Result<Self, Error> {
        let missing = |what: &str| Error::Configuration(format!("the AWS settings have no {what}"));
        let region = sdk.region().ok_or_else(|| missing("region"))?.to_string();
        let credentials = sdk.credentials_provider().ok_or_else(|| missing("credentials"))?;
        Ok(Self { credentials, region })
    }

    /// The region of what is signed.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Signs a request to S3 into its URL: for as long as `expires` from `now`, whoever has the URL may send it.
    ///
    /// # Errors
    /// [`Error::Aws`] when there are no credentials.
    pub async fn signed(&self, method: &Method, mut url: Url, now: Timestamp, expires: Duration) -> Result<Url, Error> {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(expires);
        // S3 signs the path as it is sent.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let request = SignableRequest::new(method.as_str(), url.as_str(), iter::empty(), SignableBody::UnsignedPayload);
        let instructions = self.sign("s3", request, settings, now).await?;
        url.query_pairs_mut().extend_pairs(instructions.params());
        Ok(url)
    }

    /// Signs a request to another service into its headers.
    ///
    /// # Errors
    /// [`Error::Aws`] when there are no credentials.
    pub(crate) async fn in_headers(
        &self,
        service: &str,
        mut request: Request<Bytes>,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Error> {
        let url = request.uri().to_string();
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let body = SignableBody::Bytes(request.body());
        let signable = SignableRequest::new(request.method().as_str(), url, iter::once(("host", host.as_str())), body);
        let instructions = self.sign(service, signable, SigningSettings::default(), now).await?;
        for (name, value) in instructions.headers() {
            let value = HeaderValue::from_str(value).map_err(Error::aws("sign"))?;
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).map_err(Error::aws("sign"))?, value);
        }
        Ok(request)
    }

    async fn sign(
        &self,
        service: &str,
        request: Result<SignableRequest<'_>, SigningError>,
        settings: SigningSettings,
        now: Timestamp,
    ) -> Result<SigningInstructions, Error> {
        let credentials = self.credentials.provide_credentials().await.map_err(Error::aws("credentials"))?;
        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0)))
            .settings(settings)
            .build()
            .map_err(Error::aws("sign"))?
            .into();
        let request = request.map_err(Error::aws("sign"))?;
        Ok(sign(request, &params).map_err(Error::aws("sign"))?.into_parts().0)
    }
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An answer that says neither yes nor no.
#[derive(Debug, thiserror::Error)]
#[error("it answered {0}")]
pub(crate) struct Unexpected(pub StatusCode);

/// What was answered.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    /// None, if it is longer than was wanted.
    pub body: Option<Bytes>,
}

impl Answer {
    /// Whether the next attempt may be answered better.
    fn may_pass(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }
}

/// Sends requests, over connections that it keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(OnceLock<Http>);

impl Requests {
    /// Sends a request whose effect is the same however often it is sent; of the answer, at most so many bytes are read.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub(crate) async fn send(
        &self,
        call: &'static str,
        request: &Request<Bytes>,
        most: usize,
    ) -> Result<Answer, Error> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.send_once(call, request, most).await {
                Ok(answer) if !answer.may_pass() => return Ok(answer),
                Ok(answer) => tracing::debug!(call, status = %answer.status, "it is asked again"),
                Err(error) => tracing::debug!(call, %error, "it is asked again"),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause *= 4;
        }
        self.send_once(call, request, most).await
    }

    /// The same without another attempt.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub(crate) async fn send_once(
        &self,
        call: &'static str,
        request: &Request<Bytes>,
        most: usize,
    ) -> Result<Answer, Error> {
        let request = request.clone().map(Full::from);
        let http = self.http()?;
        let answered = async {
            let answer = http.request(request).await.map_err(Error::aws(call))?;
            let status = answer.status();
            let content_type = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let content_type = content_type.unwrap_or_default().to_owned();
            let body = match Limited::new(answer.into_body(), most).collect().await {
                Ok(body) => Some(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => None,
                Err(error) => return Err(Error::aws(call)(std::io::Error::other(error))),
            };
            Ok(Answer { status, content_type, body })
        };
        timeout(TO_ATTEMPT, answered).await.map_err(Error::aws(call))?
    }

    /// Made when it is needed: the trusted roots take a while to read, and most runs need none of this.
    fn http(&self) -> Result<&Http, Error> {
        if let Some(http) = self.0.get() {
            return Ok(http);
        }
        let connector = HttpsConnectorBuilder::new().with_native_roots();
        let connector = connector.map_err(|error| Error::Configuration(error.to_string()))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TO_CONNECT));
        let connector = connector.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(self.0.get_or_init(|| Client::builder(TokioExecutor::new()).build(connector)))
    }
}

/// Puts an answer where whoever waits for it has said, by a URL that is signed already.
///
/// # Errors
/// [`Error::Aws`], also when it is not taken.
pub async fn put(url: &str, answer: &impl Serialize) -> Result<(), Error> {
    const CALL: &str = "PUT";
    let text = serde_json::to_vec(answer).map_err(Error::aws(CALL))?;
    let request = Request::put(url).body(Bytes::from(text)).map_err(Error::aws(CALL))?;
    let answer = Requests::default().send(CALL, &request, 10_000).await?;
    if !answer.status.is_success() {
        return Err(Error::aws(CALL)(Unexpected(answer.status)));
    }
    Ok(())
}
