//! The command line, and the local stack: Oncekey whole, in one process, without AWS, Java, Docker or network.
//!
//! What is imitated here is AWS, at the wire: an embedded DynamoDB API ([`dynoxide`]), an SQS endpoint ([`aws::sqs`]) and
//! Lambda's event source mappings. [`stack`] starts it all in order, and [`cli`] has one file a command. Above that runs the very code that runs on AWS.

pub mod aws;
pub mod cli;
pub mod error;
pub(crate) mod lines;
pub(crate) mod loopback;
pub(crate) mod private;
pub mod stack;
pub(crate) mod tasks;

/// The stack's threads allocate all the time, and glibc has them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The OpenAPI description of the HTTP API, generated from the code, as JSON.
#[must_use]
pub fn openapi() -> String {
    let parts =
        [oncekey_function_trigger::openapi(), oncekey_function_reset::openapi(), oncekey_function_runs::openapi()];
    oncekey_http::describe(parts).to_pretty_json().unwrap_or_default()
}

pub use error::StackError;
pub use lines::Lines;
pub use stack::{Options, Stack, Storage};
