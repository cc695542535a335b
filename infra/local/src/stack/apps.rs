//! What each function holds: the same as all others, unless somebody wants to know which of them calls.

use std::collections::BTreeMap;

use aws_sdk_sqs::Client;
use oncekey_core::App;
use oncekey_core::queue::name::QueueName;

use crate::aws::iam::{Caller, Function, Permissions};

/// An app, and its client of SQS.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub app: App,
    pub sqs: Client,
}

/// The stack's own app, and those of its functions where they are told apart.
#[derive(Debug)]
pub(super) struct Apps {
    pub own: Held,
    pub of: BTreeMap<Function, Held>,
}

impl Apps {
    /// What a function holds.
    pub(super) fn of(&self, function: &Function) -> &Held {
        self.of.get(function).unwrap_or(&self.own)
    }
}

/// The functions whose calls are told apart: none, unless there is somebody who says what they may.
pub(super) fn callers(permissions: Option<&Permissions>, queues: impl Iterator<Item = QueueName>) -> Vec<Caller> {
    let Some(permissions) = permissions else { return Vec::new() };
    let functions =
        [Function::Trigger, Function::Ingest, Function::Reset, Function::Runs, Function::Dashboard, Function::Complete];
    let functions = functions.into_iter().chain(queues.map(Function::Worker));
    functions.map(|function| Caller { function, permissions: permissions.clone() }).collect()
}
