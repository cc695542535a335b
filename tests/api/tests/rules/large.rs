//! Payloads and outputs that are too large for their runs: they are kept in the store, and read as if they were not.

use std::time::Duration;

use oncekey::{Options, Storage};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, PROD, Place, answer};
use oncekey_worker::{Child, Context, Task, TaskError, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// `repeat` returns as many letters as it is told; `ask` has it done by a child.
fn repeat() -> Worker {
    let repeat = Task::new("repeat", |_: Context, length: usize| async move { Ok("x".repeat(length)) });
    let ask = Task::new("ask", |ctx: Context, length: usize| async move {
        let text: String = ctx.trigger_and_wait(Child::new("repeat", length)).await?;
        Ok::<_, TaskError>(text.len())
    });
    Worker::new().task(repeat).task(ask)
}

/// A text of so many bytes of JSON that no compression makes small.
pub(crate) fn noise(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(1);
    (0..bytes - 2).map(|_| random.lowercase()).collect()
}

async fn got(url: &Value) -> (StatusCode, String) {
    let answer = reqwest::get(url.as_str().unwrap()).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// Where to put a packet of this path, and what to trigger with then.
async fn upload_place(oncekey: &Oncekey, path: &str) -> (String, Value) {
    let (status, place) =
        answer(oncekey.request(Method::PUT, &format!("/api/v2/packets/{}", path.replace('/', "%2F")))).await;
    assert_eq!(status, StatusCode::OK, "{place}");
    let payload = json!({ "payload": place["storagePath"], "options": { "payloadType": "application/store" } });
    (place["presignedUrl"].as_str().unwrap().to_owned(), payload)
}

async fn put(url: &str, body: impl Into<reqwest::Body>) -> StatusCode {
    let request =
        reqwest::Client::new().request(Method::PUT, url).header("content-type", "application/json").body(body);
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_up_to_3_mb_runs_and_one_over_200_kb_is_shown_by_its_place() {
    let oncekey = Oncekey::anywhere().await;
    for (bytes, stored) in [(200 * 1024, false), (200 * 1024 + 1, true), (3 * 1024 * 1024, true)] {
        let text = noise(bytes);
        let run = oncekey.trigger("echo", json!({ "payload": text })).await;
        let run = oncekey.in_status(&run.id, "COMPLETED").await;
        if stored {
            assert_eq!(run.get("payload"), None);
            assert_eq!(got(&run["payloadPresignedUrl"]).await, (StatusCode::OK, format!("\"{text}\"")));
        } else {
            assert_eq!(run["payload"], text);
            assert_eq!(run.get("payloadPresignedUrl"), None);
        }
        // Its output is its payload, and an output has less room.
        assert_eq!(run.get("output"), None);
        assert_eq!(got(&run["outputPresignedUrl"]).await, (StatusCode::OK, format!("\"{text}\"")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_up_to_3_mb_is_kept_and_of_a_larger_one_the_run_says_so_and_keeps_its_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(place, repeat(), |options| options).await;
    for (bytes, stored) in [(150 * 1024, false), (150 * 1024 + 1, true)] {
        let run = oncekey.trigger("repeat", json!({ "payload": bytes - 2 })).await;
        let run = oncekey.in_status(&run.id, "COMPLETED").await;
        assert_eq!((run.get("output").is_none(), run.get("outputPresignedUrl").is_some()), (stored, stored));
    }
    let body = json!({ "payload": 3 * 1024 * 1024 - 1, "options": { "idempotencyKey": "k" } });
    let first = oncekey.trigger("repeat", body.clone()).await;
    let run = oncekey.in_status(&first.id, "COMPLETED").await;
    let said =
        "the task succeeded, and its output is not kept: it has 3145729 bytes of JSON; the limit is 3145728 (3 MB)";
    assert_eq!((&run["error"]["message"], run.get("output")), (&json!(said), None));
    assert_eq!(run["attemptCount"], 1);
    // What it did is not done again.
    let second = oncekey.trigger("repeat", body).await;
    assert_eq!((second.id, second.is_cached), (first.id, true));
    let parent =
        oncekey.trigger("ask", json!({ "payload": 3 * 1024 * 1024 - 1, "options": { "maxAttempts": 1 } })).await;
    let parent = oncekey.in_status(&parent.id, "FAILED").await;
    assert!(parent["error"]["message"].as_str().unwrap().ends_with(said), "{parent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_gets_the_large_output_of_its_child() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(place, repeat(), |options| options).await;
    let run = oncekey.trigger("ask", json!({ "payload": 1_000_000 })).await;
    assert_eq!(oncekey.in_status(&run.id, "COMPLETED").await["output"], 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_a_large_payload_can_be_replayed() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(place, repeat(), |options| options).await;
    let (url, body) = upload_place(&oncekey, "numbers/7.json").await;
    assert_eq!(put(&url, "7").await, StatusCode::OK);
    let run = oncekey.trigger("repeat", body).await;
    assert_eq!(oncekey.in_status(&run.id, "COMPLETED").await["output"], "xxxxxxx");
    let (_, replayed) = answer(oncekey.post(&format!("/api/v1/runs/{}/replay", run.id), "")).await;
    let replayed = replayed["id"].as_str().unwrap();
    assert_eq!(oncekey.in_status(replayed, "COMPLETED").await["output"], "xxxxxxx");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_stores_no_large_payload_again_and_gets_the_same_run() {
    let oncekey = Oncekey::anywhere().await;
    let body = |seed: usize| json!({ "payload": noise(300_000 + seed), "options": { "idempotencyKey": "k" } });
    let first = oncekey.trigger("echo", body(0)).await;
    let second = oncekey.trigger("echo", body(1)).await;
    assert_eq!((first.id.clone(), true), (second.id, second.is_cached));
    let run = oncekey.finished(&first.id).await;
    assert_eq!(got(&run["payloadPresignedUrl"]).await.1.len(), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_packet_that_is_not_there_too_large_or_not_json_is_refused_and_its_key_stays_free() {
    let oncekey = Oncekey::anywhere().await;
    let (url, mut body) = upload_place(&oncekey, "bad.json").await;
    body["options"]["idempotencyKey"] = json!("k");
    let (status, answer) = oncekey.try_trigger("echo", body.clone()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let said = "payload: there is nothing at bad.json: put the payload there before you trigger with it";
    assert_eq!(answer["error"], said);
    let large = format!("\"{}\"", "x".repeat(3 * 1024 * 1024));
    for (content, status, error) in [
        (large, StatusCode::PAYLOAD_TOO_LARGE, "more than 3145728 bytes (3 MB)"),
        ("{".to_owned(), StatusCode::BAD_REQUEST, "EOF while parsing"),
    ] {
        assert_eq!(put(&url, content).await, StatusCode::OK);
        let (refused, answer) = oncekey.try_trigger("echo", body.clone()).await;
        let message = answer["error"].as_str().unwrap();
        assert_eq!(refused, status, "{message}");
        assert!(message.starts_with("bad.json: ") && message.contains(error), "{message}");
    }
    assert_eq!(put(&url, "1").await, StatusCode::OK);
    let run = oncekey.trigger("echo", body).await;
    assert!(!run.is_cached);
    assert_eq!(oncekey.in_status(&run.id, "COMPLETED").await["output"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_triggered_is_what_was_there_though_another_packet_is_put_in_its_place() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let (url, mut body) = upload_place(&oncekey, "mine.json").await;
    let first = noise(300_000);
    assert_eq!(put(&url, format!("\"{first}\"")).await, StatusCode::OK);
    (body["options"]["idempotencyKey"], body["options"]["delay"]) = (json!("k"), json!("1h"));
    let run = oncekey.trigger("echo", body.clone()).await;
    assert_eq!(put(&url, "\"other\"").await, StatusCode::OK);
    assert!(oncekey.trigger("echo", body).await.is_cached);
    oncekey.clock.advance(Duration::from_secs(3_600));
    let run = oncekey.in_status(&run.id, "COMPLETED").await;
    assert_eq!(got(&run["outputPresignedUrl"]).await.1, format!("\"{first}\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_packet_is_one_of_its_environment() {
    let oncekey = Oncekey::anywhere().await;
    let (dev_url, body) = upload_place(&oncekey, "mine.json").await;
    assert_eq!(put(&dev_url, "\"of dev\"").await, StatusCode::OK);
    let oncekey = oncekey.as_key(PROD);
    let (_, found) = answer(oncekey.get("/api/v1/packets/mine.json")).await;
    assert_eq!(got(&found["presignedUrl"]).await.0, StatusCode::NOT_FOUND);
    let (prod_url, _) = upload_place(&oncekey, "mine.json").await;
    assert_ne!(prod_url.split('?').next(), dev_url.split('?').next());
    assert_eq!(oncekey.try_trigger("echo", body).await.0, StatusCode::BAD_REQUEST);
    // Nor does the URL of the one, with the signature of the other, lead there.
    let mixed = format!("{}?{}", dev_url.split('?').next().unwrap(), prod_url.split('?').nth(1).unwrap());
    assert_eq!(put(&mixed, "1").await, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_is_good_for_its_method_for_fifteen_minutes() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (url, _) = upload_place(&oncekey, "a/b.json").await;
    let http = reqwest::Client::new();
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(http.request(method, &url).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(put(url.split('?').next().unwrap(), "1").await, StatusCode::FORBIDDEN);
    assert_eq!(put(&url.replace("a/b.json", "a/c.json"), "1").await, StatusCode::FORBIDDEN);
    assert_eq!(put(&url.replace("X-Amz-Expires=900", "X-Amz-Expires=9000"), "1").await, StatusCode::FORBIDDEN);
    oncekey.clock.advance(Duration::from_secs(14 * 60));
    assert_eq!(put(&url, "1").await, StatusCode::OK);
    oncekey.clock.advance(Duration::from_secs(2 * 60));
    assert_eq!(put(&url, "2").await, StatusCode::FORBIDDEN);
    let (_, found) = answer(oncekey.get("/api/v1/packets/a%2Fb.json")).await;
    assert_eq!(got(&found["presignedUrl"]).await, (StatusCode::OK, "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_lead_elsewhere_and_those_of_the_server_are_400() {
    let oncekey = Oncekey::anywhere().await;
    for path in ["..%2Fprod%2Fx", "a%2F%2Fb", "%2Fa", "a%20b", "payloads%2Fx", "outputs%2Fx", "outputs"] {
        let (status, body) = answer(oncekey.request(Method::PUT, &format!("/api/v2/packets/{path}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
    }
    let elsewhere = json!({ "payload": "../prod/x", "options": { "payloadType": "application/store" } });
    assert_eq!(oncekey.try_trigger("echo", elsewhere).await.0, StatusCode::BAD_REQUEST);
    // What cannot be compared, or read for a key, is not guessed at.
    for option in
        [json!({ "idempotencyKey": "k", "onPayloadMismatch": "error" }), json!({ "idempotencyKeyFrom": ["/id"] })]
    {
        let mut options = option;
        options["payloadType"] = json!("application/store");
        let (status, body) = oncekey.try_trigger("echo", json!({ "payload": "x.json", "options": options })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_outlives_a_restart() {
    let Some(place) = Place::here_alone("there a second stack does not find what the first one stored") else { return };
    let folder = tempfile::tempdir().unwrap();
    let on_disk = |options| Options { storage: Storage::Folder(folder.path().to_owned()), ..options };
    let text = noise(300_000);
    let id = {
        let oncekey = Oncekey::with(place, on_disk).await;
        let run = oncekey.trigger("echo", json!({ "payload": text })).await;
        oncekey.finished(&run.id).await;
        oncekey.stop().await;
        run.id
    };
    let oncekey = Oncekey::with(place, on_disk).await;
    let run = oncekey.run(&id).await;
    assert_eq!(got(&run["outputPresignedUrl"]).await, (StatusCode::OK, format!("\"{text}\"")));
}
