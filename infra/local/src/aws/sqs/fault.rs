//! Errors as SQS answers them.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde_json::{Value, json};

/// An error, by the name that its action's documentation gives it.
#[derive(Debug)]
pub(super) struct Fault {
    name: &'static str,
    message: String,
}

impl Fault {
    pub(super) fn sender(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, message: message.into() }
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::sender("MissingParameter", format!("The request must contain the parameter {field}."))
    }

    pub(super) fn status(&self) -> StatusCode {
        if self.is_ours() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST }
    }

    fn is_ours(&self) -> bool {
        self.name == "InternalFailure"
    }

    /// The answer of a request that failed of it.
    pub(super) fn body(&self) -> Value {
        let kind = match self.name {
            "InvalidParameterValue" => "com.amazon.coral.service#InvalidParameterValueException".to_owned(),
            "MissingParameter" => "com.amazon.coral.service#MissingRequiredParameterException".to_owned(),
            name => format!("com.amazonaws.sqs#{name}"),
        };
        json!({ "__type": kind, "message": self.message })
    }

    /// What an entry of a batch is answered that failed of it, while others did not.
    pub(super) fn of_entry(&self, id: &str) -> Value {
        json!({ "Id": id, "Code": self.code(), "Message": self.message, "SenderFault": !self.is_ours() })
    }

    /// The header `x-amzn-query-error`: the code that SQS's older protocol has for it, and whose fault it is. SDKs go by it.
    pub(super) fn query_error(&self) -> String {
        format!("{};{}", self.code(), if self.is_ours() { "Receiver" } else { "Sender" })
    }

    fn code(&self) -> Cow<'static, str> {
        match self.name {
            "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".into(),
            "InvalidMessageContents"
            | "InvalidParameterValue"
            | "MissingParameter"
            | "ReceiptHandleIsInvalid"
            | "InternalFailure" => self.name.into(),
            name => format!("AWS.SimpleQueueService.{name}").into(),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the queues' database failed");
        Self { name: "InternalFailure", message: error.to_string() }
    }
}
