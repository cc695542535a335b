//! What a task's own code logs says whose it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::io;
use std::sync::{Arc, Mutex};

use oncekey_core::telemetry::logs::{lines, without_payloads};
use oncekey_tests_api::{Oncekey, Place};
use oncekey_worker::{Context, Task, Worker};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Alone in its process: logging is started once.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_a_task_logs_has_its_run_its_task_and_its_attempt() {
    let Some(place) = Place::own_stack() else { return };
    let written = Written::default();
    let to = written.clone();
    let lines = lines(move || to.clone());
    tracing_subscriber::registry().with(lines).with(LevelFilter::INFO).with(without_payloads()).init();
    let bill = Task::new("bill", |_: Context, payload: Value| async move {
        tracing::info!(order = 7, "charged");
        Ok(payload)
    });
    let oncekey = Oncekey::running(place, Worker::new().task(bill), |options| options).await;
    let run = oncekey.trigger("bill", json!({ "payload": "a secret" })).await;
    oncekey.finished(&run.id).await;
    let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let charged: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["message"] == "charged")
        .collect();
    let span = json!({ "name": "attempt", "run_id": run.id, "task": "bill", "attempt": 1, "environment": "local/dev" });
    assert_eq!(charged.len(), 1);
    assert_eq!((&charged[0]["order"], &charged[0]["span"]), (&json!(7), &span));
    assert!(!log.contains("a secret"));
}
