//! What stands under the AWS SDKs: every call waits for the scheduler's word.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::Value;
use tokio::sync::oneshot;

/// What the targets of calls to Scheduler begin with.
pub const SCHEDULER: &str = "AWSScheduler";

/// A process of the simulation.
pub type Process = u32;

thread_local! {
    static AT_WORK: Cell<Process> = const { Cell::new(0) };
}

/// Says whose calls are made from here on in this thread.
pub fn at_work(process: Process) {
    AT_WORK.set(process);
}

/// A call that waits.
pub struct Pending {
    /// Who made it.
    pub process: Process,
    /// `DynamoDB_20120810.PutItem`, `AmazonSQS.SendMessage`, …
    pub target: String,
    /// Its body.
    pub body: Value,
    answer: oneshot::Sender<Result<HttpResponse, ConnectorError>>,
}

impl Pending {
    /// Whether it is SQS that was called.
    #[must_use]
    pub fn is_of_sqs(&self) -> bool {
        self.target.starts_with("AmazonSQS")
    }

    /// Whether it is Scheduler.
    #[must_use]
    pub fn is_of_scheduler(&self) -> bool {
        self.target.starts_with(SCHEDULER)
    }

    /// Whether it is DynamoDB.
    #[must_use]
    pub fn is_of_dynamodb(&self) -> bool {
        !self.is_of_sqs() && !self.is_of_scheduler()
    }

    /// Lets it have this answer.
    pub fn answer(self, status: u16, body: String) {
        let status = StatusCode::try_from(status).expect("a status");
        // Nobody waits for it when its process has died.
        let _ = self.answer.send(Ok(HttpResponse::new(status, SdkBody::from(body))));
    }

    /// Lets it fail as a call does that is not answered in time.
    pub fn time_out(self) {
        let _ = self.answer.send(Err(ConnectorError::timeout("nobody answers".into())));
    }

    /// Lets it fail as a connection does that breaks.
    pub fn fail(self) {
        let broken = ConnectorError::io("the connection broke".into());
        let _ = self.answer.send(Err(broken));
    }
}

/// The calls that wait.
#[derive(Clone, Default)]
pub struct Network {
    pending: Arc<Mutex<Vec<Pending>>>,
}

impl Network {
    /// Takes the calls that have come since.
    pub fn take(&self) -> Vec<Pending> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has a call wait; how it is answered.
    fn wait(&self, target: String, body: Value) -> oneshot::Receiver<Result<HttpResponse, ConnectorError>> {
        let (answer, answered) = oneshot::channel();
        let pending = Pending { process: AT_WORK.get(), target, body, answer };
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(pending);
        answered
    }

    /// Makes a call without an SDK: the status that it is answered with.
    ///
    /// # Errors
    /// In words, when nobody answers.
    pub async fn ask(&self, target: String, body: Value) -> Result<u16, String> {
        match self.wait(target, body).await {
            Ok(Ok(answer)) => Ok(answer.status().as_u16()),
            Ok(Err(error)) => Err(format!("{error:?}")),
            Err(_) => Err("the process is dead".to_owned()),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl HttpConnector for Network {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let body = request.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let answered = self.wait(target, body);
        HttpConnectorFuture::new(async move {
            answered.await.unwrap_or_else(|_| Err(ConnectorError::io("the process is dead".into())))
        })
    }
}

impl HttpClient for Network {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
