//! EventBridge Scheduler as processes ask for it: calls like any other, which may get lost, or their answers.

use futures_util::future::BoxFuture;
use oncekey_core::Error;
use oncekey_core::queue::schedules::{Schedule, Scheduler};
use serde_json::{Value, json};

use crate::network::{Network, SCHEDULER};

/// A client of Scheduler's.
#[derive(Clone, Debug)]
pub struct Schedules(pub Network);

impl Schedules {
    async fn call(&self, operation: &'static str, body: Value) -> Result<(), Error> {
        let failed = |why: String| Error::Aws { call: operation, source: why.into() };
        match self.0.ask(format!("{SCHEDULER}.{operation}"), body).await {
            // There already, or gone already.
            Ok(200 | 404 | 409) => Ok(()),
            Ok(status) => Err(failed(format!("it answered {status}"))),
            Err(why) => Err(failed(why)),
        }
    }
}

impl Scheduler for Schedules {
    fn create(&self, schedule: Schedule) -> BoxFuture<'_, Result<(), Error>> {
        let Schedule { name, at, queue_url, message } = schedule;
        let body = json!({ "Name": name, "At": at.millis(), "QueueUrl": queue_url, "MessageBody": message });
        Box::pin(self.call("CreateSchedule", body))
    }

    fn delete(&self, name: String) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.call("DeleteSchedule", json!({ "Name": name })))
    }
}
