//! What API Gateway and Lambda would not carry does not reach a function here either.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use oncekey::{Options, Stack};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// What a POST of this body is answered.
async fn post(stack: &Stack, kind: &str, body: Vec<u8>) -> (StatusCode, Option<Value>) {
    let request = reqwest::Client::new().post(format!("{}/api/v1/tasks/echo/trigger", stack.url()));
    let answer = request.bearer_auth("tr_dev_local").header("content-type", kind).body(body).send().await.unwrap();
    (answer.status(), answer.json().await.ok())
}

#[tokio::test]
async fn a_request_that_lambda_does_not_carry_is_refused_in_the_gateways_words() {
    let stack = Stack::start(Options::in_memory()).await.unwrap();
    let refused = (StatusCode::PAYLOAD_TOO_LARGE, Some(json!({ "message": "Request Entity Too Large" })));
    // Six megabytes of text; what takes more as JSON; what is no text, and so takes a third more.
    for (kind, byte, bytes) in [
        ("application/json", b'x', 6_300_000),
        ("application/json", b'"', 3_200_000),
        ("application/octet-stream", b'x', 4_719_000),
    ] {
        assert_eq!(post(&stack, kind, vec![byte; bytes]).await, refused, "{kind} {bytes}");
    }
    // Our own limit is less, and in our words.
    let (status, told) = post(&stack, "application/json", vec![b'x'; 5_000_000]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(told.unwrap()["error"].as_str().unwrap().contains("4.5 MiB"));
}

#[tokio::test]
async fn a_request_over_ten_megabytes_is_refused() {
    let stack = Stack::start(Options::in_memory()).await.unwrap();
    let (status, _) = post(&stack, "application/json", vec![b'x'; 10 * 1024 * 1024 + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}
