//! What trips clients of the wire contract, each seen from outside.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream;
use oncekey_core::EnvironmentId;
use oncekey_core::environment::create;
use oncekey_tests_api::{Oncekey, Place, answer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn nulls(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(at.to_owned()),
        Value::Array(items) => items.iter().for_each(|item| nulls(&format!("{at}[]"), item, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| nulls(&format!("{at}.{name}"), field, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_has_a_field_that_is_null() {
    let oncekey = Oncekey::anywhere().await;
    let plain = oncekey.trigger("echo", json!({})).await.id;
    let keyed = oncekey.keyed("echo", "k").await.id;
    let failed = oncekey.trigger("fail", json!({})).await.id;
    let delayed = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await.id;
    for id in [&plain, &keyed, &failed] {
        oncekey.finished(id).await;
    }
    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 2 }).to_string())).await;
    let batch = batch["id"].as_str().unwrap().to_owned();
    let item = json!({ "index": 0, "task": "no such task!" }).to_string();
    let mut found = Vec::new();
    for request in [
        oncekey.post("/api/v1/tasks/echo/trigger", json!({ "options": { "idempotencyKey": "k" } }).to_string()),
        oncekey.post("/api/v1/tasks/echo/trigger", "{}"),
        oncekey.post("/api/v3/batches", json!({ "runCount": 1 }).to_string()),
        oncekey.post(&format!("/api/v3/batches/{batch}/items"), item),
        oncekey.get(&format!("/api/v2/batches/{batch}")),
        oncekey.get(&format!("/api/v3/runs/{plain}")),
        oncekey.get(&format!("/api/v3/runs/{keyed}")),
        oncekey.get(&format!("/api/v3/runs/{failed}")),
        oncekey.get("/api/v1/runs"),
        oncekey.get("/api/v1/idempotencyKeys/k?taskIdentifier=echo"),
        oncekey.post(&format!("/api/v1/runs/{delayed}/reschedule"), json!({ "delay": "2h" }).to_string()),
        oncekey.post(&format!("/api/v1/runs/{plain}/replay"), ""),
        oncekey.post(&format!("/api/v2/runs/{delayed}/cancel"), ""),
        oncekey.post("/api/v1/idempotencyKeys/k/reset", json!({ "taskIdentifier": "echo" }).to_string()),
        oncekey.request(Method::PUT, "/api/v2/packets/x"),
        oncekey.get("/api/v1/packets/x"),
        oncekey.get("/api/v1/nothing"),
    ] {
        let path = request.try_clone().unwrap().build().unwrap().url().path().to_owned();
        nulls(&path, &answer(request).await.1, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_404_says_that_a_retry_is_in_vain() {
    let oncekey = Oncekey::anywhere().await;
    let run = format!("run_{}", "a".repeat(32));
    for request in [
        oncekey.get(&format!("/api/v3/runs/{run}")),
        oncekey.post(&format!("/api/v2/runs/{run}/cancel"), ""),
        oncekey.post(&format!("/api/v1/runs/{run}/replay"), ""),
        oncekey.post(&format!("/api/v1/runs/{run}/reschedule"), r#"{"delay":"1h"}"#),
        oncekey.get(&format!("/api/v2/batches/batch_{}", "a".repeat(32))),
        oncekey.get("/api/v1/idempotencyKeys/k?taskIdentifier=echo"),
        oncekey.post("/api/v1/idempotencyKeys/k/reset", r#"{"taskIdentifier":"echo"}"#),
        oncekey.get("/api/v1/nothing"),
    ] {
        let response = request.send().await.unwrap();
        let path = response.url().path().to_owned();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()["x-should-retry"], "false", "{path}");
        assert!(response.json::<Value>().await.unwrap()["error"].is_string(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn task_ids_and_keys_arrive_percent_encoded() {
    let oncekey = Oncekey::anywhere().await;
    let options = json!({ "options": { "idempotencyKey": "order/42 ü/", "delay": "1h" } });
    let run = oncekey.trigger("mail%2Fsend%3Anow", options).await;
    assert_eq!(oncekey.run(&run.id).await["taskIdentifier"], "mail/send:now");
    let key = "order%2F42%20%C3%BC%2F";
    let lookup = format!("/api/v1/idempotencyKeys/{key}?taskIdentifier=mail%2Fsend%3Anow");
    let (status, held) = answer(oncekey.get(&lookup)).await;
    assert_eq!((status, held["runId"].as_str()), (StatusCode::OK, Some(run.id.as_str())), "{held}");
    assert_eq!(oncekey.reset("mail/send:now", key).await.0, StatusCode::OK);
    assert_eq!(answer(oncekey.get(&lookup)).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_may_be_a_number_or_a_string_and_a_delay_a_string_or_a_date() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let date = oncekey.clock.now().plus(Duration::from_secs(3_600)).to_string();
    for (option, values, field) in
        [("ttl", [json!(600), json!("10m")], "ttl"), ("delay", [json!("1h"), json!(date)], "delayedUntil")]
    {
        let mut shown = BTreeSet::new();
        for value in values {
            let run = oncekey.trigger("echo", json!({ "options": { option: value } })).await;
            shown.insert(oncekey.run(&run.id).await[field].as_str().unwrap().to_owned());
        }
        assert_eq!(shown.len(), 1, "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_arrive_in_chunks_cut_anywhere_and_too_many_bytes_are_413() {
    let oncekey = Oncekey::anywhere().await;
    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 2 }).to_string())).await;
    let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap());
    let lines = "{\"index\":0,\"task\":\"echo\",\"payload\":\"ü\"}\n{\"index\":1,\"task\":\"echo\"}";
    let chunks: Vec<_> = lines.bytes().map(|byte| Ok::<_, std::io::Error>(vec![byte])).collect();
    let (status, sealed) = answer(oncekey.post(&path, reqwest::Body::wrap_stream(stream::iter(chunks)))).await;
    assert_eq!((status, &sealed["sealed"]), (StatusCode::OK, &json!(true)), "{sealed}");
    // Of bytes that take no more as JSON, which is how Lambda is given them: it carries 6 MB.
    let chunks = (0..5).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000_000]));
    let (status, error) = answer(oncekey.post(&path, reqwest::Body::wrap_stream(stream::iter(chunks)))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(error["error"].as_str().unwrap().contains("4.5 MiB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_cannot_be_kept_is_400_and_says_why() {
    let oncekey = Oncekey::anywhere().await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let options = r#"{"options":{"tags":"\ud800"}}"#.to_owned();
    let text = r#"{"payload":"\udc00","options":{"payloadType":"text/plain"}}"#.to_owned();
    for (body, why) in [
        (r#"{"payload":["\ud800"]}"#.to_owned(), "a lone surrogate"),
        (options, "a lone surrogate"),
        (text, "a lone surrogate"),
        (format!("{{\"payload\":{deep}}}"), "128 deep"),
    ] {
        let (status, error) = answer(oncekey.post("/api/v1/tasks/echo/trigger", body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(error["error"].as_str().unwrap().contains(why), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_1_to_100_runs_and_a_batch_up_to_1000_items() {
    let oncekey = Oncekey::anywhere().await;
    for (size, status) in [("0", 400), ("1", 200), ("100", 200), ("101", 400), ("x", 400), ("-1", 400)] {
        let (got, error) = answer(oncekey.get(&format!("/api/v1/runs?page[size]={size}"))).await;
        assert_eq!(got, status, "{size}");
        assert!(got == 200 || error["error"].as_str().unwrap().contains("100"), "{error}");
    }
    for (count, status) in [(0, 202), (1, 202), (1_000, 202), (1_001, 400)] {
        let request = oncekey.post("/api/v3/batches", json!({ "runCount": count }).to_string());
        let (got, error) = answer(request).await;
        assert_eq!(got, status, "{count}");
        assert!(got == 202 || error["error"].as_str().unwrap().contains("1000"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_api_key_looks_like_one_that_makes_the_client_ask_for_a_token() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    for environment in ["acme/dev", "acme/stg", "acme/prod", "acme/preview"] {
        let environment = EnvironmentId::parse(environment).unwrap();
        let key = create(&oncekey.app().store, &oncekey.clock, &environment).await.unwrap();
        let secret = key.reveal().strip_prefix(&format!("tr_{}_", environment.name())).unwrap();
        assert!(!secret.starts_with("sk_") && secret.len() >= 32, "{secret}");
    }
}
