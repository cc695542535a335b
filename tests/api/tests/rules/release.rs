//! What releases a key before its window ends, and what to do about one that another run holds (R70–R74).

use std::time::Duration;

use oncekey::Options;
use oncekey_core::store::{KeyAddress, KeyRecord};
use oncekey_tests_api::{Handle, Oncekey, Place, answer, run_id};
use oncekey_worker::{Child, Context, Key, KeyRelease, Task, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn keyed(release: &str) -> Value {
    json!({ "options": { "idempotencyKey": "k", "idempotencyKeyRelease": release } })
}

async fn holder(oncekey: &Oncekey, task: &str) -> Option<String> {
    let (_, held) = answer(oncekey.get(&format!("/api/v1/idempotencyKeys/k?taskIdentifier={task}"))).await;
    held["runId"].as_str().map(str::to_owned)
}

/// Whether the next trigger makes a run.
async fn is_free(oncekey: &Oncekey, task: &str, before: &Handle, release: &str) -> bool {
    let next = oncekey.trigger(task, keyed(release)).await;
    assert_eq!(next.is_cached, next.id == before.id);
    !next.is_cached
}

#[tokio::test(flavor = "multi_thread")]
async fn r70_any_end_of_its_run_frees_a_key_that_any_end_releases() {
    let oncekey = Oncekey::anywhere().await;
    for (task, status) in [("echo", "COMPLETED"), ("fail", "FAILED")] {
        let run = oncekey.trigger(task, keyed("on-end")).await;
        oncekey.in_status(&run.id, status).await;
        assert!(is_free(&oncekey, task, &run, "on-end").await, "{task}");
    }
    let later = json!({ "options": { "idempotencyKey": "k", "idempotencyKeyRelease": "on-end", "delay": "1h" } });
    let run = oncekey.trigger("sleep", later.clone()).await;
    assert!(oncekey.trigger("sleep", later.clone()).await.is_cached, "one at a time");
    oncekey.request(Method::POST, &format!("/api/v2/runs/{}/cancel", run.id)).send().await.unwrap();
    oncekey.in_status(&run.id, "CANCELED").await;
    assert!(!oncekey.trigger("sleep", later).await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn r70_a_key_that_is_not_cleared_yet_is_free_all_the_same() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", keyed("on-end")).await;
    oncekey.finished(&run.id).await;
    oncekey.drained("oncekey-completions").await;
    let app = oncekey.app();
    let stored = app.store.run(&run_id(&run.id)).await.unwrap().unwrap();
    assert_eq!(app.store.key(KeyAddress::of_run(&stored).unwrap()).await.unwrap(), None, "its end clears it");

    // As it is before that, or if whoever clears it dies.
    let claimed = stored.spec.key.clone().unwrap();
    let claim = KeyRecord::new(stored.id.clone(), Some(&claimed.key), stored.spec.created_at, claimed.window_ends_at);
    let claim = KeyRecord { release: KeyRelease::OnEnd, ..claim };
    app.store.claim_key(KeyAddress::of_run(&stored).unwrap(), &claim, None).await.unwrap();
    assert_eq!(holder(&oncekey, "echo").await, None);
    let (_, next) = oncekey.try_trigger("echo", keyed("on-end")).await;
    assert_ne!(next["id"], run.id.as_str());
    assert_eq!(next["idempotency"]["status"], "created", "nobody held it");
}

#[tokio::test(flavor = "multi_thread")]
async fn r71_no_end_of_its_run_frees_a_key_that_none_releases() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let mut once = keyed("never");
    once["options"]["idempotencyKeyTTL"] = json!("1h");
    let run = oncekey.trigger("fail", once).await;
    oncekey.in_status(&run.id, "FAILED").await;
    oncekey.drained("oncekey-completions").await;
    assert!(!is_free(&oncekey, "fail", &run, "on-failure").await);
    assert_eq!(holder(&oncekey, "fail").await.as_deref(), Some(run.id.as_str()));
    oncekey.clock.advance(Duration::from_secs(3_600));
    assert!(is_free(&oncekey, "fail", &run, "never").await, "its window is over");
    assert_eq!(oncekey.reset("fail", "k").await.0, StatusCode::OK, "and a reset frees it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn r72_the_word_of_the_run_that_holds_the_key_counts() {
    let oncekey = Oncekey::anywhere().await;
    let kept = oncekey.keyed("echo", "k").await;
    oncekey.finished(&kept.id).await;
    assert!(!is_free(&oncekey, "echo", &kept, "on-end").await);
}

/// A trigger of `echo` under a request's name, which is to be refused if another run holds the key.
async fn guarded(oncekey: &Oncekey, request: &str) -> (u16, Value, Option<String>) {
    let options =
        json!({ "idempotencyKey": "k", "onKeyHeld": "error", "idempotencyKeyRelease": "on-end", "delay": "1h" });
    let sent = oncekey
        .post("/api/v1/tasks/echo/trigger", json!({ "options": options }).to_string())
        .header("x-trigger-request-idempotency-key", request)
        .send()
        .await
        .unwrap();
    let retry = sent.headers().get("x-should-retry").map(|value| value.to_str().unwrap().to_owned());
    (sent.status().as_u16(), sent.json().await.unwrap(), retry)
}

#[tokio::test(flavor = "multi_thread")]
async fn r73_a_trigger_that_asks_for_it_is_refused_while_another_run_holds_its_key() {
    let oncekey = Oncekey::anywhere().await;
    let (status, first, _) = guarded(&oncekey, "guarded-1").await;
    assert_eq!((status, &first["isCached"]), (200, &json!(false)));
    let id = first["id"].as_str().unwrap();

    let (status, refused, retry) = guarded(&oncekey, "guarded-2").await;
    assert_eq!((status, retry.as_deref()), (409, Some("false")));
    let text =
        format!("idempotency key \"k\" is held by {id}: trigger again when that has given it up, or with another key");
    assert_eq!(refused["error"], text);
    let (status, again, _) = guarded(&oncekey, "guarded-1").await;
    assert_eq!((status, &again["id"]), (200, &first["id"]), "its own run is no conflict");

    oncekey.request(Method::POST, &format!("/api/v2/runs/{id}/cancel")).send().await.unwrap();
    oncekey.in_status(id, "CANCELED").await;
    let (status, second, _) = guarded(&oncekey, "guarded-3").await;
    assert_eq!(status, 200);
    assert_ne!(second["id"], first["id"]);
    // The first request, whose answer was lost: it made its run, whoever holds the key since.
    let (status, again, _) = guarded(&oncekey, "guarded-1").await;
    assert_eq!((status, &again["id"], &again["isCached"]), (200, &first["id"], &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r73_whoever_is_refused_for_a_claimer_that_died_has_made_its_run() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let planned = oncekey.trigger("echo", keyed("on-end")).await;
    oncekey.finished(&planned.id).await;
    oncekey.drained("oncekey-completions").await;
    let app = oncekey.app();
    let stored = app.store.run(&run_id(&planned.id)).await.unwrap().unwrap();
    let (address, claimed) = (KeyAddress::of_run(&stored).unwrap(), stored.spec.key.clone().unwrap());
    // Claimed long ago, and nothing since.
    let dead = run_id(&format!("run_{}", "d".repeat(32)));
    let claim = KeyRecord::new(dead.clone(), Some(&claimed.key), stored.spec.created_at, claimed.window_ends_at);
    app.store.claim_key(address, &KeyRecord { release: KeyRelease::OnEnd, ..claim }, None).await.unwrap();
    let (status, refused, _) = guarded(&oncekey, "guarded").await;
    assert_eq!(status, 409, "{refused}");
    assert!(app.store.run(&dead).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn r73_an_item_and_a_child_are_refused_alike() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let child = || Child::new("child", 1).idempotency_key(Key::from("k").global()).delay("1h");
        ctx.trigger(child().key_release(KeyRelease::OnEnd)).await?;
        let refused = ctx.trigger(child().refuse_held_key()).await.unwrap_err().to_string();
        Ok(refused)
    });
    let worker = Worker::new().task(parent).task(Task::new("child", |_, n: u64| async move { Ok(n) }));
    let oncekey = Oncekey::running(place, worker, |options: Options| options).await;
    let run = oncekey.trigger("parent", json!({})).await;
    let output = oncekey.finished(&run.id).await["output"].clone();
    assert!(output.as_str().unwrap().contains("is held by run_"), "{output}");

    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 1 }).to_string())).await;
    let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap());
    let item = json!({ "index": 0, "task": "child", "options": { "idempotencyKey": "k", "onKeyHeld": "error" } });
    let (status, _) = answer(oncekey.post(&path, item.to_string())).await;
    assert_eq!(status, StatusCode::OK);
    let path = format!("/api/v2/batches/{}", batch["id"].as_str().unwrap());
    let (_, batch) = answer(oncekey.get(&path)).await;
    let refused = batch["processing"]["errors"][0]["error"].as_str().unwrap();
    assert!(refused.contains("is held by run_"), "{batch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r74_headers_say_it_for_whoever_cannot_say_it_in_the_body_and_win() {
    let oncekey = Oncekey::anywhere().await;
    let trigger = |header: &'static str, word: &'static str, body: Value| {
        answer(oncekey.post("/api/v1/tasks/echo/trigger", body.to_string()).header(header, word))
    };
    let (_, run) = trigger("idempotency-key-release", "\"on-end\"", keyed("never")).await;
    oncekey.finished(run["id"].as_str().unwrap()).await;
    let (_, next) = trigger("Idempotency-Key-Release", "on-end", keyed("never")).await;
    assert_ne!(next["id"], run["id"]);

    let later = json!({ "options": { "idempotencyKey": "later", "delay": "1h" } });
    assert_eq!(trigger("idempotency-key-held", "error", later.clone()).await.0, StatusCode::OK);
    assert_eq!(trigger("idempotency-key-held", "error", later.clone()).await.0, StatusCode::CONFLICT);
    assert_eq!(trigger("idempotency-key-held", "return", later).await.0, StatusCode::OK);

    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 1 }).to_string())).await;
    let path = format!("/api/v3/batches/{}", batch["id"].as_str().unwrap());
    let item = json!({ "index": 0, "task": "echo", "options": { "idempotencyKey": "later" } }).to_string();
    answer(oncekey.post(&format!("{path}/items"), item).header("idempotency-key-held", "error")).await;
    let (_, batch) = answer(oncekey.get(&path.replacen("v3", "v2", 1))).await;
    assert_eq!(batch["processing"]["errors"].as_array().map(Vec::len), Some(1), "{batch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_releases_nothing_is_refused_by_its_field_and_nothing_is_written() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let bad = |options: Value| oncekey.try_trigger("echo", json!({ "options": options }));
    for (options, field) in [
        (json!({ "idempotencyKey": "k", "idempotencyKeyRelease": "on-success" }), "options.idempotencyKeyRelease"),
        (json!({ "idempotencyKey": "k", "idempotencyKeyRelease": 1 }), "options.idempotencyKeyRelease"),
        (json!({ "idempotencyKey": "k", "onKeyHeld": "displace" }), "options.onKeyHeld"),
    ] {
        let (status, refused) = bad(options).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(refused["error"].as_str().unwrap().starts_with(field), "{refused}");
    }
    for (header, word) in [("idempotency-key-release", "sometimes"), ("idempotency-key-held", "wait")] {
        let request = oncekey.post("/api/v1/tasks/echo/trigger", keyed("never").to_string()).header(header, word);
        let (status, refused) = answer(request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(refused["error"].as_str().unwrap().starts_with(&format!("header {header}: ")), "{refused}");
    }
    assert_eq!(oncekey.all_runs().await.len(), 0);
    assert_eq!(holder(&oncekey, "echo").await, None);
}
