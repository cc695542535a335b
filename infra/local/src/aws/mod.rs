//! What of AWS is imitated, at the wire: DynamoDB, SQS, EventBridge Scheduler, S3, API Gateway, and the ways in which Lambda calls functions.

pub mod dynamodb;
pub(crate) mod event_source;
pub(crate) mod gateway;
pub mod iam;
pub(crate) mod in_process;
pub(crate) mod lambda_api;
mod payload;
pub(crate) mod s3;
pub(crate) mod scheduler;
pub mod sqs;
