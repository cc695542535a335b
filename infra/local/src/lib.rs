//! The command line, and the local stack: Oncekey whole, in one process, without AWS, Java, Docker or network.
//!
//! What is imitated here is AWS, at the wire: an embedded DynamoDB API ([`dynoxide`]), an SQS endpoint ([`sqs`]) and
//! Lambda's event source mappings (`mapping.rs`). Above that runs the very code that runs on AWS.

pub mod cli;
mod data;
pub mod dev;
pub mod error;
mod mapping;
pub mod sqs;
pub mod stack;
mod tables;

pub use error::StackError;
pub use stack::{Options, Stack, Storage};
