//! R68, R69: what public tokens trigger, and how often.

use futures_util::future::join_all;
use oncekey_tests_api::public_tokens::{Holder, refusal};
use oncekey_tests_api::{Oncekey, Place, answer, run_id};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
const USED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const ECHO: &str = "/api/v1/tasks/echo/trigger";
const BATCHES: &str = "/api/v3/batches";

fn ok((status, answer): (StatusCode, Value)) -> Value {
    assert!(status.is_success(), "{status}: {answer}");
    answer
}

/// A batch of one item, created and filled by this client.
async fn batch(holder: &Holder<'_>, id: &str, task: &str) -> Result<Value, (StatusCode, Value)> {
    let (status, batch) = holder.post_as(id, BATCHES, &json!({ "runCount": 1, "taskIdentifiers": [task] })).await;
    if !status.is_success() {
        return Err((status, batch));
    }
    let path = format!("{BATCHES}/{}/items", batch["id"].as_str().unwrap());
    match holder.post(&path, &json!({ "index": 0, "task": task, "payload": 1 })).await {
        (StatusCode::OK, _) => Ok(batch),
        refused => Err(refused),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_public_token_triggers_its_tasks_and_is_given_one_that_shows_the_run() {
    let oncekey = Oncekey::anywhere().await;
    let holder = oncekey.holder(&["trigger:tasks:echo"]).await;
    let body = json!({ "payload": { "a": 1 }, "options": { "idempotencyKey": "k", "tags": ["t"] } });
    let answered = holder.request(Method::POST, ECHO).body(body.to_string()).send().await.unwrap();
    assert_eq!(answered.status(), StatusCode::OK);
    assert!(!answered.headers().contains_key("x-trigger-jwt-claims"));
    let given = answered.headers()["x-trigger-jwt"].to_str().unwrap().to_owned();
    let handle: Value = answered.json().await.unwrap();
    let path = format!("/api/v3/runs/{}", handle["id"].as_str().unwrap());
    assert_eq!(ok(oncekey.holding(given).get(&path).await)["tags"], json!(["t"]));
    // The token that triggers does not show what it has triggered: what is given does.
    refusal(holder.get(&path).await, FORBIDDEN);
    for (path, needed) in [("/api/v1/tasks/slow/trigger", "trigger:tasks:slow"), (BATCHES, "batchTrigger:tasks:echo")] {
        let words = refusal(holder.post(path, &json!({ "runCount": 1, "taskIdentifiers": ["echo"] })).await, FORBIDDEN);
        assert!(words.ends_with(&format!("it has the scope trigger:tasks:echo, and needs {needed}")), "{words}");
    }
    assert_eq!(oncekey.all_runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_whoever_guesses_a_key_is_not_shown_the_run_that_holds_it() {
    let oncekey = Oncekey::anywhere().await;
    let options = json!({ "idempotencyKey": "order-42", "delay": "1h" });
    let run = oncekey.trigger("echo", json!({ "payload": "of somebody else", "options": options })).await.id;
    let holder = oncekey.holder(&["trigger:tasks:echo"]).await;
    let body = json!({ "options": { "idempotencyKey": "order-42" } }).to_string();
    let answered = holder.request(Method::POST, ECHO).body(body).send().await.unwrap();
    let given = answered.headers()["x-trigger-jwt"].to_str().unwrap().to_owned();
    let handle: Value = answered.json().await.unwrap();
    assert_eq!((&handle["id"], &handle["isCached"]), (&json!(run), &json!(true)));
    let words = refusal(oncekey.holding(given).get(&format!("/api/v3/runs/{run}")).await, FORBIDDEN);
    assert!(words.contains("it has the scope none"), "{words}");
    // Whoever has triggered it itself is shown it again, by whichever of its calls.
    for is_cached in [false, true] {
        let body = json!({ "payload": 1, "options": { "idempotencyKey": "order-43", "delay": "1h" } }).to_string();
        let answered = holder.request(Method::POST, ECHO).body(body).send().await.unwrap();
        let given = answered.headers()["x-trigger-jwt"].to_str().unwrap().to_owned();
        let handle: Value = answered.json().await.unwrap();
        assert_eq!(handle["isCached"], json!(is_cached));
        ok(oncekey.holding(given).get(&format!("/api/v3/runs/{}", handle["id"].as_str().unwrap())).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_public_token_reaches_no_other_run_by_any_option() {
    let oncekey = Oncekey::anywhere().await;
    let options = json!({ "idempotencyKey": "k", "delay": "1h" });
    let run = oncekey.trigger("echo", json!({ "options": options })).await.id;
    let holder = oncekey.holder(&["trigger:tasks:echo", "batchTrigger:tasks:echo"]).await;
    let reaching = [
        (json!({ "onPayloadMismatch": "error", "idempotencyKey": "k" }), "onPayloadMismatch"),
        (json!({ "parentRunId": run }), "options.parentRunId"),
        (json!({ "parentRunId": "run_of_another_service" }), "options.parentRunId"),
        (json!({ "idempotencyKey": "k", "onKeyHeld": "replace" }), "onKeyHeld"),
        (json!({ "debounce": { "key": "d", "delay": "1h" } }), "options.debounce"),
        (json!({ "idempotencyKey": "k", "idempotencyKeyGroup": "g" }), "options.idempotencyKeyGroup"),
        (json!({ "payloadType": "application/store" }), "options.payloadType"),
    ];
    for (options, option) in &reaching {
        let words = refusal(holder.post(ECHO, &json!({ "payload": "a/b", "options": options })).await, FORBIDDEN);
        assert!(words.starts_with(option), "{words}");
        // In a batch it is its item that is refused.
        let new = json!({ "runCount": 1, "taskIdentifiers": ["echo"] });
        let batch = ok(holder.post(BATCHES, &new).await)["id"].as_str().unwrap().to_owned();
        let line = json!({ "index": 0, "task": "echo", "payload": "a/b", "options": options });
        ok(holder.post(&format!("{BATCHES}/{batch}/items"), &line).await);
        let report = ok(answer(oncekey.get(&format!("/api/v2/batches/{batch}"))).await);
        assert!(report["processing"]["errors"][0]["error"].as_str().unwrap().starts_with(option), "{report}");
    }
    let held =
        holder.request(Method::POST, ECHO).header("idempotency-key", "k").header("idempotency-key-held", "replace");
    refusal(answer(held.body("{}")).await, FORBIDDEN);
    let awaited = json!({ "options": { "resumeParentOnCompletion": true } });
    refusal(holder.post(ECHO, &awaited).await, StatusCode::UNPROCESSABLE_ENTITY);
    let child = json!({ "runCount": 1, "taskIdentifiers": ["echo"], "parentRunId": run });
    assert!(refusal(holder.post(BATCHES, &child).await, FORBIDDEN).starts_with("parentRunId"));
    assert_eq!(oncekey.all_runs().await, std::slice::from_ref(&run));
    assert_eq!(oncekey.run(&run).await["status"], "DELAYED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_public_token_fills_the_batches_that_it_created_with_tasks_that_it_covers() {
    let oncekey = Oncekey::anywhere().await;
    let holder = oncekey.holder(&["batchTrigger:tasks:echo"]).await;
    let new = |tasks: Value| json!({ "runCount": 2, "taskIdentifiers": tasks });
    for tasks in [json!(["slow"]), json!(["echo", "slow"]), json!([]), Value::Null] {
        let words = refusal(holder.post(BATCHES, &new(tasks.clone())).await, FORBIDDEN);
        assert!(words.contains("needs batchTrigger:tasks"), "{tasks}: {words}");
    }
    let created = holder.request(Method::POST, BATCHES).header("x-trigger-source", "sdk");
    let created = created.body(new(json!(["echo"])).to_string()).send().await.unwrap();
    let given = created.headers()["x-trigger-jwt"].to_str().unwrap().to_owned();
    let batch: Value = created.json().await.unwrap();
    let batch = batch["id"].as_str().unwrap();
    let items = format!("{BATCHES}/{batch}/items");
    let item = |index: u32, task: &str| json!({ "index": index, "task": task, "payload": index });
    let two = format!("{}\n{}", item(0, "echo"), item(1, "slow"));
    let words = refusal(answer(holder.request(Method::POST, &items).body(two)).await, FORBIDDEN);
    assert!(words.contains("needs batchTrigger:tasks:slow"), "{words}");
    assert!(oncekey.all_runs().await.is_empty(), "one that is not covered, and nothing is written");
    let other = oncekey.holder(&["batchTrigger:tasks:echo", "read:runs"]).await;
    assert!(refusal(other.post(&items, &item(0, "echo")).await, FORBIDDEN).contains("did not create batch_"));
    ok(holder.post(&items, &item(0, "echo")).await);
    // Whoever has the API key may help.
    ok(answer(oncekey.post(&items, item(1, "slow").to_string())).await);
    let report = ok(oncekey.holding(given).get(&format!("/api/v2/batches/{batch}")).await);
    assert_eq!(report["runs"].as_array().unwrap().len(), 2);
    let of_key = ok(answer(oncekey.post(BATCHES, new(json!(["echo"])).to_string())).await);
    let items = format!("{BATCHES}/{}/items", of_key["id"].as_str().unwrap());
    assert!(refusal(holder.post(&items, &item(0, "echo")).await, FORBIDDEN).contains("did not create batch_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_run_remembers_the_public_token_that_triggered_it_by_a_hash() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let holder = oncekey.holder(&["trigger:tasks:echo"]).await;
    let run = ok(holder.post(ECHO, &json!({ "options": { "delay": "1h" } })).await);
    let stored = oncekey.app().store.run(&run_id(run["id"].as_str().unwrap())).await.unwrap().unwrap();
    let by = stored.spec.by_token.unwrap();
    assert!(by.len() == 32 && !holder.token.contains(&by), "{by}");
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await;
    assert_eq!(oncekey.app().store.run(&run_id(&run.id)).await.unwrap().unwrap().spec.by_token, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn r69_a_token_that_may_be_used_once_triggers_once_and_its_request_may_be_sent_again() {
    let oncekey = Oncekey::anywhere().await;
    let holder = oncekey.holder_once(&["trigger:tasks:echo", "trigger:tasks:slow", "batchTrigger:tasks:echo"]).await;
    // What is refused does not use it up.
    let wrong = json!({ "payload": 1, "options": { "delay": "soon" } });
    refusal(holder.post_as("first", ECHO, &wrong).await, StatusCode::BAD_REQUEST);
    let body = json!({ "payload": 1 });
    let first = ok(holder.post_as("first", ECHO, &body).await);
    for _ in 0..2 {
        assert_eq!(ok(holder.post_as("first", ECHO, &body).await), first);
    }
    let again = [
        holder.post_as("second", ECHO, &body).await,
        holder.post(ECHO, &body).await,
        holder.post_as("first", "/api/v1/tasks/slow/trigger", &body).await,
        holder.post_as("first", BATCHES, &json!({ "runCount": 1, "taskIdentifiers": ["echo"] })).await,
    ];
    for answered in again {
        assert!(refusal(answered, USED).contains("may be used once, and was"));
    }
    // The same request with something else in it is refused as anybody's is.
    refusal(holder.post_as("first", ECHO, &json!({ "payload": 2 })).await, USED);
    refusal(holder.post_as("first", ECHO, &json!({ "payload": 1, "options": { "idempotencyKey": "k" } })).await, USED);
    assert_eq!(oncekey.all_runs().await, [first["id"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r69_of_many_who_use_a_token_at_once_one_triggers() {
    let oncekey = Oncekey::anywhere().await;
    let holder = &oncekey.holder_once(&["trigger:tasks:echo"]).await;
    let all = (0..20).map(|request: u32| async move {
        holder.post_as(&request.to_string(), ECHO, &json!({ "payload": request })).await.0
    });
    let all = join_all(all).await;
    assert_eq!(all.iter().filter(|status| **status == StatusCode::OK).count(), 1, "{all:?}");
    assert!(all.iter().all(|status| [StatusCode::OK, USED].contains(status)), "{all:?}");
    assert_eq!(oncekey.all_runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r69_a_token_that_may_be_used_once_is_good_for_one_batch_and_all_calls_of_it() {
    let oncekey = Oncekey::anywhere().await;
    let holder = oncekey.holder_once(&["batchTrigger:tasks:echo", "trigger:tasks:echo"]).await;
    let first = batch(&holder, "first", "echo").await.unwrap();
    assert_eq!(batch(&holder, "first", "echo").await.unwrap()["id"], first["id"]);
    for refused in [batch(&holder, "second", "echo").await.unwrap_err(), holder.post(ECHO, &json!({})).await] {
        assert!(refusal(refused, USED).contains("may be used once, and was"));
    }
    assert_eq!(oncekey.all_runs().await.len(), 1);
    // One that says it may be used often is.
    let often = oncekey.holder(&["batchTrigger:tasks:echo"]).await;
    for id in ["third", "fourth"] {
        batch(&often, id, "echo").await.unwrap();
    }
    assert_eq!(oncekey.all_runs().await.len(), 3);
}
