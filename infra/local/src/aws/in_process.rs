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

use crate::aws::dynamodb;
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
        let (status, text, error) = match &self {
            Self::DynamoDb(database) => {
                let (status, text) = dynamodb::execute(database, &action, body);
                (status, text, None)
            }
            Self::Sqs(queues) => {
                // What queue URLs begin with.
                let host = request.uri().split('/').nth(2).unwrap_or("localhost");
                let sqs::Answer { status, body, error } = sqs::execute(queues, host, &action, body).await;
                (status.as_u16(), body, error)
            }
        };
        let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
        let mut response = HttpResponse::new(status, SdkBody::from(text));
        if let Some(error) = error {
            response.headers_mut().insert("x-amzn-query-error", error);
        }
        Ok(response)
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
