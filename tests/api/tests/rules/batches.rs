//! R50, R51, R53: batches over HTTP, in two calls.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use oncekey_core::BatchId;
use oncekey_core::request::{KeyHeaders, parse_json};
use oncekey_core::runs::batch::{NewItem, add_items, find};
use oncekey_tests_api::{Oncekey, PROD, Place, answer, dev};
use serde_json::{Value, json};

pub(super) async fn create(oncekey: &Oncekey, body: Value) -> Value {
    let (status, created) = answer(oncekey.post("/api/v3/batches", body.to_string())).await;
    assert!(status.is_success(), "{created}");
    created
}

fn ndjson(items: &[Value]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

pub(super) async fn send(oncekey: &Oncekey, batch: &Value, items: &[Value]) -> (u16, Value) {
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

/// The runs of a new batch of this key with these items.
async fn runs_of(oncekey: &Oncekey, key: &str, items: &[Value]) -> Vec<String> {
    let batch = create(oncekey, json!({ "runCount": items.len(), "idempotencyKey": key })).await;
    assert_eq!((&batch["isCached"], &batch["idempotencyKey"]), (&json!(false), &json!(key)));
    assert_eq!(send(oncekey, &batch, items).await.0, 200);
    let shown = retrieve(oncekey, &batch).await;
    shown["runs"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn plain(index: u32, task: &str) -> Value {
    json!({ "index": index, "task": task, "payload": index })
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_a_key_on_the_batch_stands_for_its_items_keys_and_the_batch_is_new() {
    let oncekey = Oncekey::anywhere().await;
    let request = |id: &'static str| {
        let body = json!({ "runCount": 2, "idempotencyKey": "nightly" }).to_string();
        answer(oncekey.post("/api/v3/batches", body).header("x-trigger-request-idempotency-key", id))
    };
    let (first, resent, other) = (request("1").await.1, request("1").await.1, request("2").await.1);
    assert_eq!(first, resent);
    assert_ne!(first["id"], other["id"]);
    let runs = runs_of(&oncekey, "nightly", &[plain(0, "echo"), item(1, "own")]).await;
    assert_eq!(oncekey.keyed("echo", "nightly-0").await.id, runs[0]);
    assert_eq!(oncekey.keyed("echo", "own").await.id, runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_the_calls_window_is_that_of_items_which_say_none() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let runs = async || {
        let body = json!({ "runCount": 2, "idempotencyKey": "k", "idempotencyKeyTTL": "60s" });
        let batch = create(&oncekey, body).await;
        let own = json!({ "index": 1, "task": "echo", "options": { "idempotencyKeyTTL": "1h" } });
        send(&oncekey, &batch, &[plain(0, "echo"), own]).await;
        retrieve(&oncekey, &batch).await["runs"].clone()
    };
    let first = runs().await;
    assert_eq!(runs().await, first);
    oncekey.clock.advance(std::time::Duration::from_secs(60));
    let later = runs().await;
    assert_ne!(later[0], first[0]);
    assert_eq!(later[1], first[1]);
    let body = json!({ "runCount": 1, "idempotencyKey": "k", "idempotencyKeyTTL": "1w" }).to_string();
    let (status, error) = answer(oncekey.post("/api/v3/batches", body)).await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().starts_with("idempotencyKeyTTL: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_a_request_id_is_of_one_batch() {
    let oncekey = Oncekey::anywhere().await;
    let create = |body: Value| {
        let post = oncekey.post("/api/v3/batches", body.to_string());
        answer(post.header("x-trigger-request-idempotency-key", "one"))
    };
    assert_eq!(create(json!({ "runCount": 1 })).await.0, 202);
    for other in [json!({ "runCount": 2 }), json!({ "runCount": 1, "idempotencyKey": "k" })] {
        assert_eq!(create(other).await.0, 422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r54_a_keyed_batch_runs_for_another_task_after_failures_after_a_reset_and_where_it_is_longer() {
    let oncekey = Oncekey::anywhere().await;
    let first = runs_of(&oncekey, "k", &[plain(0, "echo"), plain(1, "echo")]).await;
    let longer = runs_of(&oncekey, "k", &[plain(0, "echo"), plain(1, "echo"), plain(2, "echo")]).await;
    assert_eq!(longer[..2], first[..]);
    assert!(!first.contains(&longer[2]));
    let other = runs_of(&oncekey, "k", &[plain(0, "fail")]).await;
    assert!(!first.contains(&other[0]));
    oncekey.in_status(&other[0], "FAILED").await;
    assert_ne!(runs_of(&oncekey, "k", &[plain(0, "fail")]).await, other);
    assert_eq!(oncekey.reset("echo", "k-0").await.0, 200);
    let after = runs_of(&oncekey, "k", &[plain(0, "echo"), plain(1, "echo")]).await;
    assert_ne!(after[0], first[0]);
    assert_eq!(after[1], first[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r55_an_item_that_was_refused_runs_when_it_comes_again_corrected() {
    let oncekey = Oncekey::anywhere().await;
    let first = runs_of(&oncekey, "k", &[plain(0, "echo"), plain(1, "no task")]).await;
    assert_eq!(first.len(), 1);
    let again = runs_of(&oncekey, "k", &[plain(0, "echo"), plain(1, "echo")]).await;
    assert_eq!((again.len(), &again[0]), (2, &first[0]));
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
    for count in [json!(-1), json!(1_001), json!("two")] {
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

#[tokio::test(flavor = "multi_thread")]
async fn r51_a_thousand_items_that_are_refused_at_length_keep_no_good_one_out_of_their_batch() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let no_task = json!({ "task": "no such task ".repeat(40) });
    let no_queue = json!({ "task": "echo", "options": { "queue": { "name": "q".repeat(400) } } });
    for (bad, key) in [(no_task, "one"), (no_queue, "another")] {
        let batch = create(&oncekey, json!({ "runCount": 1_000 })).await;
        let mut items: Vec<Value> = vec![bad; 999];
        for (index, item) in items.iter_mut().enumerate() {
            item["index"] = json!(index);
        }
        items.push(item(999, key));
        let (status, sent) = send(&oncekey, &batch, &items).await;
        assert_eq!((status, &sent["itemsAccepted"]), (200, &json!(1_000)), "{sent}");
        let shown = retrieve(&oncekey, &batch).await;
        assert_eq!(shown["processing"]["errors"].as_array().unwrap().len(), 999);
        assert_eq!(oncekey.finished(shown["runs"][0].as_str().unwrap()).await["output"], 999);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_nothing_is_complete_at_once() {
    let oncekey = Oncekey::anywhere().await;
    let batch = create(&oncekey, json!({ "runCount": 0 })).await;
    let id = batch["id"].as_str().unwrap();
    let (status, added) = answer(oncekey.post(&format!("/api/v3/batches/{id}/items"), "")).await;
    assert_eq!((status.as_u16(), &added["sealed"], &added["itemsAccepted"]), (200, &json!(true), &json!(0)));
    let (_, shown) = answer(oncekey.get(&format!("/api/v2/batches/{id}"))).await;
    assert_eq!((&shown["status"], &shown["runCount"]), (&json!("COMPLETED"), &json!(0)));
    let other = create(&oncekey, json!({ "runCount": 1 })).await;
    let path = format!("/api/v3/batches/{}/items", other["id"].as_str().unwrap());
    assert_eq!(answer(oncekey.post(&path, "")).await.0.as_u16(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_a_batchs_key_may_be_in_a_header_which_wins_over_the_body() {
    let oncekey = Oncekey::anywhere().await;
    let body =
        json!({ "runCount": 1, "idempotencyKey": "body", "idempotencyKeyOptions": { "key": "x", "scope": "run" } });
    let post = oncekey.post("/api/v3/batches", body.to_string()).header("idempotency-key", "\"mail\"");
    let (_, batch) = answer(post.header("idempotency-key-ttl", "1h")).await;
    assert_eq!(batch["idempotencyKey"], "mail");
    send(&oncekey, &batch, &[json!({ "index": 0, "task": "echo" })]).await;
    let run = oncekey.run(retrieve(&oncekey, &batch).await["runs"][0].as_str().unwrap()).await;
    assert_eq!(run["idempotencyKey"], "mail-0");
    let (_, held) = answer(oncekey.get("/api/v1/idempotencyKeys/mail-0?taskIdentifier=echo")).await;
    assert_eq!(held["runId"], run["id"], "{held}");
    let (status, error) = answer(oncekey.post("/api/v3/batches", body.to_string()).header("idempotency-key", "")).await;
    assert_eq!(
        (status.as_u16(), &error["error"]),
        (400, &json!("header idempotency-key: is empty: give a key, or leave it out"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_batch_remembers_what_a_call_did_that_was_cut_off() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let batch = create(&oncekey, json!({ "runCount": 1_000 })).await;
    let id = BatchId::parse(batch["id"].as_str().unwrap()).unwrap();
    let item = |index| NewItem {
        index,
        task: "echo".to_owned(),
        body: parse_json(br#"{"options": {"delay": "1h"}}"#),
        headers: KeyHeaders::default(),
    };
    let (environment, items) = (dev(), (0..1_000).map(item).collect());
    tokio::select! {
        biased;
        () = async {
            while find(app, &environment, &id).await.unwrap().items.is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        } => {}
        _ = add_items(app, &environment, &id, items, None) => panic!("it was not cut off"),
    }
    let lines: Vec<_> =
        (0..1_000).map(|index| json!({ "index": index, "task": "echo", "options": { "delay": "1h" } })).collect();
    let (status, sent) = send(&oncekey, &batch, &lines).await;
    assert_eq!((status, &sent["sealed"]), (200, &json!(true)));
    assert!(sent["itemsDeduplicated"].as_u64().is_some_and(|known| known >= 250), "{sent}");
    // None of them is a run twice.
    let runs = retrieve(&oncekey, &batch).await["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect::<BTreeSet<_>>();
    assert_eq!(runs.len(), 1_000);
}
