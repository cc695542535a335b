//! Conditional writes: what came of one, and the one place that knows how DynamoDB says no.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;

use crate::error::Error;

/// What came of a conditional write.
pub(super) enum Written<T> {
    /// It was made.
    Done(T),
    /// Its condition did not hold. With the item that stood in the way, if the write asked for it and there was one.
    Refused(Option<HashMap<String, AttributeValue>>),
}

impl<T> Written<T> {
    /// Whether it was made.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// What it answered, if it was made.
    pub(super) fn done(self) -> Option<T> {
        match self {
            Self::Done(answer) => Some(answer),
            Self::Refused(_) => None,
        }
    }
}

/// What DynamoDB says of a request that it will never take.
const FOR_GOOD: &str = "ValidationException";

/// The error of an operation that can be refused by its condition.
pub(super) trait Conditional: ProvideErrorMetadata + std::error::Error + Send + Sync + Sized + 'static {
    /// The refusal, or the error that it is instead.
    fn refusal(self) -> Result<ConditionalCheckFailedException, Self>;
}

macro_rules! conditional {
    ($($error:ident),+) => {$(
        impl Conditional for $error {
            fn refusal(self) -> Result<ConditionalCheckFailedException, Self> {
                match self {
                    Self::ConditionalCheckFailedException(refusal) => Ok(refusal),
                    other => Err(other),
                }
            }
        }
    )+};
}
conditional!(PutItemError, UpdateItemError, DeleteItemError);

/// What came of a conditional write that was sent as `call`.
///
/// # Errors
/// [`Error::Refused`] for what cannot be written, as an item that is too large; [`Error::Aws`]. A refusal by its condition is no
/// error.
pub(super) fn written<T, E: Conditional>(
    call: &'static str,
    result: Result<T, SdkError<E, HttpResponse>>,
) -> Result<Written<T>, Error> {
    match result {
        Ok(answer) => Ok(Written::Done(answer)),
        Err(SdkError::ServiceError(error)) => match error.into_err().refusal() {
            Ok(refusal) => Ok(Written::Refused(refusal.item)),
            Err(other) if other.code() == Some(FOR_GOOD) => {
                Err(Error::Refused { call, why: other.message().unwrap_or(FOR_GOOD).to_owned() })
            }
            Err(other) => Err(Error::aws(call)(other)),
        },
        Err(error) => Err(Error::aws(call)(error)),
    }
}
