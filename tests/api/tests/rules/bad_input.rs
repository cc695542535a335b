//! I10: bad input is refused with a message that says what to change; nothing is written.

use std::collections::BTreeSet;

use oncekey_tests_api::{Oncekey, Place, answer};
use oncekey_wire::options::NAMES;
use reqwest::Method;
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
        (
            r#"{"options": {"queue": {"name": "a\nb"}}}"#,
            "options.queue.name: use 1 to 128 characters, none of them a control ",
        ),
        (r#"{"options": {"concurrencyKey": 7}}"#, "options.concurrencyKey: give a text of 1 to 128 characters"),
        (
            r#"{"options": {"priority": "high"}}"#,
            "options.priority: give a number of seconds, from -31536000 to 31536000",
        ),
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
async fn i10_no_option_is_so_long_that_its_run_cannot_be() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let long = "m".repeat(450_000);
    let (mut refusals, mut made) = (0, 0);
    for option in NAMES.into_iter().filter(|option| *option != "idempotencyKey") {
        for value in
            [json!(long), json!({ "name": long, "key": long, "scope": "run" }), json!([long]), json!(vec![1; 200_000])]
        {
            let key = format!("{option}-{}", refusals + made);
            let body = json!({ "options": { "idempotencyKey": key, option: value } }).to_string();
            let (status, answered) = answer(oncekey.post("/api/v1/tasks/echo/trigger", body)).await;
            if status == 200 {
                made += 1;
                assert_eq!(oncekey.finished(answered["id"].as_str().unwrap()).await["status"], "COMPLETED", "{option}");
                continue;
            }
            refusals += 1;
            assert!([400, 413, 422].contains(&status.as_u16()), "{option}: {status} {answered}");
            let error = answered["error"].as_str().unwrap();
            assert!(error.starts_with(&format!("options.{option}")), "{option}: {error}");
            assert!(error.chars().count() < 420, "{option}: {error:.500}");
            // Nothing of the first is left.
            let next = oncekey.keyed("echo", &key).await;
            assert!(!next.is_cached, "{option}");
            assert_eq!(oncekey.finished(&next.id).await["status"], "COMPLETED");
        }
    }
    assert!(refusals > 60, "{refusals} were refused, {made} made a run");
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
    let body = json!({ "options": { "resumeParentOnCompletion": true } });
    let (status, error) = refused(&oncekey, "/api/v1/tasks/echo/trigger", body.to_string()).await;
    assert_eq!(status, 422);
    assert_eq!(error, "options.resumeParentOnCompletion is not supported: leave it out");
    let placed = json!({ "options": { "machine": "micro", "priority": 3, "concurrencyKey": "t", "payloadSize": 4 } });
    oncekey.trigger("echo", placed).await;
}

