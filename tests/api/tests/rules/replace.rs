//! What a trigger does that replaces the run that holds its key (R75–R79).

use std::time::Duration;

use oncekey_core::queue::message::{CompletionEvent, Outcome, RunMessage};
use oncekey_core::run::status::RunStatus;
use oncekey_core::run::{ClaimedKey, Run, RunSpec};
use oncekey_core::store::{KeyAddress, KeyRecord};
use oncekey_tests_api::{Oncekey, Place, answer, run_id};
use oncekey_worker::{Child, Context, Key, Task, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn replacing(release: &str) -> Value {
    let options =
        json!({ "idempotencyKey": "k", "onKeyHeld": "replace", "idempotencyKeyRelease": release, "delay": "1h" });
    json!({ "options": options })
}

/// A trigger of `echo`, under a request's name.
async fn as_request(oncekey: &Oncekey, request: &str, body: &Value) -> Value {
    let post = oncekey.post("/api/v1/tasks/echo/trigger", body.to_string());
    let (status, told) = answer(post.header("x-trigger-request-idempotency-key", request)).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    told
}

async fn replace(oncekey: &Oncekey, request: &str) -> Value {
    as_request(oncekey, request, &replacing("on-failure")).await
}

/// How many of the runs have not ended.
async fn under_way(oncekey: &Oncekey) -> Vec<String> {
    let mut under_way = Vec::new();
    for id in oncekey.all_runs().await {
        if oncekey.run(&id).await["isCompleted"] == false {
            under_way.push(id);
        }
    }
    under_way
}

/// Waits until one run has not ended.
async fn one_left(oncekey: &Oncekey) -> Vec<String> {
    let mut left = under_way(oncekey).await;
    for _ in 0..200 {
        if left.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = under_way(oncekey).await;
    }
    assert_eq!(left.len(), 1, "{left:?}");
    left
}

/// Waits until what is left on the queue of runs is delayed there, if anything is.
async fn only_delayed(oncekey: &Oncekey) {
    while oncekey.depth("oncekey-runs").await[..2] != [0, 0] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r75_a_run_under_way_makes_way_for_the_one_that_replaces_it() {
    let oncekey = Oncekey::anywhere().await;
    for release in ["on-failure", "on-end", "never"] {
        let key = json!({ "idempotencyKey": release, "onKeyHeld": "replace", "idempotencyKeyRelease": release });
        let body = |delay: Option<&str>| {
            let mut options = key.clone();
            options["delay"] = json!(delay);
            json!({ "options": options })
        };
        let (_, first) = oncekey.try_trigger("echo", body(Some("1h"))).await;
        assert_eq!(first["idempotency"]["status"], "created", "{release}");
        let (_, second) = oncekey.try_trigger("echo", body(Some("1h"))).await;
        assert_eq!((&second["isCached"], &second["idempotency"]["status"]), (&json!(false), &json!("replaced")));
        assert_ne!(second["id"], first["id"]);
        let replaced = oncekey.in_status(id(&first), "CANCELED").await;
        assert_eq!(replaced["replacedBy"], second["id"]);
        let path = format!("/api/v1/idempotencyKeys/{release}?taskIdentifier=echo");
        assert_eq!(answer(oncekey.get(&path)).await.1["runId"], second["id"]);
        let (_, third) = oncekey.try_trigger("echo", body(None)).await;
        let ended = oncekey.in_status(id(&third), "COMPLETED").await;
        assert_eq!(ended["replacedBy"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r75_a_run_that_has_ended_and_keeps_its_key_is_answered_with() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.keyed("echo", "k").await;
    oncekey.finished(&run.id).await;
    let (_, again) = oncekey.try_trigger("echo", replacing("on-failure")).await;
    assert_eq!((id(&again), &again["isCached"]), (run.id.as_str(), &json!(true)));

    let cancelled = oncekey.trigger("sleep", replacing("on-failure")).await;
    oncekey.request(Method::POST, &format!("/api/v2/runs/{}/cancel", cancelled.id)).send().await.unwrap();
    oncekey.in_status(&cancelled.id, "CANCELED").await;
    assert_eq!(oncekey.trigger("sleep", replacing("on-failure")).await.id, cancelled.id, "a person cancelled it (R33)");
}

#[tokio::test(flavor = "multi_thread")]
async fn r75_a_replaced_attempt_ends_for_nothing() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let first =
        oncekey.trigger("sleep", json!({ "payload": { "ms": 400 }, "options": { "idempotencyKey": "k" } })).await;
    oncekey.in_status(&first.id, "EXECUTING").await;
    let second = oncekey.trigger("sleep", replacing("on-failure")).await;
    assert_ne!(second.id, first.id);
    only_delayed(&oncekey).await;
    oncekey.drained("oncekey-completions").await;
    let replaced = oncekey.run(&first.id).await;
    assert_eq!((&replaced["status"], &replaced["output"]), (&json!("CANCELED"), &Value::Null));
    assert_eq!(under_way(&oncekey).await, [second.id.as_str()]);
    assert_eq!(oncekey.keyed("sleep", "k").await.id, second.id, "the end of the first clears nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn r76_a_request_that_is_sent_again_does_not_replace_its_successor() {
    let oncekey = Oncekey::anywhere().await;
    let first = replace(&oncekey, "request-1").await;
    let second = replace(&oncekey, "request-2").await;
    assert_eq!(id(&replace(&oncekey, "request-2").await), id(&second), "its answer was lost");
    let third = replace(&oncekey, "request-3").await;
    for (request, made) in [("request-1", &first), ("request-2", &second), ("request-3", &third)] {
        let again = replace(&oncekey, request).await;
        assert_eq!((id(&again), &again["isCached"]), (id(made), &json!(false)), "{request}");
    }
    assert_eq!(under_way(&oncekey).await, [id(&third)]);
    assert_eq!(oncekey.run(id(&first)).await["replacedBy"], second["id"]);
    assert_eq!(oncekey.run(id(&second)).await["replacedBy"], third["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r76_a_request_sent_again_is_answered_with_its_own_run_though_its_successor_has_ended() {
    let oncekey = Oncekey::anywhere().await;
    for (release, held) in [("on-failure", "replace"), ("on-end", "return"), ("on-end", "error")] {
        let key = format!("{release} {held}");
        let body = |delay: Option<&str>| {
            let options = json!({
                "idempotencyKey": key, "idempotencyKeyRelease": release, "onKeyHeld": held, "delay": delay,
            });
            json!({ "options": options })
        };
        let first = as_request(&oncekey, &format!("{key} 1"), &body((held == "replace").then_some("1h"))).await;
        if held != "replace" {
            oncekey.finished(id(&first)).await;
        }
        // It holds the key from now on, and keeps it, or has it while it is delayed.
        let second = as_request(&oncekey, &format!("{key} 2"), &body((held != "replace").then_some("1h"))).await;
        assert_ne!(id(&second), id(&first));
        if held == "replace" {
            oncekey.finished(id(&second)).await;
        }
        let again = as_request(&oncekey, &format!("{key} 1"), &body((held == "replace").then_some("1h"))).await;
        assert_eq!((id(&again), &again["isCached"]), (id(&first), &json!(false)), "{key}");
        assert_eq!(oncekey.keyed("echo", &key).await.id, id(&second), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r76_a_request_whose_id_was_used_otherwise_is_refused_and_replaces_nothing() {
    let oncekey = Oncekey::anywhere().await;
    let holder = replace(&oncekey, "request-1").await;
    let delayed = json!({ "options": { "delay": "1h" } });
    let mut of_another_key = delayed.clone();
    of_another_key["options"]["idempotencyKey"] = json!("another");
    for (request, body) in [("no key", delayed), ("another key", of_another_key)] {
        as_request(&oncekey, request, &body).await;
        let post = oncekey.post("/api/v1/tasks/echo/trigger", replacing("on-failure").to_string());
        let (status, refused) = answer(post.header("x-trigger-request-idempotency-key", request)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
        assert!(refused["error"].as_str().unwrap().starts_with("this request id was used for"), "{refused}");
    }
    assert_eq!(oncekey.run(id(&holder)).await["status"], "DELAYED");
}

/// A claim of the key that a run of `echo` holds or held, by a claimer that has made no run yet, and that run.
async fn claimed(oncekey: &Oncekey) -> (KeyRecord, Run) {
    let planned = oncekey.trigger("echo", json!({ "options": { "idempotencyKey": "k", "delay": "1h" } })).await;
    let app = oncekey.app();
    let stored = app.store.run(&run_id(&planned.id)).await.unwrap().unwrap();
    let held = app.store.key(KeyAddress::of_run(&stored).unwrap()).await.unwrap().unwrap();
    assert!(app.store.clear_key(&stored).await.unwrap());
    let now = app.clock.now();
    let slow = run_id(&format!("run_{}", "d".repeat(32)));
    let claim = KeyRecord {
        run_id: slow.clone(),
        created_at: now,
        helped_from: Some(now.plus(Duration::from_secs(60))),
        ..held
    };
    app.store.claim_key(KeyAddress::of_run(&stored).unwrap(), &claim, None).await.unwrap();
    let key = ClaimedKey { window_ends_at: claim.window_ends_at, ..stored.spec.key.clone().unwrap() };
    let spec = RunSpec { created_at: now, key: Some(key), options: Default::default(), ..stored.spec };
    (claim, Run::new(slow, spec, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn r77_a_slow_claimer_cannot_run_beside_whoever_replaced_it() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (claim, slow) = claimed(&oncekey).await;
    let app = oncekey.app();
    let second = replace(&oncekey, "request-2").await;
    assert_eq!(second["idempotency"]["status"], "replaced");
    // Now it goes on: it sends its message, and makes its run.
    app.queues.send_run(&RunMessage::first(&slow)).await.unwrap();
    let there = app.store.create_run(&slow).await.unwrap().expect("the bar");
    assert_eq!(there.status, RunStatus::Canceled);
    assert_eq!(there.replaced_by, Some(run_id(id(&second))));
    only_delayed(&oncekey).await;
    let seen = oncekey.run(claim.run_id.as_str()).await;
    assert_eq!((&seen["status"], &seen["attemptCount"]), (&json!("CANCELED"), &json!(0)));
    assert_eq!(seen["replacedBy"], second["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r77_a_claimer_whose_worker_is_ahead_of_it_is_replaced_as_a_run_is() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (_, slow) = claimed(&oncekey).await;
    let app = oncekey.app();
    app.store.create_run(&slow).await.unwrap();
    let second = replace(&oncekey, "request-2").await;
    let replaced = oncekey.in_status(slow.id.as_str(), "CANCELED").await;
    assert_eq!(replaced["replacedBy"], second["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r78_a_key_is_free_when_whoever_replaces_dies_after_the_cancellation() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let first = replace(&oncekey, "request-1").await;
    let app = oncekey.app();
    let stored = app.store.run(&run_id(id(&first))).await.unwrap().unwrap();
    let successor = run_id(&format!("run_{}", "e".repeat(32)));
    let event = CompletionEvent::new(&stored, Outcome::Canceled { replaced_by: Some(successor.clone()) });
    app.queues.send_completion(&event).await.unwrap();
    let replaced = oncekey.in_status(id(&first), "CANCELED").await;
    assert_eq!(replaced["replacedBy"], successor.as_str());
    // Whoever asks for nothing special.
    let (_, next) = oncekey.try_trigger("echo", json!({ "options": { "idempotencyKey": "k", "delay": "1h" } })).await;
    assert_eq!((&next["isCached"], &next["idempotency"]["status"]), (&json!(false), &json!("replaced")));
    // The event comes once more.
    app.queues.send_completion(&event).await.unwrap();
    oncekey.drained("oncekey-completions").await;
    assert_eq!(under_way(&oncekey).await, [id(&next)]);
    assert_eq!(oncekey.keyed("echo", "k").await.id, id(&next));
}

#[tokio::test(flavor = "multi_thread")]
async fn r79_of_many_who_replace_at_once_one_run_is_left() {
    let oncekey = Oncekey::anywhere().await;
    for release in ["on-failure", "on-end"] {
        let body = replacing(release);
        let requests: Vec<String> = (0..8).map(|request| format!("{release}-{request}")).collect();
        let answers =
            futures_util::future::join_all(requests.iter().map(|name| as_request(&oncekey, name, &body))).await;
        let left = one_left(&oncekey).await;
        for (request, answer) in requests.iter().zip(&answers) {
            assert_eq!(answer["isCached"], false, "each has made its own");
            assert_eq!(id(&as_request(&oncekey, request, &body).await), id(answer), "and is told so again");
        }
        assert_eq!(under_way(&oncekey).await, left);
        assert_eq!(oncekey.keyed("echo", "k").await.id, left[0]);
        oncekey.request(Method::POST, &format!("/api/v2/runs/{}/cancel", left[0])).send().await.unwrap();
        oncekey.in_status(&left[0], "CANCELED").await;
        oncekey.reset("echo", "k").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r79_items_replace_each_other_in_their_order_and_a_child_what_it_finds() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let child = || Child::new("child", 1).idempotency_key(Key::from("k").global()).delay("1h");
        ctx.trigger(child()).await?;
        ctx.trigger(child().replace_held_key()).await?;
        Ok(())
    });
    let worker = Worker::new().task(parent).task(Task::new("child", |_, n: u64| async move { Ok(n) }));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let run = oncekey.trigger("parent", json!({})).await;
    oncekey.in_status(&run.id, "COMPLETED").await;
    let runs = oncekey.list("").await;
    let statuses: Vec<&str> =
        runs["data"].as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["DELAYED", "CANCELED", "COMPLETED"], "newest first, and the parent last");

    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 4 }).to_string())).await;
    let path = format!("/api/v3/batches/{}", batch["id"].as_str().unwrap());
    let item = |index: u32| json!({ "index": index, "task": "child", "payload": index, "options": { "idempotencyKey": "k", "delay": "1h" } });
    let items: Vec<String> = (0..4).map(|index| item(index).to_string()).collect();
    let post = oncekey.post(&format!("{path}/items"), items.join("\n")).header("idempotency-key-held", "replace");
    assert_eq!(answer(post).await.0, StatusCode::OK);
    let left = under_way(&oncekey).await;
    assert_eq!(left.len(), 1);
    assert_eq!(oncekey.run(&left[0]).await["payload"], 3);
}
