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
use serde_json::json;

use crate::aws::dynamodb;
use crate::aws::iam::Caller;
use crate::aws::sqs::{self, Queues};

/// Where calls go.
#[derive(Clone)]
pub(crate) enum To {
    DynamoDb(Database),
    Sqs(Queues),
}

/// Where calls go, and who makes them, if somebody wants to know.
#[derive(Clone)]
pub(crate) struct Direct {
    pub to: To,
    pub caller: Option<Caller>,
}

impl Direct {
    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let action = target.split('.').next_back().unwrap_or_default().to_owned();
        let body = request.body().bytes().ok_or_else(|| ConnectorError::user("the body is a stream".into()))?;
        let denied = match (&self.caller, &self.to) {
            (None, _) => Ok(()),
            (Some(caller), To::DynamoDb(_)) => caller.ask_dynamodb(&action, body),
            (Some(caller), To::Sqs(_)) => caller.ask_sqs(&action, body),
        };
        let (status, text, error) = match (denied, &self.to) {
            (Err(words), _) => {
                let kind = "com.amazon.coral.service#AccessDeniedException";
                (400, json!({ "__type": kind, "message": words }).to_string(), None)
            }
            (Ok(()), To::DynamoDb(database)) => {
                let (status, text) = dynamodb::execute(database, &action, body);
                (status, text, None)
            }
            (Ok(()), To::Sqs(queues)) => {
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
        f.write_str(match self.to {
            To::DynamoDb(_) => "DynamoDB",
            To::Sqs(_) => "SQS",
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
