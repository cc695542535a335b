//! I6: environments and their API keys. Nothing of one environment is reached with another's key, whichever door is tried.

use std::time::Duration;

use oncekey_core::EnvironmentId;
use oncekey_core::environment::{create, revoke, rotate};
use oncekey_core::store::ApiKeyRecord;
use oncekey_http::routes::{self, Access, Route};
use oncekey_tests_api::{Oncekey, PROD, Place, answer};
use reqwest::{Method, RequestBuilder, StatusCode};
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

/// A queue that one environment has.
const QUEUE: &str = "of-one-environment";

/// A route to things of an environment: as a request for one that is there, and what its body would be.
fn request(oncekey: &Oncekey, route: &Route, run: &str, batch: &str) -> RequestBuilder {
    let of_batch = route.path.contains("/batches/");
    let path = route.path.replace("{id}", if of_batch { batch } else { run });
    let path = path.replace("{task}", "echo").replace("{key}", "k").replace("{path}", "x").replace("{worker}", "w");
    let path = path.replace("{queue}", QUEUE);
    let body = match *route {
        routes::ADD_BATCH_ITEMS => json!({ "index": 0, "task": "echo" }).to_string(),
        routes::RESET_KEY => json!({ "taskIdentifier": "echo" }).to_string(),
        routes::RESCHEDULE_RUN => json!({ "delay": "1m" }).to_string(),
        routes::UPDATE_SCHEDULE => json!({ "task": "echo", "cron": "* * * * *" }).to_string(),
        routes::ADD_TAGS => json!({ "tags": ["a"] }).to_string(),
        routes::PAUSE_QUEUE => json!({ "type": "custom", "action": "pause" }).to_string(),
        routes::OVERRIDE_LIMIT => json!({ "type": "custom", "concurrencyLimit": 1 }).to_string(),
        routes::RESET_LIMIT => json!({ "type": "custom" }).to_string(),
        routes::TRIGGER | routes::CREATE_BATCH | routes::CHANGE_METADATA => "{}".to_owned(),
        _ => String::new(),
    };
    let request = oncekey.request(route.method(), &path).body(body);
    match *route {
        routes::LOOK_UP_KEY => request.query(&[("taskIdentifier", "echo")]),
        routes::RETRIEVE_QUEUE => request.query(&[("type", "custom")]),
        _ => request,
    }
}

fn doors() -> impl Iterator<Item = Route> {
    routes::ALL.into_iter().filter(|route| route.access == Access::ApiKey)
}

/// Those that make things, or ask for no particular one.
const NAMING_NOTHING: [Route; 16] = [
    routes::TRIGGER,
    routes::CREATE_BATCH,
    routes::LIST_RUNS,
    routes::PLACE_PACKET,
    routes::FIND_PACKET,
    routes::CREATE_SCHEDULE,
    routes::LIST_SCHEDULES,
    routes::CREATE_TOKEN,
    routes::LIST_TOKENS,
    routes::PUBLIC_TOKEN_CLAIMS,
    routes::LIST_WORKERS,
    routes::DEPLOY_WORKER,
    routes::CREATE_BULK_ACTION,
    routes::LIST_BULK_ACTIONS,
    routes::LIST_QUEUES,
    routes::PAUSE_ENVIRONMENT,
];

#[tokio::test(flavor = "multi_thread")]
async fn i6_no_door_leads_from_one_environment_into_another() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({ "options": { "idempotencyKey": "k", "delay": "1h" } })).await;
    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 1 }).to_string())).await;
    let batch = batch["id"].as_str().unwrap().to_owned();
    let manifest = json!({ "tasks": [], "queues": [{ "name": QUEUE, "concurrencyLimit": 1 }] });
    let worker = oncekey.request(Method::PUT, "/api/v1/workers/of-one-environment").body(manifest.to_string());
    assert_eq!(answer(worker).await.0, StatusCode::OK);
    let oncekey = oncekey.as_key(PROD);
    let id = &run.id;
    for route in doors().filter(|route| !NAMING_NOTHING.contains(route)) {
        let (status, answer) = answer(request(&oncekey, &route, id, &batch)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{}: {answer}", route.path);
        assert!(!answer["error"].as_str().unwrap().starts_with("there is no POST"), "{}", route.path);
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
    for route in doors() {
        let request = request(&oncekey, &route, "run_x", "batch_x");
        let (client, without) = request.try_clone().unwrap().build_split();
        let (status, body) = answer(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{}", route.path);
        assert!(body["error"].as_str().unwrap().starts_with("this API key is unknown"), "{body}");
        let mut without = without.unwrap();
        without.headers_mut().remove("authorization");
        assert_eq!(client.execute(without).await.unwrap().status(), StatusCode::UNAUTHORIZED, "{}", route.path);
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
