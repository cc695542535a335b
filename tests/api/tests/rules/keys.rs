//! Keys over plain HTTP: why an answer is what it is, who holds a key, keys made of payloads, guards and groups.

use std::time::Duration;

use oncekey_tests_api::{Oncekey, PROD, Place, answer};
use serde_json::{Value, json};

async fn ask(oncekey: &Oncekey, task: &str, payload: Value, options: Value) -> Value {
    let (status, answer) = oncekey.try_trigger(task, json!({ "payload": payload, "options": options })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn holder(oncekey: &Oncekey, key: &str, place: &str) -> (u16, Value) {
    let (status, answer) = answer(oncekey.get(&format!("/api/v1/idempotencyKeys/{key}?{place}"))).await;
    (status.as_u16(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_what_became_of_its_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let options = json!({ "idempotencyKey": "order 42", "idempotencyKeyTTL": "1h" });
    let first = ask(&oncekey, "echo", json!(1), options.clone()).await;
    let told = &first["idempotency"];
    assert_eq!((&told["key"], &told["status"]), (&json!("order 42"), &json!("created")));
    assert_eq!(told["hash"].as_str().unwrap().len(), 64);
    assert_eq!(told["firstTriggeredAt"], oncekey.clock.now().to_string());
    assert_eq!(told["windowEndsAt"], oncekey.clock.now().plus(Duration::from_secs(3_600)).to_string());
    assert_eq!((told.get("scope"), told.get("group"), first.get("taskIdentifier")), (None, None, None));

    oncekey.finished(first["id"].as_str().unwrap()).await;
    oncekey.clock.advance(Duration::from_secs(60));
    let again = ask(&oncekey, "echo", json!(1), options.clone()).await;
    assert_eq!((&again["id"], &again["idempotency"]["status"]), (&first["id"], &json!("cached")));
    for field in ["windowEndsAt", "firstTriggeredAt", "hash"] {
        assert_eq!(again["idempotency"][field], told[field]);
    }

    oncekey.clock.advance(Duration::from_secs(3_540));
    let later = ask(&oncekey, "echo", json!(1), options).await;
    assert_ne!(later["id"], first["id"]);
    assert_eq!(later["idempotency"]["status"], "replaced-expired");

    let scoped =
        json!({ "idempotencyKey": "a".repeat(64), "idempotencyKeyOptions": { "key": "mine", "scope": "global" } });
    let scoped = ask(&oncekey, "echo", json!(1), scoped).await;
    assert_eq!((&scoped["idempotency"]["key"], &scoped["idempotency"]["scope"]), (&json!("mine"), &json!("global")));
    assert_eq!(ask(&oncekey, "echo", json!(1), json!({})).await.get("idempotency"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_be_looked_up_until_it_is_free() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = ask(&oncekey, "echo", json!(1), json!({ "idempotencyKey": "k", "idempotencyKeyTTL": "1h" })).await;
    let (status, held) = holder(&oncekey, "k", "taskIdentifier=echo").await;
    assert_eq!((status, &held["runId"], &held["key"]), (200, &run["id"], &json!("k")));
    assert_eq!(held["windowEndsAt"], run["idempotency"]["windowEndsAt"]);
    let by_hash = holder(&oncekey, held["hash"].as_str().unwrap(), "taskIdentifier=echo").await;
    assert_eq!(by_hash, (200, held));

    assert_eq!(holder(&oncekey, "k", "taskIdentifier=sleep").await.0, 404);
    assert_eq!(holder(&oncekey, "other", "taskIdentifier=echo").await.0, 404);
    let (status, error) = holder(&oncekey, "k", "").await;
    assert_eq!((status, &error["error"]), (400, &json!("taskIdentifier: say in which task the key holds")));

    oncekey.finished(run["id"].as_str().unwrap()).await;
    oncekey.clock.advance(Duration::from_secs(3_600));
    assert_eq!(holder(&oncekey, "k", "taskIdentifier=echo").await.0, 404);
    let oncekey = oncekey.as_key(PROD);
    assert_eq!(holder(&oncekey, "k", "taskIdentifier=echo").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_of_the_payload_does_not_mind_its_spelling() {
    let oncekey = Oncekey::anywhere().await;
    let trigger = async |body: &'static str| {
        let (status, answer) = answer(oncekey.post("/api/v1/tasks/echo/trigger", body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    };
    let one = trigger(r#"{"payload": {"a": 1, "b": [1.50]}, "options": {"idempotencyKeyFrom": "payload"}}"#).await;
    let same =
        trigger(r#"{"payload": { "b": [15e-1], "a": 1.0 }, "options": {"idempotencyKeyFrom": "payload"}}"#).await;
    let other = trigger(r#"{"payload": {"a": 2, "b": [1.5]}, "options": {"idempotencyKeyFrom": "payload"}}"#).await;
    assert_eq!(one, same);
    assert_ne!(one, other);

    let first =
        trigger(r#"{"payload": {"orderId": 7, "at": 1}, "options": {"idempotencyKeyFrom": ["/orderId"]}}"#).await;
    let again =
        trigger(r#"{"payload": {"orderId": 7, "at": 2}, "options": {"idempotencyKeyFrom": ["/orderId"]}}"#).await;
    assert_eq!(first, again);
    assert_eq!(oncekey.run(&first).await["idempotencyKey"], r#"{"/orderId":7}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_made_of_the_payload_is_refused() {
    let oncekey = Oncekey::anywhere().await;
    for (body, wanted) in [
        (json!({ "options": { "idempotencyKeyFrom": "payload" } }), "there is no payload to make a key of"),
        (json!({ "payload": {}, "options": { "idempotencyKeyFrom": ["/id"] } }), "the payload has nothing at \"/id\""),
        (json!({ "payload": {}, "options": { "idempotencyKeyFrom": ["id"] } }), "a list of 1 to 16 JSON pointers"),
        (json!({ "payload": {}, "options": { "idempotencyKeyFrom": "body" } }), "give \"payload\""),
        (json!({ "payload": 1, "options": { "idempotencyKeyFrom": "payload", "idempotencyKey": "k" } }), "one key"),
        (json!({ "payload": u64::MAX, "options": { "idempotencyKeyFrom": "payload" } }), "send it as a text"),
    ] {
        let (status, error) = oncekey.try_trigger("echo", body.clone()).await;
        let text = error["error"].as_str().unwrap();
        assert!(
            status == 400 && text.starts_with("options.idempotencyKeyFrom: ") && text.contains(wanted),
            "{body} {text}"
        );
    }
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_with_another_payload_is_refused_if_asked() {
    let oncekey = Oncekey::anywhere().await;
    let options = json!({ "idempotencyKey": "k", "onPayloadMismatch": "error" });
    let first = ask(&oncekey, "echo", json!({ "a": 1 }), options.clone()).await;
    let (status, error) =
        oncekey.try_trigger("echo", json!({ "payload": { "a": 2 }, "options": options.clone() })).await;
    assert_eq!(status, 422);
    let text = error["error"].as_str().unwrap();
    assert!(text.contains("\"k\"") && text.contains(first["id"].as_str().unwrap()), "{text}");
    assert_eq!(ask(&oncekey, "echo", json!({ "a": 1.0 }), options).await["id"], first["id"]);
    assert_eq!(ask(&oncekey, "echo", json!({ "a": 2 }), json!({ "idempotencyKey": "k" })).await["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_group_holds_whichever_task_is_triggered_first() {
    let oncekey = Oncekey::anywhere().await;
    let options = json!({ "idempotencyKey": "cart-7", "idempotencyKeyGroup": "checkout" });
    let first = ask(&oncekey, "echo", json!(1), options.clone()).await;
    assert_eq!((&first["isCached"], &first["taskIdentifier"]), (&json!(false), &json!("echo")));
    let other = ask(&oncekey, "flaky", json!({ "failTimes": 0 }), options.clone()).await;
    assert_eq!(
        (&other["id"], &other["isCached"], &other["taskIdentifier"]),
        (&first["id"], &json!(true), &json!("echo"))
    );
    assert_eq!(other["idempotency"]["group"], "checkout");

    // The same key in the task itself, in another group, or in another environment is another key.
    let alone = ask(&oncekey, "echo", json!(1), json!({ "idempotencyKey": "cart-7" })).await;
    let elsewhere = json!({ "idempotencyKey": "cart-7", "idempotencyKeyGroup": "returns" });
    let elsewhere = ask(&oncekey, "echo", json!(1), elsewhere).await;
    assert_ne!(alone["id"], first["id"]);
    assert_ne!(elsewhere["id"], first["id"]);

    assert_eq!(oncekey.finished(first["id"].as_str().unwrap()).await["idempotencyKey"], "cart-7");
    assert_eq!(holder(&oncekey, "cart-7", "idempotencyKeyGroup=checkout").await.1["runId"], first["id"]);
    let reset = json!({ "idempotencyKeyGroup": "checkout" }).to_string();
    let (status, _) = answer(oncekey.post("/api/v1/idempotencyKeys/cart-7/reset", reset)).await;
    assert_eq!(status, 200);
    assert_ne!(ask(&oncekey, "flaky", json!({ "failTimes": 0 }), options).await["id"], first["id"]);
    assert!(ask(&oncekey, "echo", json!(1), json!({ "idempotencyKey": "cart-7" })).await["isCached"] == true);
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_failed_run_clears_its_key_in_its_group() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let options = json!({ "idempotencyKey": "k", "idempotencyKeyGroup": "checkout" });
    let failed = ask(&oncekey, "fail", json!(1), options.clone()).await;
    oncekey.finished(failed["id"].as_str().unwrap()).await;
    oncekey.drained("oncekey-completions").await;
    let next = ask(&oncekey, "echo", json!(1), options).await;
    assert_eq!((&next["isCached"], &next["taskIdentifier"]), (&json!(false), &json!("echo")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_a_bad_name_is_refused() {
    let oncekey = Oncekey::anywhere().await;
    let body = json!({ "options": { "idempotencyKey": "k", "idempotencyKeyGroup": "a b" } });
    let (status, error) = oncekey.try_trigger("echo", body).await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().contains("a group is 1 to 128 characters"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_differ_in_their_last_digit_are_different_payloads() {
    let oncekey = Oncekey::anywhere().await;
    let ask = async |payload: &str, options: &str| {
        let body = format!(r#"{{"payload": {{"amount": {payload}}}, "options": {{{options}}}}}"#);
        answer(oncekey.post("/api/v1/tasks/echo/trigger", body)).await
    };
    let guarded = r#""idempotencyKey": "k", "onPayloadMismatch": "error""#;
    let (_, first) = ask("9007199254740993", guarded).await;
    assert_eq!(ask("9007199254740992", guarded).await.0, 422);
    assert_eq!(ask("9007199254740993.0", guarded).await.1["id"], first["id"]);
    for number in ["100000000000000000001", "9007199254740993.0", "0.12345678901234567891"] {
        let (status, refusal) = ask(number, r#""idempotencyKeyFrom": "payload""#).await;
        assert_eq!(status, 400, "{refusal}");
        assert!(refusal["error"].as_str().unwrap().contains("send it as a text"), "{refusal}");
    }
}
