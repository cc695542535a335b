//! Triggers that arrive as messages.

use oncekey_tests_api::{Oncekey, Place};
use serde_json::{Value, json};

fn message(key: &str) -> Value {
    json!({ "environment": "local/dev", "task": "echo", "payload": { "n": 1 }, "options": { "idempotencyKey": key } })
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_a_message_triggers_and_is_deduplicated_like_a_request() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    for _ in 0..3 {
        oncekey.send("oncekey-triggers", message("k").to_string()).await;
    }
    oncekey.drained("oncekey-triggers").await;
    let runs = oncekey.all_runs().await;
    assert_eq!(runs.len(), 1);
    assert_eq!(oncekey.finished(&runs[0]).await["output"], json!({ "n": 1 }));
    assert_eq!(oncekey.keyed("echo", "k").await.id, runs[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r04_messages_without_a_key_are_runs_of_their_own_unless_they_carry_one_request_id() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    for _ in 0..2 {
        oncekey.send("oncekey-triggers", json!({ "environment": "local/dev", "task": "echo" }).to_string()).await;
        let named = json!({ "environment": "local/dev", "task": "echo", "requestId": "one-request" });
        oncekey.send("oncekey-triggers", named.to_string()).await;
    }
    oncekey.drained("oncekey-triggers").await;
    assert_eq!(oncekey.all_runs().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_valid_goes_to_the_dead_letter_queue_and_its_batch_is_unharmed() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let bad = [
        "no json".to_owned(),
        json!({ "task": "echo" }).to_string(),
        json!({ "environment": "nowhere", "task": "echo" }).to_string(),
        json!({ "environment": "locl/dev", "task": "echo" }).to_string(),
        json!({ "environment": "local/dev", "task": "echo", "options": { "idempotencyKeyTTL": "soon" } }).to_string(),
    ];
    for body in &bad {
        oncekey.send("oncekey-triggers", body).await;
    }
    oncekey.send("oncekey-triggers", message("good").to_string()).await;
    oncekey.drained("oncekey-triggers").await;
    assert_eq!(oncekey.all_runs().await.len(), 1);

    let (_, sqs) = oncekey.stack().sqs();
    let dead = sqs
        .receive_message()
        .queue_url(oncekey.queue_url("oncekey-triggers-dead"))
        .max_number_of_messages(10)
        .message_attribute_names("All")
        .send()
        .await
        .unwrap();
    let mut reasons: Vec<String> = dead
        .messages()
        .iter()
        .map(|message| message.message_attributes().unwrap()["oncekey-error"].string_value().unwrap().to_owned())
        .collect();
    reasons.sort();
    let starts = [
        "body: ",
        "body: missing field `environment`",
        "environment: ",
        "environment: there is no environment locl/dev that an API key opens",
        "options.idempotencyKeyTTL: ",
    ];
    assert_eq!(reasons.len(), starts.len(), "{reasons:?}");
    for (reason, start) in reasons.iter().zip(starts) {
        assert!(reason.starts_with(start), "{reason}");
    }
}
