//! R01–R06 and R10: the first trigger makes the run, the others are told of it.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use oncekey_tests_api::{DEV, Oncekey, PROD, Place, answer, handle, key_hash};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn r01_the_same_key_gives_the_first_triggers_run_and_nothing_new_runs() {
    let oncekey = Oncekey::anywhere().await;
    let first = oncekey.keyed("echo", "order-42").await;
    assert!(!first.is_cached);
    for _ in 0..2 {
        let again = oncekey.keyed("echo", "order-42").await;
        assert_eq!((again.id.as_str(), again.is_cached), (first.id.as_str(), true));
    }
    oncekey.finished(&first.id).await;
    let after_success = oncekey.keyed("echo", "order-42").await;
    assert_eq!((after_success.id.as_str(), after_success.is_cached), (first.id.as_str(), true));
    assert_eq!(oncekey.all_runs().await, [first.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_another_task_or_environment_makes_another_run_of_the_same_key() {
    let oncekey = Oncekey::anywhere().await;
    let echo = oncekey.keyed("echo", "k").await;
    let flaky = oncekey.keyed("sleep", "k").await;
    let oncekey = oncekey.as_key(PROD);
    let prod = oncekey.keyed("echo", "k").await;
    assert_eq!([&echo, &flaky, &prod].map(|handle| handle.is_cached), [false; 3]);
    assert_eq!(BTreeSet::from([&echo.id, &flaky.id, &prod.id]).len(), 3);
    assert_eq!(oncekey.all_runs().await, [prod.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_fifty_triggers_at_once_make_one_run_one_message_and_one_that_is_not_cached() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    // Delayed, so that the message can be counted on its queue.
    let body = json!({ "options": { "idempotencyKey": "storm", "delay": "15m" } });
    let handles = join_all((0..50).map(|_| oncekey.trigger("echo", body.clone()))).await;
    let ids: BTreeSet<&str> = handles.iter().map(|handle| handle.id.as_str()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(handles.iter().filter(|handle| !handle.is_cached).count(), 1);
    assert_eq!(oncekey.depth("oncekey-runs").await, [0, 0, 1]);
    assert_eq!(oncekey.all_runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r04_without_a_key_every_trigger_is_a_new_run_but_the_same_request_is_not() {
    let oncekey = Oncekey::anywhere().await;
    let one = oncekey.trigger("echo", json!({})).await;
    let other = oncekey.trigger("echo", json!({})).await;
    assert_ne!(one.id, other.id);
    assert_eq!([one.is_cached, other.is_cached], [false; 2]);

    let request = || {
        let post = oncekey.post("/api/v1/tasks/echo/trigger", "{}");
        answer(post.header("x-trigger-request-idempotency-key", "8f14e45f-ceea-467f-a0e6-ab7a1f2b3c4d"))
    };
    let (sent, again) = (handle(&request().await.1), handle(&request().await.1));
    assert_eq!(sent, again);
    assert!(!again.is_cached);
    oncekey.finished(&sent.id).await;
    assert_eq!(handle(&request().await.1), sent);
    assert_eq!(oncekey.all_runs().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r04_a_keyed_request_that_is_sent_again_gets_the_answer_it_got() {
    let oncekey = Oncekey::anywhere().await;
    let body = json!({ "options": { "idempotencyKey": "k" } }).to_string();
    let request = || {
        let post = oncekey.post("/api/v1/tasks/echo/trigger", body.clone());
        answer(post.header("x-trigger-request-idempotency-key", "one-request"))
    };
    let (sent, again) = (handle(&request().await.1), handle(&request().await.1));
    assert_eq!(sent, again);
    assert!(!again.is_cached);
    assert!(oncekey.keyed("echo", "k").await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn r04_a_request_id_that_comes_again_with_another_key_or_payload_is_refused() {
    let oncekey = Oncekey::anywhere().await;
    let trigger = async |id: &str, payload: u32, key: Option<&str>| {
        let body = json!({ "payload": payload, "options": { "idempotencyKey": key } }).to_string();
        let post = oncekey.post("/api/v1/tasks/echo/trigger", body);
        let (status, answer) = answer(post.header("x-trigger-request-idempotency-key", id)).await;
        (status.as_u16(), answer)
    };
    for (id, first) in [("plain", None), ("keyed", Some("first"))] {
        let (status, made) = trigger(id, 1, first).await;
        assert_eq!(status, 200);
        for (payload, key) in [(2, first), (1, Some("second"))] {
            let (status, refused) = trigger(id, payload, key).await;
            assert_eq!(status, 422, "{refused}");
            assert!(refused["error"].as_str().unwrap().starts_with("this request id was used"), "{refused}");
        }
        // Neither the run nor the key that was refused is harmed.
        assert_eq!(trigger(id, 1, first).await, (200, made.clone()));
        assert_eq!(oncekey.finished(made["id"].as_str().unwrap()).await["output"], 1);
    }
    assert!(!oncekey.keyed("echo", "second").await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_a_keys_text_and_the_official_clients_hash_of_it_are_one_key() {
    let oncekey = Oncekey::anywhere().await;
    let golden: Value = serde_json::from_str(include_str!("../../../golden/idempotency-keys.json")).unwrap();
    let outside_a_task = golden["vectors"].as_array().unwrap().iter().filter(|vector| vector["parentRunId"].is_null());
    let mut tried = 0;
    for vector in outside_a_task.filter(|vector| vector["key"] != "") {
        let text = match &vector["key"] {
            Value::Array(parts) => parts.iter().map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join("-"),
            key => key.as_str().unwrap().to_owned(),
        };
        if key_hash(&text).as_str() == text {
            // It looks like a hash, so it is taken for one, as the client takes it.
            continue;
        }
        let by_text = oncekey.keyed("echo", &text).await;
        let by_hash = oncekey.keyed("echo", vector["hash"].as_str().unwrap()).await;
        assert_eq!((&by_hash.id, by_hash.is_cached), (&by_text.id, true), "{text:?}");
        tried += 1;
    }
    assert!(tried > 40, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_any_text_up_to_2048_characters_is_a_key_and_an_empty_one_is_none() {
    let oncekey = Oncekey::anywhere().await;
    let longest = "ü".repeat(2048);
    let first = oncekey.keyed("echo", &longest).await;
    assert_eq!(oncekey.keyed("echo", &longest).await.id, first.id);
    assert_eq!(oncekey.run(&first.id).await["idempotencyKey"], longest.as_str());

    let (status, error) =
        oncekey.try_trigger("echo", json!({ "options": { "idempotencyKey": "k".repeat(2049) } })).await;
    assert_eq!(status, 400);
    assert_eq!(error["error"], "options.idempotencyKey: a key has at most 2048 characters");

    assert_ne!(oncekey.keyed("echo", "").await.id, oncekey.keyed("echo", "").await.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_the_idempotency_key_header_may_be_bare_or_quoted_and_wins_over_the_body() {
    let oncekey = Oncekey::anywhere().await;
    let with_header = |value: &'static str| {
        let body = json!({ "options": { "idempotencyKey": "from-body" } }).to_string();
        answer(oncekey.post("/api/v1/tasks/echo/trigger", body).header("idempotency-key", value))
    };
    let bare = handle(&with_header("from-header").await.1);
    let quoted = handle(&with_header("\"from-header\"").await.1);
    assert_eq!((quoted.id, quoted.is_cached), (bare.id.clone(), true));
    assert_eq!(oncekey.keyed("echo", "from-header").await.id, bare.id);
    assert!(!oncekey.keyed("echo", "from-body").await.is_cached);

    // Nor is what the body wants shown of its key shown of the header's.
    let options = json!({ "idempotencyKey": "from-body", "idempotencyKeyOptions": { "key": "shown", "scope": "run" } });
    let body = json!({ "options": options }).to_string();
    let post = oncekey.post("/api/v1/tasks/echo/trigger", body).header("idempotency-key", "another");
    let run = oncekey.run(&handle(&answer(post).await.1).id).await;
    assert_eq!(run["idempotencyKey"], "another");
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_what_a_header_wins_over_is_checked_all_the_same() {
    let oncekey = Oncekey::anywhere().await;
    let (long, ttl) = ("k".repeat(2049), "5 minutes");
    let keys = |key: &str, ttl: &str| json!({ "idempotencyKey": key, "idempotencyKeyTTL": ttl });
    for (body, header, field) in [
        (keys(&long, "1h"), ("idempotency-key", "k"), "idempotencyKey: "),
        (keys("k", ttl), ("idempotency-key-ttl", "1h"), "idempotencyKeyTTL: "),
        (keys("k", "1h"), ("idempotency-key", long.as_str()), "header idempotency-key: "),
        (keys("k", "1h"), ("idempotency-key-ttl", ttl), "header idempotency-key-ttl: "),
    ] {
        let mut batch = body.clone();
        batch["runCount"] = json!(1);
        for (path, body, within) in
            [("/api/v1/tasks/echo/trigger", json!({ "options": body }), "options."), ("/api/v3/batches", batch, "")]
        {
            let within = if field.starts_with("header") { "" } else { within };
            let (status, error) = answer(oncekey.post(path, body.to_string()).header(header.0, header.1)).await;
            assert_eq!(status, 400);
            assert!(error["error"].as_str().unwrap().starts_with(&format!("{within}{field}")), "{error}");
        }
    }
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_two_keys_in_headers_are_none() {
    let oncekey = Oncekey::anywhere().await;
    let post = || oncekey.post("/api/v1/tasks/echo/trigger", "{}");
    for request in [
        post().header("idempotency-key", "a").header("idempotency-key", "b"),
        post().header("idempotency-key", "a, b"),
        post().header("idempotency-key", "\"a\", \"b\""),
    ] {
        let (status, error) = answer(request).await;
        assert_eq!(status, 400);
        assert!(error["error"].as_str().unwrap().starts_with("header idempotency-key: "), "{error}");
    }
    let twice = post().header("authorization", "Bearer another");
    assert_eq!(answer(twice).await.0, 401);
    assert!(oncekey.all_runs().await.is_empty());
    let run = handle(&answer(post().header("idempotency-key", "\"k\";v=1")).await.1);
    assert_eq!(oncekey.keyed("echo", "k").await.id, run.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_an_empty_header_is_a_mistake_and_not_a_trigger_without_a_key() {
    let oncekey = Oncekey::anywhere().await;
    for value in ["", "\"\"", " "] {
        let body = json!({ "options": { "idempotencyKey": "from-body" } }).to_string();
        let (status, error) =
            answer(oncekey.post("/api/v1/tasks/echo/trigger", body).header("idempotency-key", value)).await;
        assert_eq!(status, 400);
        assert_eq!(error["error"], "header idempotency-key: is empty: give a key, or leave it out");
    }
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_outside_a_task_all_scopes_are_one() {
    let oncekey = Oncekey::anywhere().await;
    let scoped = |scope: &str| {
        let options = json!({
            "idempotencyKey": "c26fcb6ec5f5cab2237d19b1f0bc369d7098dae5a9512d02da16d058d235bed6",
            "idempotencyKeyOptions": { "key": "my-task-key", "scope": scope },
        });
        json!({ "options": options })
    };
    let run = oncekey.trigger("echo", scoped("run")).await;
    for scope in ["attempt", "global"] {
        assert_eq!(oncekey.trigger("echo", scoped(scope)).await.id, run.id);
    }
    assert_eq!(oncekey.keyed("echo", "my-task-key").await.id, run.id);
    assert_eq!(oncekey.run(&run.id).await["idempotencyKey"], "my-task-key");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_of_one_process_share_nothing() {
    let (one, other) = (Oncekey::anywhere().await, Oncekey::anywhere().await);
    one.keyed("echo", "k").await;
    assert!(!other.as_key(DEV).keyed("echo", "k").await.is_cached);
}
