//! R50, R51, R53: batches over HTTP, in two calls.

use futures_util::future::join_all;
use oncekey_tests_api::{Oncekey, PROD, Place, answer};
use serde_json::{Value, json};

async fn create(oncekey: &Oncekey, body: Value) -> Value {
    let (status, created) = answer(oncekey.post("/api/v3/batches", body.to_string())).await;
    assert!(status.is_success(), "{created}");
    created
}

fn ndjson(items: &[Value]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

async fn send(oncekey: &Oncekey, batch: &Value, items: &[Value]) -> (u16, Value) {
    let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap());
    let (status, sent) =
        answer(oncekey.post(&path, ndjson(items)).header("content-type", "application/x-ndjson")).await;
    (status.as_u16(), sent)
}

async fn retrieve(oncekey: &Oncekey, batch: &Value) -> Value {
    let (status, shown) = answer(oncekey.get(&format!("/api/v2/batches/{}", batch["id"].as_str().unwrap()))).await;
    assert_eq!(status, 200, "{shown}");
    shown
}

fn item(index: u32, key: &str) -> Value {
    json!({ "index": index, "task": "echo", "payload": index, "options": { "idempotencyKey": key } })
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_items_share_runs_by_key_with_each_other_and_with_earlier_runs_on_every_retry() {
    let oncekey = Oncekey::anywhere().await;
    let earlier = oncekey.keyed("echo", "old").await;
    let batch = create(&oncekey, json!({ "runCount": 4 })).await;
    assert_eq!((&batch["runCount"], &batch["isCached"]), (&json!(4), &json!(false)));
    let items = [item(0, "a"), item(1, "old"), item(2, "a"), json!({ "index": 3, "task": "echo" })];
    let (status, sent) = send(&oncekey, &batch, &items).await;
    assert_eq!(status, 200);
    assert_eq!(sent, json!({ "id": batch["id"], "itemsAccepted": 4, "itemsDeduplicated": 0, "sealed": true }));

    let shown = retrieve(&oncekey, &batch).await;
    assert_eq!((&shown["status"], &shown["processing"]["errors"]), (&json!("COMPLETED"), &json!([])));
    let runs = shown["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    assert_eq!(runs[0], runs[2]);
    assert_eq!(runs[1], earlier.id.as_str());
    // The lowest index made the run that two share.
    assert_eq!(oncekey.finished(runs[0].as_str().unwrap()).await["output"], 0);
    assert_eq!(oncekey.run(runs[0].as_str().unwrap()).await["batchId"], batch["id"]);

    let (_, again) = send(&oncekey, &batch, &items).await;
    assert_eq!(again, json!({ "id": batch["id"], "itemsAccepted": 0, "itemsDeduplicated": 4, "sealed": true }));
    assert_eq!(oncekey.all_runs().await.len(), 3);
    assert_eq!(
        oncekey.list(&format!("filter[batch]={}", batch["id"].as_str().unwrap())).await["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_the_same_create_request_is_the_same_batch_and_two_streams_of_items_are_one() {
    let oncekey = Oncekey::anywhere().await;
    let request = || {
        let post = oncekey.post("/api/v3/batches", json!({ "runCount": 20 }).to_string());
        answer(post.header("x-trigger-request-idempotency-key", "one-request"))
    };
    let (one, again) = (request().await.1, request().await.1);
    assert_eq!(one, again);
    let items: Vec<Value> = (0..20).map(|index| json!({ "index": index, "task": "echo" })).collect();
    let sent = join_all((0..3).map(|_| send(&oncekey, &one, &items))).await;
    assert!(sent.iter().all(|(status, sent)| *status == 200 && sent["sealed"] == true), "{sent:?}");
    assert_eq!(retrieve(&oncekey, &one).await["runs"].as_array().unwrap().len(), 20);
    assert_eq!(oncekey.all_runs().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_batch_is_sealed_when_all_its_indexes_have_come() {
    let oncekey = Oncekey::anywhere().await;
    let batch = create(&oncekey, json!({ "runCount": 3 })).await;
    assert_eq!(retrieve(&oncekey, &batch).await["status"], "PENDING");
    let (_, first) = send(&oncekey, &batch, &[item(0, "a"), item(1, "b")]).await;
    assert_eq!(
        [&first["sealed"], &first["enqueuedCount"], &first["expectedCount"]],
        [&json!(false), &json!(2), &json!(3)]
    );
    assert_eq!(retrieve(&oncekey, &batch).await["status"], "PROCESSING");
    let (_, second) = send(&oncekey, &batch, &[item(1, "b"), item(2, "c")]).await;
    assert_eq!([&second["itemsAccepted"], &second["itemsDeduplicated"]], [1, 1]);
    assert_eq!(second["sealed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn r31_a_key_whose_run_failed_in_a_batch_makes_a_new_run_in_the_next() {
    let oncekey = Oncekey::anywhere().await;
    let failing = json!({ "index": 0, "task": "fail", "options": { "idempotencyKey": "k" } });
    let mut runs = Vec::new();
    for _ in 0..2 {
        let batch = create(&oncekey, json!({ "runCount": 1 })).await;
        send(&oncekey, &batch, std::slice::from_ref(&failing)).await;
        let run = retrieve(&oncekey, &batch).await["runs"][0].as_str().unwrap().to_owned();
        oncekey.in_status(&run, "FAILED").await;
        runs.push(run);
    }
    assert_ne!(runs[0], runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r51_a_bad_item_does_not_sink_the_others_and_its_error_is_at_its_index() {
    let oncekey = Oncekey::anywhere().await;
    let batch = create(&oncekey, json!({ "runCount": 4 })).await;
    let bad_ttl =
        json!({ "index": 1, "task": "echo", "options": { "idempotencyKey": "k", "idempotencyKeyTTL": "1w" } });
    let bad_type = json!({ "index": 3, "task": "echo", "options": { "maxAttempts": "many" } });
    let items = [item(0, "a"), bad_ttl, json!({ "index": 2, "task": "no task" }), bad_type];
    let (status, sent) = send(&oncekey, &batch, &items).await;
    assert_eq!((status, &sent["sealed"]), (200, &json!(true)));
    let shown = retrieve(&oncekey, &batch).await;
    assert_eq!((&shown["status"], shown["runs"].as_array().unwrap().len()), (&json!("PARTIAL_FAILED"), 1));
    let errors = shown["processing"]["errors"].as_array().unwrap();
    let starts = [(1, "options.idempotencyKeyTTL: "), (2, "task id: "), (3, "options.maxAttempts: ")];
    assert_eq!(errors.len(), starts.len());
    for (error, (index, start)) in errors.iter().zip(starts) {
        assert_eq!(error["index"], index);
        assert!(error["error"].as_str().unwrap().starts_with(start), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_a_key_on_the_batch_makes_it_the_same_batch_and_keys_its_items() {
    let oncekey = Oncekey::anywhere().await;
    let body = json!({ "runCount": 2, "idempotencyKey": "nightly" });
    let batch = create(&oncekey, body.clone()).await;
    // Its creator died here: whoever comes next fills it.
    let refill = create(&oncekey, body.clone()).await;
    assert_eq!((&refill["id"], &refill["isCached"]), (&batch["id"], &json!(false)));
    send(&oncekey, &batch, &[json!({ "index": 0, "task": "echo" }), item(1, "own")]).await;
    let again = create(&oncekey, body).await;
    assert_eq!(
        (&again["id"], &again["isCached"], &again["idempotencyKey"]),
        (&batch["id"], &json!(true), &json!("nightly"))
    );
    let runs = retrieve(&oncekey, &batch).await["runs"].clone();
    assert_eq!(oncekey.keyed("echo", "nightly-0").await.id, runs[0].as_str().unwrap());
    assert_eq!(oncekey.keyed("echo", "own").await.id, runs[1].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_batches_whose_keys_are_shown_alike_have_items_of_their_own() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let mut runs = Vec::new();
    for (hash, text) in [
        ("a", "nightly".to_owned()),
        ("b", "nightly".to_owned()),
        ("c", "n".repeat(5_000) + "1"),
        ("d", "n".repeat(5_000) + "2"),
    ] {
        let options = json!({ "key": text, "scope": "run" });
        let body = json!({ "runCount": 1, "idempotencyKey": hash.repeat(64), "idempotencyKeyOptions": options });
        let batch = create(&oncekey, body).await;
        send(&oncekey, &batch, &[json!({ "index": 0, "task": "echo" })]).await;
        runs.push(retrieve(&oncekey, &batch).await["runs"][0].as_str().unwrap().to_owned());
    }
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 4, "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_is_refused() {
    let oncekey = Oncekey::anywhere().await;
    for count in [json!(0), json!(1_001), json!("two")] {
        let (status, error) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": count }).to_string())).await;
        assert_eq!(status, 400);
        assert!(error["error"].as_str().unwrap().starts_with("runCount: "), "{error}");
    }
    let batch = create(&oncekey, json!({ "runCount": 1 })).await;
    let (status, error) = send(&oncekey, &batch, &[item(1, "a")]).await;
    assert_eq!(status, 422);
    assert_eq!(error["error"], "index: 1 is beyond the batch, which was created for 1 items");
    let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap());
    let (status, error) = answer(oncekey.post(&path, "{\"index\": 0}\n")).await;
    assert_eq!((status.as_u16(), error["error"].as_str().unwrap().starts_with("line 1: ")), (400, true), "{error}");
    let oncekey = oncekey.as_key(PROD);
    assert_eq!(send(&oncekey, &batch, &[item(0, "a")]).await.0, 404);
    assert_eq!(answer(oncekey.get(&path.replace("v3", "v2").replace("/items", ""))).await.0, 404);
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_items_with_half_their_keys_twice_are_five_hundred_runs() {
    let oncekey = Oncekey::anywhere().await;
    let batch = create(&oncekey, json!({ "runCount": 1_000 })).await;
    let items: Vec<Value> = (0..1_000).map(|index| item(index, &format!("k{}", index % 500))).collect();
    let (status, sent) = send(&oncekey, &batch, &items).await;
    assert_eq!((status, &sent["itemsAccepted"], &sent["sealed"]), (200, &json!(1_000), &json!(true)));
    let runs: Vec<String> = serde_json::from_value(retrieve(&oncekey, &batch).await["runs"].clone()).unwrap();
    assert_eq!(runs.len(), 1_000);
    assert_eq!(runs[..500], runs[500..]);
}
