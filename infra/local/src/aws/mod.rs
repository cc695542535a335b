//! What of AWS is imitated, at the wire: SQS, S3, and the ways in which Lambda calls functions.

pub(crate) mod event_source;
pub mod in_process;
pub(crate) mod lambda_api;
pub(crate) mod s3;
pub mod sqs;
