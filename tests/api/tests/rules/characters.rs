//! Characters that SQS refuses travel all the same: in keys, tags, payloads, metadata, outputs and errors.

use aws_sdk_sqs::types::Message;
use oncekey_tests_api::{Oncekey, Place};
use oncekey_worker::{Child, Context, Task, TaskError, Worker};
use serde_json::{Value, json};

/// Of each kind that SQS refuses, among some that it takes.
const ODD: &str = "a\u{FFFE}\u{FFFF}b\u{0}\u{1}\u{8}\u{B}\u{C}\u{1F}\u{7F}\t\u{FFFD}\u{10FFFF}\\ufffe\\";

/// `fail` fails with its payload's text; `ask` triggers `echo` with its payload, waits for it, and triggers it by message.
fn tasks() -> Worker {
    let fail = Task::new("fail", |_: Context, text: String| async move { Err::<(), _>(TaskError::abort(text)) });
    let echo = Task::new("echo", |_: Context, payload: Value| async move { Ok(payload) });
    let ask = Task::new("ask", |ctx: Context, payload: Value| async move {
        ctx.enqueue_trigger(Child::new("echo", &payload).tags(["by-message"])).await?;
        let output: Value = ctx.trigger_and_wait(Child::new("echo", &payload).idempotency_key(ODD)).await?;
        Ok::<_, TaskError>(output)
    });
    Worker::new().task(fail).task(echo).task(ask)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_tags_payloads_metadata_and_outputs_have_any_characters() {
    let oncekey = Oncekey::anywhere().await;
    let options = json!({ "idempotencyKey": ODD, "tags": [ODD], "metadata": { ODD: ODD }, "maxAttempts": 1 });
    let payload = json!({ ODD: [ODD, { "of": ODD }] });
    let handle = oncekey.trigger("echo", json!({ "payload": payload, "options": options })).await;
    let run = oncekey.finished(&handle.id).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    assert_eq!((&run["payload"], &run["output"]), (&payload, &payload));
    assert_eq!((&run["tags"], &run["metadata"]), (&json!([ODD]), &json!({ ODD: ODD })));
    assert_eq!(run["idempotencyKey"], ODD);
    assert!(oncekey.keyed("echo", ODD).await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_what_tasks_trigger_have_any_characters() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(place, tasks(), |options| options).await;
    let failed = oncekey.trigger("fail", json!({ "payload": ODD })).await;
    let failed = oncekey.finished(&failed.id).await;
    assert_eq!((&failed["status"], &failed["error"]["message"]), (&json!("FAILED"), &json!(ODD)), "{failed:#}");
    let asked = oncekey.trigger("ask", json!({ "payload": [ODD] })).await;
    let asked = oncekey.finished(&asked.id).await;
    assert_eq!((&asked["status"], &asked["output"]), (&json!("COMPLETED"), &json!([ODD])), "{asked:#}");
    oncekey.drained("oncekey-triggers").await;
    let by_message = oncekey.list("filter[tag]=by-message").await["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(oncekey.finished(&by_message).await["output"], json!([ODD]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_why_a_message_was_buried_is_one_that_sqs_takes() {
    let Some(place) = Place::here_alone("ElasticMQ takes any character") else { return };
    let oncekey = Oncekey::start(place).await;
    // One as large as a message may be but for twenty bytes, of which the reason's name and type take nineteen.
    let task = "\\ufffe\\u0001".repeat(10);
    let small = format!(r#"{{"environment":"local/dev","task":"{task}","payload":""}}"#);
    let large = small.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(1024 * 1024 - 20 - small.len())));
    for body in [&small, &large] {
        oncekey.send("oncekey-triggers", body).await;
    }
    oncekey.drained("oncekey-triggers").await;
    let sqs = oncekey.stack().sqs().1;
    let mut reasons = Vec::new();
    while reasons.len() < 2 {
        let receive = sqs.receive_message().queue_url(oncekey.queue_url("oncekey-triggers-dead"));
        let received = receive.message_attribute_names("All").wait_time_seconds(20).send().await.unwrap();
        let of = |message: Message| message.message_attributes.unwrap()["oncekey-error"].string_value.clone().unwrap();
        reasons.extend(received.messages.unwrap_or_default().into_iter().map(of));
    }
    reasons.sort();
    assert_eq!(reasons[0], "t");
    assert!(reasons[1].starts_with("task: "), "{reasons:?}");
}
