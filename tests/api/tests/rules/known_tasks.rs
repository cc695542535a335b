//! R130: who triggers a task that no worker has declared is told so.

use std::time::Duration;

use oncekey_tests_api::{COUNTS_IN_REAL_TIME, DEV, Oncekey, PROD, Place, answer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::dashboard::Visitor;

/// What a trigger of a task is warned of.
async fn warned(oncekey: &Oncekey, task: &str) -> Value {
    let (status, answered) = oncekey.try_trigger(task, json!({ "payload": 1 })).await;
    assert_eq!(status, StatusCode::OK, "{answered}");
    answered["warnings"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn r130_a_trigger_of_a_task_that_no_worker_has_declared_is_warned_and_done() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    assert_ne!(warned(&oncekey, "of-another-stack").await, Value::Null, "nobody has declared it yet");

    let manifest = json!({ "tasks": [{ "id": "of-another-stack" }] }).to_string();
    let (status, told) = answer(oncekey.request(Method::PUT, "/api/v1/workers/mine").body(manifest)).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    assert_ne!(warned(&oncekey, "of-another-stack").await, Value::Null, "what was known a moment ago is gone by");
    oncekey.clock.advance(Duration::from_secs(61));
    let warning = warned(&oncekey, "nobodys").await;
    let told = warning[0].as_str().unwrap();
    assert!(told.starts_with("no worker has declared the task nobodys in local/dev: check its name"), "{told}");
    for known in ["of-another-stack", "echo"] {
        assert_eq!(warned(&oncekey, known).await, Value::Null, "{known}");
    }

    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    for (task, is_told) in [("nobodys", true), ("echo", false)] {
        let fields = [("task", task), ("request", task), ("payload", "1")];
        let page = visitor.send("/try", "/try", &fields).await.text().await.unwrap();
        assert!(page.contains("id=\"outcome\""), "{page}");
        assert_eq!(page.contains("no worker has declared the task"), is_told, "{task}: {page}");
    }
    assert_eq!(warned(&oncekey.as_key(PROD), "nobodys").await, Value::Null, "where nothing was ever declared");
}
