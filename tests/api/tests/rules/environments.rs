//! I6: environments and their API keys. Nothing of one environment is reached with another's key, whichever door is tried.

use std::time::Duration;

use oncekey_core::EnvironmentId;
use oncekey_core::environment::{create, revoke, rotate};
use oncekey_core::store::ApiKeyRecord;
use oncekey_tests_api::{Oncekey, PROD, Place, answer};
use reqwest::StatusCode;
use serde_json::json;

const DAY: Duration = Duration::from_secs(86_400);

fn acme() -> EnvironmentId {
    EnvironmentId::parse("acme/prod").unwrap()
}

/// What a list answers to an API key.
async fn status(oncekey: &Oncekey, api_key: &str) -> StatusCode {
    let (client, request) = oncekey.get("/api/v1/runs").build_split();
    let mut request = request.unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {api_key}").parse().unwrap());
    client.execute(request).await.unwrap().status()
}

async fn keys_of_acme(oncekey: &Oncekey) -> Vec<ApiKeyRecord> {
    let all = oncekey.app().store.api_keys().await.unwrap();
    all.into_iter().filter(|record| record.environment == acme()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_no_door_leads_from_one_environment_into_another() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({ "options": { "idempotencyKey": "k", "delay": "1h" } })).await;
    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 1 }).to_string())).await;
    let batch = batch["id"].as_str().unwrap().to_owned();
    let oncekey = oncekey.as_key(PROD);
    let id = &run.id;
    let item = json!({ "index": 0, "task": "echo" }).to_string();
    for request in [
        oncekey.get(&format!("/api/v3/runs/{id}")),
        oncekey.post(&format!("/api/v2/runs/{id}/cancel"), ""),
        oncekey.post(&format!("/api/v1/runs/{id}/replay"), ""),
        oncekey.post(&format!("/api/v1/runs/{id}/reschedule"), json!({ "delay": "1m" }).to_string()),
        oncekey.get("/api/v1/idempotencyKeys/k?taskIdentifier=echo"),
        oncekey.post("/api/v1/idempotencyKeys/k/reset", json!({ "taskIdentifier": "echo" }).to_string()),
        oncekey.get(&format!("/api/v2/batches/{batch}")),
        oncekey.post(&format!("/api/v3/batches/{batch}/items"), item),
    ] {
        let path = request.try_clone().unwrap().build().unwrap().url().path().to_owned();
        assert_eq!(answer(request).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(oncekey.all_runs().await.is_empty());
    assert_ne!(oncekey.keyed("echo", "k").await.id, *id);
    // A parent of another environment is no parent.
    let child = oncekey.trigger("echo", json!({ "options": { "parentRunId": id } })).await;
    assert_eq!(oncekey.run(&child.id).await["relatedRuns"], json!({}));
    assert_eq!(oncekey.list(&format!("filter[batch]={batch}")).await["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_asks_for_an_api_key() {
    let oncekey = Oncekey::anywhere().await.as_key("tr_unknown");
    for request in [
        oncekey.post("/api/v1/tasks/echo/trigger", "{}"),
        oncekey.post("/api/v3/batches", "{}"),
        oncekey.post("/api/v3/batches/batch_x/items", ""),
        oncekey.get("/api/v2/batches/batch_x"),
        oncekey.post("/api/v1/idempotencyKeys/k/reset", "{}"),
        oncekey.get("/api/v1/idempotencyKeys/k"),
        oncekey.get("/api/v1/runs"),
        oncekey.get("/api/v3/runs/run_x"),
        oncekey.post("/api/v2/runs/run_x/cancel", ""),
        oncekey.post("/api/v1/runs/run_x/replay", ""),
        oncekey.post("/api/v1/runs/run_x/reschedule", "{}"),
        oncekey.get("/api/v1/packets/x"),
        oncekey.put("/api/v2/packets/x"),
    ] {
        let path = request.try_clone().unwrap().build().unwrap().url().path().to_owned();
        let (status, body) = answer(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(body["error"].as_str().unwrap().starts_with("this API key is unknown"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_works_until_its_overlap_is_over() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (store, clock) = (&oncekey.app().store, &oncekey.clock);
    let first = create(store, clock, &acme()).await.unwrap();
    assert_eq!(
        create(store, clock, &acme()).await.unwrap_err().to_string(),
        "acme/prod is there already: rotate its key to get another"
    );
    assert_eq!(status(&oncekey, first.reveal()).await, StatusCode::OK);
    let second = rotate(store, clock, &acme(), DAY).await.unwrap();
    clock.advance(DAY - Duration::from_secs(60));
    assert_eq!(status(&oncekey, first.reveal()).await, StatusCode::OK);
    assert_eq!(status(&oncekey, second.reveal()).await, StatusCode::OK);
    // Though it was read a minute ago, its end is known to the millisecond.
    clock.advance(Duration::from_secs(60));
    assert_eq!(status(&oncekey, first.reveal()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&oncekey, second.reveal()).await, StatusCode::OK);
    let other = EnvironmentId::parse("acme/none").unwrap();
    assert!(rotate(store, clock, &other, DAY).await.unwrap_err().to_string().contains("no environment acme/none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_opens_nothing_after_a_minute() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (store, clock) = (&oncekey.app().store, &oncekey.clock);
    let key = create(store, clock, &acme()).await.unwrap();
    assert_eq!(status(&oncekey, key.reveal()).await, StatusCode::OK);
    let name = keys_of_acme(&oncekey).await[0].name().to_owned();
    revoke(store, clock, &acme(), &name).await.unwrap();
    // However often it is used meanwhile.
    for _ in 0..3 {
        clock.advance(Duration::from_secs(20));
        let _ = status(&oncekey, key.reveal()).await;
    }
    assert_eq!(status(&oncekey, key.reveal()).await, StatusCode::UNAUTHORIZED);
    assert!(revoke(store, clock, &acme(), &name).await.is_err());
    let again = create(store, clock, &acme()).await.unwrap();
    assert_eq!(status(&oncekey, again.reveal()).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_api_key_is_stored() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let key = create(&oncekey.app().store, &oncekey.clock, &acme()).await.unwrap();
    let (_, dynamodb) = oncekey.stack().dynamodb();
    let stored = dynamodb.scan().table_name(oncekey.table("oncekey-environments")).send().await.unwrap();
    let text = format!("{:?}", stored.items);
    assert!(text.contains("acme/prod") && !text.contains(key.reveal()), "{text}");
    let record = &keys_of_acme(&oncekey).await[0];
    assert_eq!(record.hint.chars().filter(|c| *c != '…').count(), "tr_prod_".len() + 4);
}
