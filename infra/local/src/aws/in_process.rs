//! Calls to the embedded endpoints without a network between: the same requests, by the same SDKs, handed over in this
//! process. A TCP connection to ourselves cost more than half of what a run costs.

use std::fmt;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;

use crate::aws::sqs::{self, Queues};

/// Where calls go.
#[derive(Clone)]
pub(crate) enum Direct {
    DynamoDb(Database),
    Sqs(Queues),
}

impl Direct {
    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let action = target.split('.').next_back().unwrap_or_default().to_owned();
        let body = request.body().bytes().ok_or_else(|| ConnectorError::user("the body is a stream".into()))?;
        let (status, text) = match &self {
            Self::DynamoDb(database) => execute(database, &action, body),
            Self::Sqs(queues) => {
                // What queue URLs begin with.
                let host = request.uri().split('/').nth(2).unwrap_or("localhost");
                sqs::execute(queues, host, &action, body).await
            }
        };
        let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
        Ok(HttpResponse::new(status, SdkBody::from(text)))
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DynamoDb(_) => "DynamoDB",
            Self::Sqs(_) => "SQS",
        })
    }
}

impl HttpConnector for Direct {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().answer(request))
    }
}

impl HttpClient for Direct {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// Has the embedded DynamoDB carry out an operation that Oncekey uses: the status and the JSON that its endpoint would answer.
pub fn execute(database: &Database, operation: &str, body: &[u8]) -> (u16, String) {
    use dynoxide::DynoxideError as Failure;

    macro_rules! carry_out {
        ($($name:literal => $method:ident),+ $(,)?) => {
            match operation {
                $($name => serde_json::from_slice(body)
                    .map_err(|error| Failure::SerializationException(error.to_string()))
                    .and_then(|request| database.$method(request))
                    .and_then(|answer| {
                        serde_json::to_string(&answer).map_err(|error| Failure::InternalServerError(error.to_string()))
                    }),)+
                other => Err(Failure::ValidationException(format!("there is no operation {other:?} here"))),
            }
        };
    }
    let answer = carry_out!(
        "PutItem" => put_item,
        "GetItem" => get_item,
        "UpdateItem" => update_item,
        "DeleteItem" => delete_item,
        "BatchGetItem" => batch_get_item,
        "Query" => query,
        "Scan" => scan,
        "CreateTable" => create_table,
        "UpdateTimeToLive" => update_time_to_live,
    );
    match answer {
        Ok(text) => (200, text),
        Err(error) => (error.status_code(), error.to_json()),
    }
}
