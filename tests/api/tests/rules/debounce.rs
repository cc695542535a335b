//! R88–R91: triggers of one debounce key, which push one run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use oncekey_core::queue::message::RunMessage;
use oncekey_core::run::beside::Kept;
use oncekey_core::run::{Run, RunSpec};
use oncekey_core::store::{DebounceClaim, KeyAddress, KeyRecord};
use oncekey_core::{IdempotencyKey, KeyHash, RequestId, RunId};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, PROD, Place, answer, dev, run_id, task};
use oncekey_worker::{Context, Task, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::waits::DrainedButDelayed;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// `note` adds what it is given to what it has seen.
async fn noting(place: Place) -> (Oncekey, Arc<Mutex<Vec<Value>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let task = Task::new("note", move |_: Context, payload: Value| {
        note.lock().unwrap().push(payload.clone());
        async move { Ok(payload) }
    });
    (Oncekey::running(place, Worker::new().task(task), |options| options).await, seen)
}

fn debounced(payload: &Value, debounce: &Value) -> Value {
    json!({ "payload": payload, "options": { "debounce": debounce } })
}

/// A trigger of `note` under a request's name, with options.
async fn asked(oncekey: &Oncekey, request: &str, body: &Value) -> Value {
    let post = oncekey.post("/api/v1/tasks/note/trigger", body.to_string());
    let (status, told) = answer(post.header("x-trigger-request-idempotency-key", request)).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    told
}

async fn pushed(oncekey: &Oncekey, request: &str, payload: Value, debounce: Value) -> Value {
    asked(oncekey, request, &debounced(&payload, &debounce)).await
}

fn hourly(mode: &str) -> Value {
    json!({ "key": "k", "delay": "1h", "mode": mode })
}

/// The run that a request names.
fn named(request: &str) -> RunId {
    RunId::named(&dev(), &task("note"), &RequestId::from_caller(request).unwrap())
}

/// Has a request that has pushed a run be one that died before it left the alias.
async fn dies_before_its_alias(oncekey: &Oncekey, request: &str) {
    assert!(oncekey.app().store.run(&named(request)).await.unwrap().unwrap().pushed_to.is_some());
    let (_, dynamodb) = oncekey.stack().dynamodb();
    let key = |name: &str, value: &str| (name.to_owned(), AttributeValue::S(value.to_owned()));
    let item = [key("run_id", named(request).as_str()), key("item", "run")].into();
    let delete = dynamodb.delete_item().table_name(oncekey.table("oncekey-runs"));
    delete.set_key(Some(item)).send().await.unwrap();
}

async fn delayed_until(oncekey: &Oncekey, run: &Value) -> Value {
    oncekey.run(run["id"].as_str().unwrap()).await["delayedUntil"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn r88_triggers_of_a_debounce_key_push_one_run_until_it_starts() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    for (mode, executed) in [("leading", "first"), ("trailing", "third")] {
        let (oncekey, seen) = noting(place).await;
        let first = pushed(&oncekey, "1", json!("first"), hourly(mode)).await;
        assert_eq!(first["isCached"], false);
        for (request, payload) in [("2", "second"), ("3", "third")] {
            oncekey.clock.advance(HOUR / 2);
            let next = pushed(&oncekey, request, json!(payload), hourly(mode)).await;
            assert_eq!((&next["id"], &next["isCached"]), (&first["id"], &json!(true)));
            oncekey.drained_but_delayed().await;
        }
        let run = oncekey.run(first["id"].as_str().unwrap()).await;
        assert_eq!((&run["status"], oncekey.all_runs().await.len()), (&json!("DELAYED"), 1), "{run}");
        oncekey.clock.advance(HOUR + SECOND);
        assert_eq!(oncekey.finished(first["id"].as_str().unwrap()).await["output"], executed);
        assert_eq!(*seen.lock().unwrap(), [json!(executed)]);
        // From then on there is a run to come again.
        let next = pushed(&oncekey, "4", json!("fourth"), hourly(mode)).await;
        assert_eq!(next["isCached"], false);
        assert_ne!(next["id"], first["id"]);
        oncekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r88_the_latest_trigger_brings_what_it_says_of_the_run_and_a_leading_one_nothing() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let noise = "x".repeat(30_000);
    for (mode, tag, n, payload) in [("leading", "a", 3, "small"), ("trailing", "b", 7, noise.as_str())] {
        let body = |tag: &str, n: u8, machine: Option<&str>, payload: &str| {
            let debounce = json!({ "key": mode, "delay": "1h", "mode": mode });
            json!({ "payload": payload, "options": {
                "debounce": debounce, "tags": [tag], "metadata": { tag: n }, "maxAttempts": n, "maxDuration": n, "machine": machine,
            } })
        };
        let first = oncekey.trigger("echo", body("a", 3, Some("micro"), "small")).await;
        let second = oncekey.trigger("echo", body("b", 7, None, &noise)).await;
        assert_eq!(second.id, first.id);
        let run = oncekey.run(&first.id).await;
        let shown = (&run["tags"], &run["metadata"], &run["payload"]);
        assert_eq!(shown, (&json!([tag]), &json!({ tag: n }), &json!(payload)));
        let options = oncekey.app().store.run(&run_id(&first.id)).await.unwrap().unwrap().spec.options;
        assert_eq!((options.max_attempts, options.max_duration), (Some(n), Some(n)));
        assert_eq!(options.placement.contains_key("machine"), mode == "leading");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r88_a_debounce_key_is_of_a_task_in_an_environment_and_a_run_that_was_cancelled_frees_it() {
    let oncekey = Oncekey::anywhere().await;
    let body = json!({ "options": { "debounce": { "key": "k", "delay": "1h" } } });
    let of = async |oncekey: &Oncekey, task: &str| oncekey.trigger(task, body.clone()).await;
    let first = of(&oncekey, "echo").await;
    assert!(!of(&oncekey, "send-email").await.is_cached);
    let oncekey = oncekey.as_key(PROD);
    assert!(!of(&oncekey, "echo").await.is_cached);
    let oncekey = oncekey.as_key(oncekey_tests_api::DEV);
    assert_eq!(of(&oncekey, "echo").await.id, first.id);
    oncekey.request(Method::POST, &format!("/api/v2/runs/{}/cancel", first.id)).send().await.unwrap();
    oncekey.in_status(&first.id, "CANCELED").await;
    let next = of(&oncekey, "echo").await;
    assert!(!next.is_cached && next.id != first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_a_push_that_is_sent_again_is_answered_alike_and_pushes_nothing_whatever_became_of_the_run() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, seen) = noting(place).await;
    let first = pushed(&oncekey, "1", json!(1), hourly("trailing")).await;
    let second = pushed(&oncekey, "2", json!(2), hourly("trailing")).await;
    let start = delayed_until(&oncekey, &first).await;
    oncekey.clock.advance(HOUR / 2);
    assert_eq!(pushed(&oncekey, "2", json!(2), hourly("trailing")).await, second);
    assert_eq!(pushed(&oncekey, "1", json!(1), hourly("trailing")).await, first);
    assert_eq!(delayed_until(&oncekey, &first).await, start);
    oncekey.clock.advance(HOUR);
    oncekey.finished(first["id"].as_str().unwrap()).await;
    assert_eq!(pushed(&oncekey, "2", json!(2), hourly("trailing")).await, second);
    assert_eq!(pushed(&oncekey, "1", json!(1), hourly("trailing")).await, first);
    let third = pushed(&oncekey, "3", json!(3), hourly("trailing")).await;
    assert_eq!(third["isCached"], false);
    assert_eq!(pushed(&oncekey, "2", json!(2), hourly("trailing")).await, second, "whoever holds the key");
    oncekey.clock.advance(2 * HOUR);
    oncekey.finished(third["id"].as_str().unwrap()).await;
    assert_eq!(*seen.lock().unwrap(), [json!(2), json!(3)]);
    // What stands for another run shows that.
    assert_eq!(oncekey.run(named("2").as_str()).await["id"], first["id"]);
    assert_eq!(oncekey.all_runs().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_a_keyed_push_that_is_sent_again_is_answered_alike_whoever_holds_its_key_by_then() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, _) = noting(place).await;
    let keyed = |payload: u32, key: &str, more: Value| {
        let mut options = json!({ "idempotencyKey": key, "debounce": hourly("trailing") });
        options.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        json!({ "payload": payload, "options": options })
    };
    let (first, second) = (keyed(1, "x", json!({})), keyed(2, "y", json!({})));
    let made = asked(&oncekey, "1", &first).await["id"].clone();
    assert_eq!(asked(&oncekey, "2", &second).await["id"], made);
    for (round, key) in ["y", "x"].into_iter().enumerate() {
        let replacing =
            json!({ "payload": 3, "options": { "idempotencyKey": key, "onKeyHeld": "replace", "delay": "1d" } });
        assert_ne!(asked(&oncekey, &format!("replacing {round}"), &replacing).await["id"], made);
    }
    assert_eq!(asked(&oncekey, "2", &second).await["id"], made, "the run that it pushed");
    assert_eq!(asked(&oncekey, "1", &first).await["id"], made, "the run that it made");
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_who_dies_between_its_push_and_what_it_leaves_of_it_is_answered_with_the_run() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, seen) = noting(place).await;
    let first = pushed(&oncekey, "1", json!(1), hourly("trailing")).await;
    let second = pushed(&oncekey, "2", json!(2), hourly("trailing")).await;
    dies_before_its_alias(&oncekey, "2").await;
    oncekey.clock.advance(HOUR + SECOND);
    oncekey.finished(first["id"].as_str().unwrap()).await;
    assert_eq!(pushed(&oncekey, "2", json!(2), hourly("trailing")).await, second);
    assert_eq!(*seen.lock().unwrap(), [json!(2)], "its payload is executed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_a_pusher_that_died_is_answered_with_its_run_though_others_have_pushed_it_or_made_the_next() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    for others_push in [true, false] {
        let (oncekey, seen) = noting(place).await;
        let keyed = |payload: u8| {
            let options = json!({ "idempotencyKey": "of the second", "debounce": hourly("trailing") });
            json!({ "payload": payload, "options": options })
        };
        let first = pushed(&oncekey, "1", json!(1), hourly("trailing")).await;
        let second = asked(&oncekey, "2", &keyed(2)).await;
        assert_eq!((&second["id"], &second["idempotency"]["status"]), (&first["id"], &json!("pushed")));
        dies_before_its_alias(&oncekey, "2").await;
        if others_push {
            assert_eq!(pushed(&oncekey, "3", json!(3), hourly("trailing")).await["id"], first["id"]);
        }
        oncekey.clock.advance(HOUR + MINUTE);
        oncekey.finished(first["id"].as_str().unwrap()).await;
        let next = pushed(&oncekey, "4", json!(4), hourly("trailing")).await;
        assert_eq!(next["isCached"], false);
        // The same again, and somebody else under its key.
        assert_eq!(asked(&oncekey, "2", &keyed(2)).await["id"], first["id"]);
        assert_eq!(asked(&oncekey, "5", &keyed(2)).await["id"], first["id"]);
        oncekey.clock.advance(HOUR + MINUTE);
        oncekey.finished(next["id"].as_str().unwrap()).await;
        let executed = if others_push { [json!(3), json!(4)] } else { [json!(2), json!(4)] };
        assert_eq!(*seen.lock().unwrap(), executed);
        assert_eq!(oncekey.all_runs().await.len(), 2);
        oncekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_a_request_id_that_was_used_for_something_else_is_refused_and_pushes_nothing() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let ask = async |request: &str, body: Value| {
        let post = oncekey.post("/api/v1/tasks/echo/trigger", body.to_string());
        answer(post.header("x-trigger-request-idempotency-key", request)).await
    };
    let debounced = |payload: u8, key: &str| json!({ "payload": payload, "options": { "debounce": { "key": key, "delay": "1h", "mode": "trailing" } } });
    let first = ask("a", debounced(1, "k")).await.1;
    assert_eq!(ask("b", debounced(2, "k")).await.1["id"], first["id"]);
    let mut with_key = debounced(2, "k");
    with_key["options"]["idempotencyKey"] = json!("i");
    let otherwise = [
        ("b", debounced(99, "k")),
        ("b", debounced(2, "other")),
        ("b", json!({ "payload": 2 })),
        ("b", with_key),
        ("a", debounced(99, "k")),
        ("a", debounced(1, "other")),
    ];
    for (request, body) in otherwise {
        let (status, error) = ask(request, body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{request} {body}: {error}");
    }
    // What the wrong ones have claimed is nobody's.
    for key in ["other", "i"] {
        assert_ne!(ask(&format!("of {key}"), debounced(5, key)).await.1["id"], first["id"]);
    }
    assert!(!oncekey.keyed("echo", "i").await.is_cached);
    assert_eq!(oncekey.run(first["id"].as_str().unwrap()).await["payload"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_whoever_claimed_a_debounce_key_and_died_is_helped_and_answered_with_its_own_run() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    for mode in ["leading", "trailing"] {
        let (oncekey, seen) = noting(place).await;
        let (store, now) = (&oncekey.app().store, oncekey.clock.now());
        let claim =
            DebounceClaim { run_id: named("1"), created_at: now, ends_at: now.plus(400 * 24 * HOUR), claimed: None };
        let hash = KeyHash::of_text("k");
        store.claim_debounce((&dev(), &task("note"), &hash), &claim, None, now).await.unwrap();
        let helper = pushed(&oncekey, "2", json!(2), hourly(mode)).await;
        assert_eq!((&helper["id"], &helper["isCached"]), (&json!(named("1")), &json!(true)));
        let claimer = pushed(&oncekey, "1", json!(1), hourly(mode)).await;
        assert_eq!((&claimer["id"], &claimer["isCached"]), (&json!(named("1")), &json!(false)));
        assert_eq!(pushed(&oncekey, "2", json!(2), hourly(mode)).await, helper);
        oncekey.clock.advance(2 * HOUR);
        oncekey.finished(named("1").as_str()).await;
        assert_eq!(*seen.lock().unwrap(), [json!(2)]);
        oncekey.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_a_claimer_that_died_is_helped_however_long_ago_since_its_message_may_come_yet() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, seen) = noting(place).await;
    let debounce = json!({ "key": "k", "delay": "1h", "mode": "trailing", "maxDelay": "90m" });
    let (store, now) = (&oncekey.app().store, oncekey.clock.now());
    let claim =
        DebounceClaim { run_id: named("1"), created_at: now, ends_at: now.plus(400 * 24 * HOUR), claimed: None };
    store.claim_debounce((&dev(), &task("note"), &KeyHash::of_text("k")), &claim, None, now).await.unwrap();
    oncekey.clock.advance(2 * HOUR);
    let helper = pushed(&oncekey, "2", json!(2), debounce.clone()).await;
    assert_eq!((&helper["id"], &helper["isCached"]), (&json!(named("1")), &json!(true)));
    // The claimer's own message, that it had sent before it died.
    let spec = RunSpec::new(dev(), task("note"), now);
    let message = RunMessage::first(&Run::new(named("1"), spec, Some(Kept::Inline("1".to_owned()))));
    oncekey.send("oncekey-runs", serde_json::to_string(&message).unwrap()).await;
    let claimer = pushed(&oncekey, "1", json!(1), debounce).await;
    assert_eq!(claimer["id"], json!(named("1")));
    oncekey.clock.advance(2 * HOUR);
    oncekey.finished(named("1").as_str()).await;
    assert_eq!(*seen.lock().unwrap(), [json!(2)]);
    assert_eq!(oncekey.all_runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_whoever_claimed_its_key_and_died_is_answered_with_what_was_pushed_in_its_name() {
    let Some(place) = Place::own_stack() else { return };
    let (oncekey, _) = noting(place).await;
    let keyed = |payload: u8, more: Value| {
        let mut body = debounced(&json!(payload), &hourly("leading"));
        body["options"]["idempotencyKey"] = json!("a");
        body["options"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let delayed = pushed(&oncekey, "1", json!(1), hourly("leading")).await;
    let key = IdempotencyKey::from_wire("key", "a", None).unwrap();
    let now = oncekey.clock.now();
    let claim = KeyRecord::new(named("2"), Some(&key), now, now.plus(24 * HOUR));
    let (environment, task) = (dev(), task("note"));
    oncekey.app().store.claim_key(KeyAddress::of_key(&environment, &task, &key), &claim, None).await.unwrap();
    let helper = asked(&oncekey, "3", &keyed(3, json!({}))).await;
    assert_eq!((&helper["id"], &helper["isCached"]), (&delayed["id"], &json!(true)));
    let claimer = asked(&oncekey, "2", &keyed(2, json!({}))).await;
    assert_eq!((&claimer["id"], &claimer["isCached"]), (&delayed["id"], &json!(true)));
    let guarded = keyed(2, json!({ "onPayloadMismatch": "error" })).to_string();
    let post = oncekey.post("/api/v1/tasks/note/trigger", guarded).header("x-trigger-request-idempotency-key", "2");
    let (status, told) = answer(post).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told["error"].as_str().unwrap().contains("another payload"), "{told}");
    // Used for another key, the request is refused as ever.
    let mut other = keyed(2, json!({}));
    other["options"]["idempotencyKey"] = json!("b");
    let post = oncekey.post("/api/v1/tasks/note/trigger", other.to_string());
    let (status, told) = answer(post.header("x-trigger-request-idempotency-key", "2")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told["error"].as_str().unwrap().contains("request id"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r89_a_claim_whose_run_is_long_over_and_deleted_makes_nothing_anew() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let (store, now) = (&oncekey.app().store, oncekey.clock.now());
    let claim =
        DebounceClaim { run_id: named("1"), created_at: now, ends_at: now.plus(400 * 24 * HOUR), claimed: None };
    let address = (&dev(), &task("echo"), &KeyHash::of_text("k"));
    store.claim_debounce(address, &claim, None, now).await.unwrap();
    oncekey.clock.advance(31 * 24 * HOUR);
    let next = oncekey.trigger("echo", json!({ "options": { "debounce": { "key": "k", "delay": "1h" } } })).await;
    assert!(!next.is_cached && next.id != named("1").as_str(), "{next:?}");
    assert!(store.run(&named("1")).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn r90_a_push_beyond_the_longest_delay_leaves_the_run_alone_and_makes_another() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, seen) = noting(place).await;
    let debounce = json!({ "key": "k", "delay": "1h", "mode": "trailing", "maxDelay": "90m" });
    let first = pushed(&oncekey, "1", json!(1), debounce.clone()).await;
    oncekey.clock.advance(29 * MINUTE);
    assert_eq!(pushed(&oncekey, "2", json!(2), debounce.clone()).await["id"], first["id"]);
    let start = delayed_until(&oncekey, &first).await;
    oncekey.clock.advance(MINUTE);
    let second = pushed(&oncekey, "3", json!(3), debounce.clone()).await;
    assert_eq!(second["isCached"], false);
    assert_eq!(delayed_until(&oncekey, &first).await, start);
    assert_eq!(pushed(&oncekey, "4", json!(4), debounce).await["id"], second["id"]);
    oncekey.clock.advance(2 * HOUR);
    oncekey.finished(first["id"].as_str().unwrap()).await;
    oncekey.finished(second["id"].as_str().unwrap()).await;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by_key(Value::as_u64);
    assert_eq!(seen, [json!(2), json!(4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r90_a_run_that_is_delayed_for_longer_than_a_trigger_allows_is_left_alone() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let of = async |debounce: Value| oncekey.trigger("echo", json!({ "options": { "debounce": debounce } })).await;
    let long = of(json!({ "key": "k", "delay": "365d" })).await;
    let soon = of(json!({ "key": "k", "delay": "1s", "maxDelay": "5s" })).await;
    assert!(!soon.is_cached && soon.id != long.id);
    assert_eq!(of(json!({ "key": "k", "delay": "1s" })).await.id, soon.id, "from then on it is the key's run");
}

#[tokio::test(flavor = "multi_thread")]
async fn r90_a_key_names_its_run_as_long_as_that_is_delayed_whatever_pushes_said() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let of = async |debounce: Value| oncekey.trigger("echo", json!({ "options": { "debounce": debounce } })).await;
    let first = of(json!({ "key": "k", "delay": "1s", "maxDelay": "2s" })).await;
    assert_eq!(of(json!({ "key": "k", "delay": "8h", "maxDelay": "9h" })).await.id, first.id);
    oncekey.clock.advance(HOUR);
    assert_eq!(of(json!({ "key": "k", "delay": "1s", "maxDelay": "9h" })).await.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r90_of_many_triggers_at_once_one_run_is_made_and_each_is_answered_with_it() {
    let oncekey = Oncekey::anywhere().await;
    for mode in ["leading", "trailing"] {
        let body =
            |n: u8| json!({ "payload": n, "options": { "debounce": { "key": mode, "delay": "1h", "mode": mode } } });
        let handles = join_all((0..12).map(|n| oncekey.trigger("echo", body(n)))).await;
        assert_eq!(handles.iter().filter(|handle| !handle.is_cached).count(), 1, "{handles:?}");
        assert!(handles.iter().all(|handle| handle.id == handles[0].id), "{handles:?}");
    }
    assert_eq!(oncekey.all_runs().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r90_items_of_a_batch_push_each_other_in_their_order() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 9 }).to_string())).await;
    let item = |n: u8| json!({ "index": n, "task": "echo", "payload": n, "options": { "debounce": { "key": "k", "delay": "1h", "mode": "trailing" } } });
    let items: Vec<String> = (0..9).map(|n| item(n).to_string()).collect();
    let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap());
    let sent = oncekey.post(&path, items.join("\n")).header("content-type", "application/x-ndjson");
    assert_eq!(answer(sent).await.0, StatusCode::OK);
    let runs = oncekey.all_runs().await;
    assert_eq!(runs.len(), 1);
    assert_eq!(oncekey.run(&runs[0]).await["payload"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn r91_a_hit_of_the_idempotency_key_wins_and_the_key_of_a_push_stands_for_the_run_that_it_pushed() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, _) = noting(place).await;
    let keyed = |key: &str, payload: u8| {
        let debounce = json!({ "key": "k", "delay": "1h" });
        json!({ "payload": payload, "options": { "idempotencyKey": key, "debounce": debounce } })
    };
    let first = asked(&oncekey, "1", &keyed("a", 1)).await;
    let start = delayed_until(&oncekey, &first).await;
    oncekey.clock.advance(SECOND);
    let hit = asked(&oncekey, "2", &keyed("a", 2)).await;
    assert_eq!((&hit["id"], &hit["idempotency"]["status"]), (&first["id"], &json!("cached")));
    assert_eq!(delayed_until(&oncekey, &first).await, start, "and pushes nothing");
    // Another key pushes it, and stands for it from then on.
    let other = asked(&oncekey, "3", &keyed("b", 3)).await;
    assert_eq!((&other["id"], &other["isCached"]), (&first["id"], &json!(true)));
    assert_ne!(delayed_until(&oncekey, &first).await, start);
    let hit = asked(&oncekey, "4", &keyed("b", 4)).await;
    assert_eq!((&hit["id"], &hit["idempotency"]["status"]), (&first["id"], &json!("cached")));
    let holder = answer(oncekey.get("/api/v1/idempotencyKeys/b?taskIdentifier=note")).await;
    if holder.0 == StatusCode::OK {
        assert_eq!(holder.1["runId"], first["id"], "{holder:?}");
    }
    oncekey.clock.advance(2 * HOUR);
    oncekey.finished(first["id"].as_str().unwrap()).await;
    assert_eq!(asked(&oncekey, "5", &keyed("b", 5)).await["id"], first["id"], "kept by its success");
}

#[tokio::test(flavor = "multi_thread")]
async fn r91_a_key_that_stands_for_a_run_which_fails_is_free() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let fails = Task::new("note", async |_: Context, _: Value| Err::<(), _>(oncekey_worker::TaskError::abort("no")));
    let oncekey = Oncekey::running(place, Worker::new().task(fails), |options| options).await;
    let keyed = |key: &str| json!({ "options": { "idempotencyKey": key, "debounce": { "key": "k", "delay": "1h" } } });
    let first = asked(&oncekey, "1", &keyed("a")).await;
    assert_eq!(asked(&oncekey, "2", &keyed("b")).await["id"], first["id"]);
    oncekey.clock.advance(2 * HOUR);
    assert_eq!(oncekey.finished(first["id"].as_str().unwrap()).await["status"], "FAILED");
    let next = asked(&oncekey, "3", &keyed("b")).await;
    assert_eq!(next["isCached"], false);
    assert_ne!(next["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r91_what_a_debounce_cannot_be_is_refused_by_name_and_nothing_is_written() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let long = "k".repeat(513);
    for (debounce, field) in [
        (json!({ "delay": "1h" }), "options.debounce.key"),
        (json!({ "key": "", "delay": "1h" }), "options.debounce.key"),
        (json!({ "key": long, "delay": "1h" }), "options.debounce.key"),
        (json!({ "key": "k" }), "options.debounce.delay"),
        (json!({ "key": "k", "delay": "0s" }), "options.debounce.delay"),
        (json!({ "key": "k", "delay": "500ms" }), "options.debounce.delay"),
        (json!({ "key": "k", "delay": "366d" }), "options.debounce.delay"),
        (json!({ "key": "k", "delay": "1h", "maxDelay": "59m" }), "options.debounce.maxDelay"),
        (json!({ "key": "k", "delay": "1h", "maxDelay": "soon" }), "options.debounce.maxDelay"),
        (json!({ "key": "k", "delay": "1h", "mode": "both" }), "options.debounce.mode"),
        (json!("k"), "options.debounce"),
        (json!({ "key": "k", "delay": "1h", "maxdelay": "2h" }), "options.debounce.maxdelay"),
    ] {
        let (status, error) = oncekey.try_trigger("echo", json!({ "options": { "debounce": debounce } })).await;
        assert!(
            status == StatusCode::BAD_REQUEST || status == StatusCode::UNPROCESSABLE_ENTITY,
            "{debounce}: {status}"
        );
        assert!(error["error"].as_str().unwrap().contains(&format!("{field}:")), "{debounce}: {error}");
    }
    let both = json!({ "options": { "debounce": { "key": "k", "delay": "1h" }, "delay": "2h" } });
    let (_, error) = oncekey.try_trigger("echo", both).await;
    assert!(error["error"].as_str().unwrap().starts_with("options.delay: "), "{error}");
    assert!(oncekey.all_runs().await.is_empty());
}