/// What is said that nobody reads, and what is said of that.
const MISSPELT: [(&str, &str); 7] = [
    (r#"{"options": {"idempotencykey": "a"}}"#, "options.idempotencykey: did you mean idempotencyKey?"),
    (r#"{"options": {"idempotency_key": "a"}}"#, "options.idempotency_key: did you mean idempotencyKey?"),
    (r#"{"options": {"key": "a"}}"#, "options.key: did you mean idempotencyKey?"),
    (r#"{"options": {"idempotencyKeyTtl": "1s"}}"#, "options.idempotencyKeyTtl: did you mean idempotencyKeyTTL?"),
    (r#"{"idempotencyKey": "a", "options": {}}"#, "idempotencyKey: did you mean options.idempotencyKey?"),
    (r#"{"orderId": 7}"#, "orderId: there is no such field"),
    (
        r#"{"options": {"idempotencyKey": "k", "idempotencyKeyOptions": {"key": "k", "scope": "run", "of": 1}}}"#,
        "options.idempotencyKeyOptions.of: there is no such field",
    ),
];

#[test]
fn every_option_is_known_by_its_name_and_no_other_is() {
    let described: Value = serde_json::from_str(oncekey_http::OPENAPI).unwrap();
    let options = described["components"]["schemas"]["Options"]["properties"].as_object().unwrap();
    // One is sent by clients and says nothing.
    let all = options.keys().map(String::as_str).chain(["payloadSize"]);
    let known: BTreeSet<_> = NAMES.into_iter().collect();
    assert_eq!(all.collect::<BTreeSet<_>>(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_option_is_refused_if_written_by_hand_and_nothing_is_written() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    for (body, said) in MISSPELT {
        let (status, error) = refused(&oncekey, "/api/v1/tasks/echo/trigger", body).await;
        assert_eq!((status, error.as_str()), (422, said), "{body}");
    }
    let (status, error) = refused(&oncekey, "/api/v3/batches", r#"{"runCount": 1, "idempotencykey": "a"}"#).await;
    assert_eq!((status, error.as_str()), (422, "idempotencykey: did you mean idempotencyKey?"));
    assert!(oncekey.all_runs().await.is_empty());

    let run = oncekey.trigger("echo", json!({ "payload": 7 })).await.id;
    let (status, error) = refused(&oncekey, &format!("/api/v1/runs/{run}/replay"), r#"{"idempotencykey": "a"}"#).await;
    assert_eq!((status, error.as_str()), (422, "idempotencykey: did you mean idempotencyKey?"));
    // What is read beside the options is none of them.
    let replay = oncekey.post(&format!("/api/v1/runs/{run}/replay"), r#"{"payload": 8}"#);
    assert_eq!(answer(replay).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_option_of_a_client_is_named_in_the_answer_and_the_run_is_made() {
    let oncekey = Oncekey::anywhere().await;
    for (body, said) in MISSPELT {
        let post = oncekey.post("/api/v1/tasks/echo/trigger", body).header("x-trigger-source", "sdk");
        let (status, told) = answer(post).await;
        assert_eq!((status.as_u16(), &told["ignored"]), (200, &json!([said])), "{body}");
    }
    let (_, told) = answer(oncekey.post("/api/v1/tasks/echo/trigger", "{}").header("x-trigger-source", "sdk")).await;
    assert_eq!(told.get("ignored"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_option_of_an_item_is_its_error_if_written_by_hand_and_named_with_its_line_to_a_client() {
    let oncekey = Oncekey::anywhere().await;
    let lines = concat!(
        r#"{"index": 0, "task": "echo", "options": {"idempotencykey": "a"}}"#,
        "\n",
        r#"{"index": 1, "task": "echo", "idempotencyKey": "a"}"#,
        "\n",
        r#"{"index": 2, "task": "echo", "options": {"idempotencyKey": "a"}}"#,
    );
    let said = [
        "options.idempotencykey: did you mean idempotencyKey?",
        "idempotencyKey: did you mean options.idempotencyKey?",
    ];
    let create = || async {
        let (_, batch) = answer(oncekey.post("/api/v3/batches", r#"{"runCount": 3}"#)).await;
        batch["id"].as_str().unwrap().to_owned()
    };
    let by_hand = create().await;
    answer(oncekey.post(&format!("/api/v3/batches/{by_hand}/items"), lines)).await;
    let (_, report) = answer(oncekey.get(&format!("/api/v2/batches/{by_hand}"))).await;
    let errors: Vec<_> =
        report["processing"]["errors"].as_array().unwrap().iter().map(|one| one["error"].as_str().unwrap()).collect();
    assert_eq!((errors, report["runs"].as_array().unwrap().len()), (said.to_vec(), 1), "{report}");

    let of_client = create().await;
    let post = oncekey.post(&format!("/api/v3/batches/{of_client}/items"), lines);
    let (_, told) = answer(post.header("x-trigger-source", "sdk")).await;
    assert_eq!(told["ignored"], json!([format!("line 1: {}", said[0]), format!("line 2: {}", said[1])]));
    assert_eq!(told["sealed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_misspelt_option_is_dead_lettered_with_the_reason() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    oncekey.send("oncekey-triggers", r#"{"environment": "local/dev", "task": "echo", "options": {"key": "a"}}"#).await;
    oncekey.drained("oncekey-triggers").await;
    assert_eq!(oncekey.depth("oncekey-triggers-dead").await, [1, 0, 0]);
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_number_of_metadata_comes_back_as_it_came_or_is_refused() {
    let oncekey = Oncekey::anywhere().await;
    for number in ["9007199254740993", "-9223372036854775808", "18446744073709551615", "0"] {
        let body = format!(r#"{{"options": {{"metadata": {{"n": {number}}}, "delay": "1h"}}}}"#);
        let (_, handle) = answer(oncekey.post("/api/v1/tasks/echo/trigger", body)).await;
        let path = format!("/api/v3/runs/{}", handle["id"].as_str().unwrap());
        let text = oncekey.get(&path).send().await.unwrap().text().await.unwrap();
        assert!(text.contains(&format!(r#""metadata":{{"n":{number}}}"#)), "{text}");
    }
    let large = r#"{"options": {"metadata": {"n": [123456789012345678901234567890]}}}"#;
    let (status, error) = refused(&oncekey, "/api/v1/tasks/echo/trigger", large).await;
    let said = "options.metadata: 123456789012345678901234567890 has more than 64 bits, and would be rounded: give it as a text";
    assert_eq!((status, error.as_str()), (400, said));

    let run = oncekey.trigger("echo", json!({ "options": { "metadata": { "n": 9_007_199_254_740_993u64 } } })).await.id;
    let by = |value: &str| format!(r#"{{"operations": [{{"type": "increment", "key": "n", "value": {value}}}]}}"#);
    let put = |body: String| answer(oncekey.request(Method::PUT, &format!("/api/v1/runs/{run}/metadata")).body(body));
    let (_, changed) = put(by("2")).await;
    assert_eq!(changed["metadata"]["n"], 9_007_199_254_740_995u64, "{changed}");
    assert_eq!(put(by("0.5")).await.1["metadata"]["n"], 9_007_199_254_740_995.5);
    assert_eq!(put(by("123456789012345678901")).await.0, 400);
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
    let (status, error) = refused(&oncekey, "/api/v1/prompts", "{}").await;
    assert!(status == 422 && error.starts_with("Oncekey has no "), "{error}");
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
