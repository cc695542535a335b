//! I10: bad input is refused with a message that says what to change; nothing is written.

use oncekey_tests_api::{Oncekey, Place, answer};
use serde_json::{Value, json};

async fn refused(oncekey: &Oncekey, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let response = oncekey.post(path, body).send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["x-should-retry"], "false");
    let body: Value = response.json().await.unwrap();
    (status, body["error"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_trigger_is_400_naming_the_field_and_nothing_is_written() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let path = "/api/v1/tasks/echo/trigger";
    let long_tag = json!({ "options": { "tags": ["t".repeat(129)] } }).to_string();
    let long_parent = json!({ "options": { "parentRunId": "r".repeat(129) } }).to_string();
    let large_machine = json!({ "options": { "machine": "m".repeat(500_000) } }).to_string();
    for (body, expected) in [
        (large_machine.as_str(), "options.machine: "),
        ("", "body: "),
        ("{", "body: "),
        ("[]", "body: "),
        ("{} {}", "body: "),
        (r#"{"payload": "\ud800"}"#, "payload: "),
        (r#"{"options": 1}"#, "options: "),
        (r#"{"options": []}"#, "options: "),
        (r#"{"options": {"idempotencyKey": 5}}"#, "options.idempotencyKey: "),
        (
            r#"{"options": {"idempotencyKey": "k", "idempotencyKeyOptions": {"key": "k", "scope": "galaxy"}}}"#,
            "options.idempotencyKeyOptions.scope: ",
        ),
        (r#"{"options": {"idempotencyKeyTTL": "soon"}}"#, "options.idempotencyKeyTTL: "),
        (r#"{"options": {"delay": "soon"}}"#, "options.delay: "),
        (r#"{"options": {"delay": "2y"}}"#, "options.delay: "),
        (r#"{"options": {"delay": "53w"}}"#, "options.delay: "),
        (r#"{"options": {"ttl": -1}}"#, "options.ttl: "),
        (r#"{"options": {"ttl": "soon"}}"#, "options.ttl: "),
        (r#"{"options": {"tags": ["a",5]}}"#, "options.tags: "),
        (r#"{"options": {"tags": ["1","2","3","4","5","6","7","8","9","10","11"]}}"#, "options.tags: "),
        (long_tag.as_str(), "options.tags: "),
        (r#"{"options": {"maxAttempts": 0}}"#, "options.maxAttempts: "),
        (r#"{"options": {"maxAttempts": 1.5}}"#, "options.maxAttempts: "),
        (r#"{"options": {"maxDuration": 0}}"#, "options.maxDuration: "),
        (r#"{"options": {"payloadType": "image/png"}}"#, "options.payloadType: "),
        (r#"{"options": {"queue": {"name": "no where"}}}"#, "options.queue.name: \"no where\" names no queue: give "),
        (long_parent.as_str(), "options.parentRunId: "),
        (r#"{"options": {"metadata": []}}"#, "options.metadata: "),
        (r#"{"options": {"metadata": ["a"]}}"#, "options.metadata: "),
        (r#"{"options": {"metadata": "text"}}"#, "options.metadata: "),
        (r#"{"options": {"metadata": 5}}"#, "options.metadata: "),
        (
            r#"{"payload": {"orderId": null}, "options": {"idempotencyKeyFrom": ["/orderId"]}}"#,
            "options.idempotencyKeyFrom: ",
        ),
        (r#"{"payload": "no json", "options": {"payloadType": "application/super+json"}}"#, "payload: "),
    ] {
        let (status, error) = refused(&oncekey, path, body.to_owned()).await;
        assert_eq!(status, 400, "{body}: {error}");
        assert!(error.starts_with(expected), "{body}: {error}");
    }
    assert!(oncekey.all_runs().await.is_empty());
    assert_eq!(oncekey.depth("oncekey-runs").await, [0; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_id_has_128_characters_of_a_small_set() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    for task in ["a%20b", "a%23b", "%C3%BC", "a%00", &"t".repeat(129)] {
        let (status, error) = refused(&oncekey, &format!("/api/v1/tasks/{task}/trigger"), "{}").await;
        assert_eq!(status, 400, "{task}");
        assert_eq!(error, "task id: use 1 to 128 characters of A-Z, a-z, 0-9, _ . : / and -");
    }
    let (status, error) = refused(&oncekey, "/api/v1/tasks/%FF/trigger", "{}").await;
    assert_eq!((status, error.as_str()), (400, "path: it is not UTF-8 when decoded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_the_meaning_if_ignored_is_422_by_name() {
    let oncekey = Oncekey::anywhere().await;
    for (option, value) in
        [("debounce", json!({ "key": "k", "delay": "1s" })), ("resumeParentOnCompletion", json!(true))]
    {
        let (status, error) =
            refused(&oncekey, "/api/v1/tasks/echo/trigger", json!({ "options": { option: value } }).to_string()).await;
        assert_eq!(status, 422);
        assert_eq!(error, format!("options.{option} is not supported: leave it out"));
    }
    let placed = json!({ "options": { "machine": "micro", "priority": 3, "concurrencyKey": 7, "unheardOf": true } });
    oncekey.trigger("echo", placed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_over_3_mb_is_413_saying_the_limit() {
    let oncekey = Oncekey::anywhere().await;
    for (payload, limit) in [(3 * 1024 * 1024, "3145728 (3 MB)"), (5 * 1024 * 1024, "4718592 bytes (4.5 MiB)")] {
        let body = json!({ "payload": "x".repeat(payload) }).to_string();
        let (status, error) = refused(&oncekey, "/api/v1/tasks/echo/trigger", body).await;
        assert_eq!(status, 413);
        assert!(error.contains(limit), "{error}");
    }
    let metadata = json!({ "options": { "metadata": { "x": "x".repeat(32 * 1024) } } }).to_string();
    assert_eq!(refused(&oncekey, "/api/v1/tasks/echo/trigger", metadata).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_methods_and_ids_answer_like_every_other_error() {
    let oncekey = Oncekey::anywhere().await;
    assert_eq!(refused(&oncekey, "/api/v9/nothing", "").await, (404, "there is no POST /api/v9/nothing".to_owned()));
    let (status, error) = refused(&oncekey, "/api/v1/schedules", "{}").await;
    assert!(status == 422 && error.starts_with("Oncekey has no schedules: let EventBridge"), "{error}");
    assert_eq!(refused(&oncekey, "/api/v1/runs", "").await.0, 405);
    assert_eq!(refused(&oncekey, "/api/v2/runs/run_1/cancel", "").await.0, 404);
    assert_eq!(refused(&oncekey, "/api/v1/idempotencyKeys/k/reset", "{}").await.0, 400);
    assert_eq!(answer(oncekey.get("/api/v1/runs?page[size]=0")).await.0, 400);
    let long_id =
        oncekey.post("/api/v1/tasks/echo/trigger", "{}").header("x-trigger-request-idempotency-key", "x".repeat(256));
    assert_eq!(answer(long_id).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shown_text_of_a_key_is_cut_and_never_refused() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    for characters in [5_000, 500_000] {
        let hash = format!("{characters:064}");
        let key = json!({ "key": "k".repeat(characters), "scope": "global" });
        let options = json!({ "idempotencyKey": hash, "idempotencyKeyOptions": key });
        let body = json!({ "options": options }).to_string();
        let triggered = answer(oncekey.post("/api/v1/tasks/echo/trigger", body)).await;
        assert_eq!(triggered.1["idempotency"]["key"].as_str().unwrap().chars().count(), 2_048, "{triggered:?}");
        let body = json!({ "runCount": 1, "idempotencyKey": hash, "idempotencyKeyOptions": key }).to_string();
        let (status, batch) = answer(oncekey.post("/api/v3/batches", body)).await;
        assert_eq!(status, 202, "{batch}");
        assert!(batch["idempotencyKey"].as_str().unwrap().ends_with("k…"), "{batch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_options_of_a_batchs_key_are_an_object_as_those_of_a_trigger_are() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    for options in [r#"["k","global"]"#, r#""k""#, "5", r#"{"key": "k"}"#, r#"{"key": 1, "scope": "run"}"#] {
        let batch = format!(r#"{{"runCount": 1, "idempotencyKey": "k", "idempotencyKeyOptions": {options}}}"#);
        let (status, error) = refused(&oncekey, "/api/v3/batches", batch).await;
        assert_eq!(status, 400, "{options}: {error}");
        assert!(error.starts_with("idempotencyKeyOptions"), "{options}: {error}");
        let trigger = format!(r#"{{"options": {{"idempotencyKey": "k", "idempotencyKeyOptions": {options}}}}}"#);
        let (status, error) = refused(&oncekey, "/api/v1/tasks/echo/trigger", trigger).await;
        assert_eq!(status, 400, "{options}: {error}");
    }
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_in_words_that_help() {
    let oncekey = Oncekey::anywhere().await;
    let path = "/api/v1/tasks/echo/trigger";
    let gzip = oncekey.post(path, "{}").header("content-encoding", "gzip");
    let (status, refusal) = answer(gzip).await;
    assert_eq!((status.as_u16(), refusal["error"].as_str().unwrap().contains("without an encoding")), (415, true));
    for (body, wanted) in [
        ("", "body: it is empty: send a JSON object"),
        (" \n", "body: it is empty: send a JSON object"),
        (
            r#"{"options": {"idempotencyKeyTTL": 60}}"#,
            "options.idempotencyKeyTTL: 60 is not a duration: give a text of",
        ),
        (r#"{"options": []}"#, "options: invalid type: list, expected an object"),
    ] {
        let (status, text) = refused(&oncekey, path, body).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.starts_with(wanted) && !text.contains("at line"), "{text}");
    }
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_and_the_clients_word_for_no_limit_are_read() {
    let oncekey = Oncekey::anywhere().await;
    let body = "\u{FEFF}{\"payload\": 1, \"options\": {\"maxDuration\": 2147483647}}";
    let (status, made) = answer(oncekey.post("/api/v1/tasks/echo/trigger", body)).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(oncekey.finished(made["id"].as_str().unwrap()).await["output"], 1);
}
