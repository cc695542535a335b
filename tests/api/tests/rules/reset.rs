//! R40–R42: freeing a key.

use std::sync::atomic::{AtomicU32, Ordering};

use oncekey::Options;
use oncekey_core::key::{KeyHash, Parent, Scope};
use oncekey_core::protocol::reset::reset_claim;
use oncekey_core::store::KeyAddress;
use oncekey_tests_api::{Oncekey, PROD, Place, answer, run_id};
use serde_json::json;

use super::faults::{Fate, faulty_database};

#[tokio::test(flavor = "multi_thread")]
async fn r40_after_a_reset_a_trigger_makes_a_new_run_and_the_old_one_goes_on_without_the_key() {
    let oncekey = Oncekey::anywhere().await;
    let body = json!({ "payload": { "ms": 300 }, "options": { "idempotencyKey": "k" } });
    let old = oncekey.trigger("sleep", body.clone()).await;
    assert_eq!(oncekey.in_status(&old.id, "EXECUTING").await["idempotencyKey"], "k");

    let (status, answer) = oncekey.reset("sleep", "k").await;
    assert_eq!((status.as_u16(), answer), (200, json!({ "id": "k" })));
    let new = oncekey.trigger("sleep", body).await;
    assert_ne!(new.id, old.id);
    assert!(!new.is_cached);

    let ended = oncekey.in_status(&old.id, "COMPLETED").await;
    assert_eq!(ended.get("idempotencyKey"), None);
    assert_eq!(oncekey.run(&new.id).await["idempotencyKey"], "k");
    let listed = oncekey.list("").await;
    let keys: Vec<_> = listed["data"].as_array().unwrap().iter().map(|run| run.get("idempotencyKey")).collect();
    assert_eq!(keys, [Some(&json!("k")), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_run_scoped_key_is_reset_from_outside_only_by_its_parents_ids() {
    let oncekey = Oncekey::anywhere().await;
    let parent = run_id(&oncekey.trigger("echo", json!({})).await.id);
    for (scope, attempt) in [(Scope::Run, 1), (Scope::Attempt, 2)] {
        let hash = KeyHash::of(&["k"], scope, Some(Parent { run: parent.as_str(), attempt }));
        let child = oncekey.keyed("echo", hash.as_str()).await;
        // What a caller without the parent's ids would hash.
        assert_eq!(oncekey.reset("echo", KeyHash::of(&["k"], scope, None).as_str()).await.0, 404);
        assert_eq!(oncekey.reset("echo", hash.as_str()).await.0, 200);
        assert_ne!(oncekey.keyed("echo", hash.as_str()).await.id, child.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_resetting_nothing_is_404_and_is_not_retried() {
    let oncekey = Oncekey::anywhere().await;
    oncekey.keyed("echo", "k").await;
    assert_eq!(oncekey.reset("echo", "k").await.0, 200);
    let path = "/api/v1/idempotencyKeys/k/reset";
    let again = oncekey.post(path, r#"{"taskIdentifier":"echo"}"#).send().await.unwrap();
    assert_eq!(again.status(), 404);
    assert_eq!(again.headers()["x-should-retry"], "false");
    let error: serde_json::Value = again.json().await.unwrap();
    assert!(error["error"].as_str().unwrap().starts_with("no live idempotency key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_reset_touches_one_environment_one_task_and_one_key() {
    let oncekey = Oncekey::anywhere().await;
    let ours = oncekey.keyed("echo", "k").await;
    let sleep = json!({ "payload": { "ms": 1 }, "options": { "idempotencyKey": "k" } });
    let other_task = oncekey.trigger("sleep", sleep.clone()).await;
    let other_key = oncekey.keyed("echo", "l").await;
    let oncekey = oncekey.as_key(PROD);
    assert_eq!(oncekey.reset("echo", "k").await.0, 404);
    let oncekey = oncekey.as_key(oncekey_tests_api::DEV);
    assert_eq!(oncekey.reset("echo", "k").await.0, 200);
    assert_eq!(oncekey.trigger("sleep", sleep).await.id, other_task.id);
    assert_eq!(oncekey.keyed("echo", "l").await.id, other_key.id);
    assert_ne!(oncekey.keyed("echo", "k").await.id, ours.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_percent_decoded_segment_of_the_path() {
    let oncekey = Oncekey::anywhere().await;
    let held = json!({ "options": { "idempotencyKey": "a/b $?#ü", "delay": "1h" } });
    oncekey.trigger("emails%2Fsend", held).await;
    let (status, reset) = oncekey.reset("emails/send", "a%2Fb%20$%3F%23%C3%BC").await;
    assert_eq!((status.as_u16(), reset), (200, json!({ "id": "a/b $?#ü" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_percent_sign_in_a_key_is_one_and_its_escape_is_another() {
    // Not on a deployment: gateways differ in what they make of %25, so it is refused there.
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let runs = [oncekey.keyed("echo", "50%").await.id, oncekey.keyed("echo", "50%25").await.id];
    assert_ne!(runs[0], runs[1]);
    assert_eq!(oncekey.reset("echo", "50%25").await.1, json!({ "id": "50%" }));
    assert_ne!(oncekey.keyed("echo", "50%").await.id, runs[0]);
    assert_eq!(oncekey.keyed("echo", "50%25").await.id, runs[1]);
    assert_eq!(oncekey.reset("echo", "50%2525").await.1, json!({ "id": "50%25" }));
    assert_ne!(oncekey.keyed("echo", "50%25").await.id, runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_reset_that_is_sent_again_answers_the_same_and_frees_nothing_more() {
    let oncekey = Oncekey::anywhere().await;
    let reset = async |id: &str, key: &str| {
        let path = format!("/api/v1/idempotencyKeys/{key}/reset");
        let post = oncekey.post(&path, json!({ "taskIdentifier": "echo" }).to_string());
        answer(post.header("x-trigger-request-idempotency-key", id)).await.0.as_u16()
    };
    assert_eq!(reset("too-early", "k").await, 404);
    let first = oncekey.keyed("echo", "k").await;
    assert_eq!(reset("too-early", "k").await, 404);
    assert_eq!(reset("once", "k").await, 200);
    let second = oncekey.keyed("echo", "k").await;
    assert_ne!(second.id, first.id);
    assert_eq!(reset("once", "k").await, 200);
    assert_eq!(oncekey.keyed("echo", "k").await.id, second.id);
    assert_eq!(reset("once", "other").await, 422);
    assert_eq!(reset("again", "k").await, 200);
    assert_ne!(oncekey.keyed("echo", "k").await.id, second.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_reset_of_one_claim_leaves_the_key_to_the_next() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let first = oncekey.keyed("echo", "k").await;
    let first = oncekey.app().store.run(&run_id(&first.id)).await.unwrap().unwrap();
    oncekey.reset("echo", "k").await;
    let second = oncekey.keyed("echo", "k").await;
    let address = KeyAddress::of_run(&first).unwrap();
    reset_claim(oncekey.app(), address, &first.id, first.spec.created_at).await.unwrap();
    assert_eq!(oncekey.keyed("echo", "k").await.id, second.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r42_a_reset_whose_delete_is_sent_again_by_the_sdk_leaves_the_key_to_the_next() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let (deleted, was_deleted) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let deletes = AtomicU32::new(0);
    let url = faulty_database(move |operation, _| match operation {
        "DeleteItem" if deletes.fetch_add(1, Ordering::SeqCst) == 0 => {
            deleted.send(()).unwrap();
            Fate::LosesItsAnswer
        }
        "DeleteItem" => {
            may_go_on.lock().unwrap().recv().unwrap();
            Fate::Passes
        }
        _ => Fate::Passes,
    })
    .await;
    let oncekey = Oncekey::with(place, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
    let first = oncekey.keyed("echo", "k").await;
    // Without a request id, as from a shell.
    let reset = oncekey.post("/api/v1/idempotencyKeys/k/reset", r#"{"taskIdentifier":"echo"}"#).send();
    let (reset, second) = tokio::join!(reset, async {
        tokio::task::spawn_blocking(move || was_deleted.recv()).await.unwrap().unwrap();
        let second = loop {
            // Until the first delete has taken effect.
            match oncekey.keyed("echo", "k").await {
                answer if answer.id == first.id => tokio::task::yield_now().await,
                answer => break answer,
            }
        };
        go_on.send(()).unwrap();
        second
    });
    assert_eq!(reset.unwrap().status().as_u16(), 200);
    assert_eq!(oncekey.keyed("echo", "k").await.id, second.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_the_refusal_shows_the_key_as_it_was_sent() {
    let oncekey = Oncekey::anywhere().await;
    let (status, answer) = oncekey.reset("echo", "nobody's").await;
    assert_eq!(status, 404);
    assert!(
        answer["error"].as_str().unwrap().starts_with("no live idempotency key \"nobody's\" for echo: "),
        "{answer}"
    );
}
