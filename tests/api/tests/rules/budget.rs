//! The design's budget, from the `ConsumedCapacity` of every call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dynoxide::Database;
use oncekey::Options;
use oncekey::aws::dynamodb::execute;
use oncekey_core::cron::ScheduleId;
use oncekey_core::environment::create;
use oncekey_core::protocol::tick::tick;
use oncekey_core::store::SHARDS;
use oncekey_core::{EnvironmentId, TokenId};
use oncekey_tests_api::{DEV, Oncekey, Place, answer, dev};
use oncekey_worker::{Child, Context, Task, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::budget_limits::LIMITS;
use crate::dashboard::Visitor;
use crate::faults::database_behind;
use crate::journal::suspended;
use crate::large::noise;
use crate::waits::DrainedButDelayed;

/// Units that each call used, by operation.
pub(crate) type Units = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

/// Carries out one call, asking for its capacity, and takes that out of the answer again. A refused conditional write
/// reports no capacity, and costs what AWS charges for it: one unit, as items here are under 1 KB.
fn counting(units: &Units, database: &Database, operation: &str, body: &[u8]) -> (u16, String) {
    let costs = [
        "PutItem",
        "BatchWriteItem",
        "UpdateItem",
        "DeleteItem",
        "TransactWriteItems",
        "GetItem",
        "BatchGetItem",
        "Query",
    ];
    if !costs.contains(&operation) {
        return execute(database, operation, body);
    }
    let mut request: Value = serde_json::from_slice(body).unwrap();
    request["ReturnConsumedCapacity"] = json!("TOTAL");
    let (status, answer) = execute(database, operation, request.to_string().as_bytes());
    let mut answer: Value = serde_json::from_str(&answer).unwrap();
    let used = match answer.as_object_mut().and_then(|answer| answer.remove("ConsumedCapacity")) {
        Some(Value::Array(tables)) => tables.iter().map(|table| table["CapacityUnits"].as_f64().unwrap()).sum(),
        Some(table) => table["CapacityUnits"].as_f64().unwrap(),
        None => 1.0,
    };
    units.lock().unwrap().entry(operation.to_owned()).or_default().push(used);
    (status, answer.to_string())
}

pub(crate) const COSTS_UNTOLD: &str = "DynamoDB Local does not tell what a request to a table with indexes consumes";

/// A stack whose DynamoDB calls are counted.
pub(crate) async fn counted(place: Place) -> (Oncekey, Units) {
    counted_with(place, oncekey_function_worker::worker()).await
}

pub(crate) async fn counted_with(place: Place, worker: Worker) -> (Oncekey, Units) {
    let units = Units::default();
    let counted = Arc::clone(&units);
    let url = database_behind(move |database, operation, body| counting(&counted, database, operation, &body)).await;
    let oncekey = Oncekey::running(place, worker, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
    (oncekey, units)
}

/// `parent` does `wait`; `child` takes long enough to be waited for.
fn waiting_worker(wait: Task) -> Worker {
    let child = Task::new("child", |_: Context, _: Value| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    });
    Worker::new().task(wait).task(child)
}

pub(crate) fn take(units: &Units) -> (f64, f64) {
    let used = std::mem::take(&mut *units.lock().unwrap());
    let sum = |reads: bool| {
        let is_read = |operation: &str| ["GetItem", "BatchGetItem", "Query"].contains(&operation);
        used.iter().filter(|(operation, _)| is_read(operation) == reads).flat_map(|(_, units)| units).sum()
    };
    (sum(false), sum(true))
}

pub(crate) async fn settled(oncekey: &Oncekey) {
    oncekey.drained("oncekey-runs").await;
    oncekey.drained("oncekey-completions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_trigger_a_duplicate_a_start_and_a_success_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    // The first request also reads the API key, once a minute.
    oncekey.list("").await;
    let payload = json!({ "text": "x".repeat(200) });
    take(&units);

    let delayed = |key: Option<&str>| {
        let mut options = json!({ "delay": "1h" });
        if let Some(key) = key {
            options["idempotencyKey"] = json!(key);
        }
        json!({ "payload": payload, "options": options })
    };
    oncekey.trigger("echo", delayed(None)).await;
    assert_eq!(take(&units), (2.0, 0.0), "a trigger without a key: the run and its index entry");
    oncekey.trigger("echo", delayed(Some("k"))).await;
    assert_eq!(take(&units), (3.0, 0.0), "a trigger with a key: the key as well");
    oncekey.trigger("echo", delayed(Some("k"))).await;
    assert_eq!(take(&units), (1.0, 1.0), "a duplicate: the refused claim and a consistent read");

    oncekey.clock.advance(Duration::from_secs(3_600));
    settled(&oncekey).await;
    // Of two workers that start at once, both look for limits.
    let (writes, reads) = take(&units);
    assert_eq!(writes, 4.0, "two runs, each one write to start and one to succeed");
    assert!(
        [2.0 + LIMITS, 2.0 + 2.0 * LIMITS].contains(&reads),
        "and a look for waiters, and once for limits: {reads}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_time_of_a_cron_schedule_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    let body = json!({ "task": "echo", "cron": "0 * * * *", "deduplicationKey": "k" });
    let (_, schedule) = answer(oncekey.post("/api/v1/schedules", body.to_string())).await;
    let id = ScheduleId::parse(schedule["id"].as_str().unwrap()).unwrap();
    let stored = oncekey.app().store.cron_schedule(&dev(), &id).await.unwrap().unwrap();
    oncekey.purge("oncekey-triggers").await;
    oncekey.clock.advance(Duration::from_secs(3_600));
    take(&units);
    tick(oncekey.app(), stored.tick(), "a message").await.unwrap();
    settled(&oncekey).await;
    assert_eq!(
        take(&units),
        (6.0, 2.0 + LIMITS),
        "the note, a read of the schedule and what its task is told, besides a run without a key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_deployment_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    take(&units);
    let declared = async |cron: &str| {
        let manifest = json!({ "tasks": [{ "id": "echo", "cron": { "pattern": cron } }] });
        let (status, told) =
            answer(oncekey.request(Method::PUT, "/api/v1/workers/mine").body(manifest.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{told}");
        take(&units)
    };
    assert_eq!(
        declared("0 0 1 1 *").await,
        (5.0, 4.0),
        "the deployment, and a schedule with a look at that; that of the worker, all, the schedules, and what holds for queues"
    );
    assert_eq!(declared("0 0 1 1 *").await, (1.0, 4.0), "the deployment alone");
    assert_eq!(declared("0 0 2 1 *").await, (5.0, 4.0), "and a schedule that is another");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_push_of_a_debounced_run_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    take(&units);
    for mode in ["leading", "trailing"] {
        let body = json!({ "payload": 1, "options": { "debounce": { "key": mode, "delay": "1h", "mode": mode } } });
        oncekey.trigger("echo", body.clone()).await;
        assert_eq!(take(&units), (3.0, 0.0), "the debounce key, the run and its index entry");
        assert!(oncekey.trigger("echo", body.clone()).await.is_cached);
        assert_eq!(
            take(&units),
            (3.0, 2.0),
            "the refused claim, the push and what stands for it; a look at its own run and that one"
        );
        oncekey.trigger("echo", body).await;
        assert_eq!(take(&units), (3.0, 3.0), "and whether who pushed it before has left the same");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_public_token_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    let acme = EnvironmentId::parse("acme/prod").unwrap();
    let key = create(&oncekey.app().store, &oncekey.clock, &acme).await.unwrap();
    let oncekey = oncekey.as_key(key.reveal());
    let holder = oncekey.holder(&["read:batch:none", "trigger:tasks:echo"]).await;
    let once = oncekey.holder_once(&["trigger:tasks:echo"]).await;
    oncekey.clock.advance(Duration::from_secs(60));
    take(&units);
    let none = "/api/v1/waitpoints/tokens";
    for (after, reads) in [(0, 2.0), (0, 0.0), (60, 1.0)] {
        oncekey.clock.advance(Duration::from_secs(after));
        assert_eq!(holder.get(none).await.0, StatusCode::FORBIDDEN);
        assert_eq!(take(&units), (0.0, reads), "the API key a minute, and once the name by which it is found");
    }
    let body = json!({ "options": { "delay": "1h" } });
    for (holder, writes) in [(&holder, 2.0), (&once, 3.0)] {
        assert_eq!(holder.post("/api/v1/tasks/echo/trigger", &body).await.0, StatusCode::OK);
        assert_eq!(take(&units), (writes, 0.0), "a token that may be used once is a write more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_wait_token_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    // The API key is read once a minute.
    answer(oncekey.get("/api/v1/waitpoints/tokens")).await;
    take(&units);
    let make = async |body: Value| answer(oncekey.post("/api/v1/waitpoints/tokens", body.to_string())).await.1;
    let token = make(json!({ "tags": ["a"] })).await;
    assert_eq!(take(&units), (1.0, 0.0), "a token without a key");
    make(json!({ "idempotencyKey": "k" })).await;
    assert_eq!(take(&units), (2.0, 0.0), "and one with a key: the key as well");
    make(json!({ "idempotencyKey": "k" })).await;
    assert_eq!(take(&units), (1.0, 1.0), "the same again: the refused claim and a consistent read");
    let path = format!("/api/v1/waitpoints/tokens/{}/complete", token["id"].as_str().unwrap());
    answer(oncekey.post(&path, json!({ "data": { "approved": true } }).to_string())).await;
    settled(&oncekey).await;
    let (writes, reads) = take(&units);
    assert_eq!(reads, 3.0, "its caller and its message look, and who waits");
    assert!(
        [1.0, 2.0].contains(&writes),
        "{writes}: a completion; a refused one, of whichever of the two is second by a hair"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_wait_for_a_token_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let wait =
        Task::new("wait", |ctx: Context, token: TokenId| async move { Ok(ctx.wait_for_token::<Value>(&token).await?) });
    let (oncekey, units) = counted_with(place, Worker::new().task(wait)).await;
    let token = answer(oncekey.post("/api/v1/waitpoints/tokens", "{}")).await.1;
    take(&units);
    let run = oncekey.trigger("wait", json!({ "payload": token["id"] })).await.id;
    oncekey.in_status(&run, "WAITING").await;
    oncekey.drained_but_delayed().await;
    let (writes, _) = take(&units);
    assert_eq!(writes, 3.0 + 4.0, "a run that starts; what it waits for, on both sides, its calls, and the suspension");
    let path = format!("/api/v1/waitpoints/tokens/{}/complete", token["id"].as_str().unwrap());
    answer(oncekey.post(&path, json!({ "data": 1 }).to_string())).await;
    oncekey.finished(&run).await;
    oncekey.drained_but_delayed().await;
    let (writes, _) = take(&units);
    assert!(
        [5.0, 6.0].contains(&writes),
        "{writes}: a completion, the waking, what it waits for no more, a start, and its end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_whole_run_holds_whoever_makes_its_record_first() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    take(&units);
    for key in 0..20 {
        oncekey.trigger("echo", json!({ "payload": key, "options": { "idempotencyKey": key.to_string() } })).await;
        settled(&oncekey).await;
        let (writes, reads) = take(&units);
        assert_eq!(writes, 5.0, "key, run, index, start, success");
        assert!([1.0, 1.0 + LIMITS].contains(&reads), "a look for waiters, and every five seconds for limits: {reads}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_key_that_any_end_releases_is_one_write_more_at_its_end() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    take(&units);
    for (release, writes) in [("on-failure", 5.0), ("on-end", 6.0), ("never", 5.0)] {
        let options = json!({ "idempotencyKey": release, "idempotencyKeyRelease": release });
        oncekey.trigger("echo", json!({ "options": options })).await;
        settled(&oncekey).await;
        assert_eq!(take(&units).0, writes, "{release}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_run_that_replaces_another_is_five_writes_more() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    let body = json!({ "options": { "idempotencyKey": "k", "onKeyHeld": "replace", "delay": "1h" } });
    oncekey.trigger("echo", body.clone()).await;
    settled(&oncekey).await;
    take(&units);
    oncekey.trigger("echo", body).await;
    settled(&oncekey).await;
    let (writes, reads) = take(&units);
    assert_eq!((writes, reads), (REPLACED.0 + 3.0, REPLACED.1 + LIMITS), "and the key, the run and its index entry");
}

/// What it takes that a run under way makes way: two refused claims, its end, and its event's, which finds that made; it is
/// looked at twice, the successor once, and whoever waits for it.
const REPLACED: (f64, f64) = (4.0, 6.0);

/// What a run without a key and without waits writes: the run, its index entry, start, success.
const PLAIN_RUN: f64 = 4.0;

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_timed_wait_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let wait =
        Task::new("parent", |ctx: Context, _: Value| async move { Ok(ctx.wait_for(Duration::from_secs(60)).await?) });
    let (oncekey, units) = counted_with(place, waiting_worker(wait)).await;
    oncekey.list("").await;
    take(&units);
    let run = oncekey.trigger("parent", json!({})).await;
    oncekey.in_status(&run.id, "WAITING").await;
    while oncekey.depth("oncekey-runs").await != [0, 0, 1] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    oncekey.clock.advance(Duration::from_secs(60));
    settled(&oncekey).await;
    assert_eq!(take(&units).0, PLAIN_RUN + 3.0 + 1.0, "journal, suspension, wake-up; and the start that follows");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_hundredth_wait_of_a_run_writes_no_more_than_its_hundred_and_fiftieth() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let minute = Duration::from_secs(60);
    let wait = Task::new("parent", |ctx: Context, _: Value| async move {
        for _ in 0..=200 {
            ctx.wait_for(Duration::from_secs(60)).await?;
        }
        Ok(())
    });
    let (oncekey, units) = counted_with(place, waiting_worker(wait)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    let mut used = Vec::new();
    for wait in 1..=200 {
        suspended(&oncekey, &run.id, &[wait]).await;
        oncekey.drained_but_delayed().await;
        used.push(take(&units).0);
        oncekey.clock.advance(minute);
    }
    let sum = |waits: &[f64]| waits.iter().sum::<f64>();
    assert_eq!(sum(&used[1..15]), 14.0 * 4.0, "journal, suspension, wake-up and start");
    // The record has grown to the history that is kept at most, and writes of it cost four units each.
    assert_eq!(sum(&used[140..170]), sum(&used[170..]));
    assert!(used.iter().all(|units| *units <= 13.0), "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_awaiting_a_new_child_holds() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let wait = Task::new("parent", |ctx: Context, _: Value| async move {
        Ok(ctx.trigger_and_wait::<()>(Child::new("child", 1)).await?)
    });
    let (oncekey, units) = counted_with(place, waiting_worker(wait)).await;
    oncekey.list("").await;
    take(&units);
    let run = oncekey.trigger("parent", json!({})).await;
    oncekey.finished(&run.id).await;
    settled(&oncekey).await;
    let wanted = PLAIN_RUN + PLAIN_RUN + 7.0 + 1.0;
    assert_eq!(
        take(&units).0,
        wanted,
        "wait, registration, calls, suspension, end, wake-up, registration's end; and the start that follows"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_several_kilobytes_that_compresses_costs_as_little_as_a_small_one() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    take(&units);
    let payload = json!({ "text": "to be or not to be ".repeat(300) });
    let run = oncekey.trigger("echo", json!({ "payload": payload, "options": { "delay": "1h" } })).await;
    assert_eq!(take(&units), (2.0, 0.0), "the run and its index entry");
    assert_eq!(oncekey.run(&run.id).await["payload"], payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_fifty_runs_costs_one_index_query_and_a_batch_read_each_of_runs_and_keys() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    for n in 0..60 {
        oncekey.trigger("echo", json!({ "options": { "delay": "1h", "idempotencyKey": n.to_string() } })).await;
    }
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    take(&units);
    let page = visitor.get("/runs").await;
    let used = std::mem::take(&mut *units.lock().unwrap());
    let calls: BTreeMap<&str, usize> = used.iter().map(|(operation, used)| (operation.as_str(), used.len())).collect();
    // The index is sharded: its one query is a call to each shard, all at once.
    assert_eq!(calls, BTreeMap::from([("Query", SHARDS as usize), ("BatchGetItem", 2)]));
    assert_eq!(page.matches("class=\"id\"").count(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_and_an_output_of_20_kb_take_fifty_write_units_and_duplicates_and_lists_cost_what_small_ones_do() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let mut listed = Vec::new();
    for (payload, most) in [(json!(1), 5.0), (json!(noise(20 * 1024)), 50.0)] {
        let (oncekey, units) = counted(place).await;
        oncekey.list("").await;
        let mut body =
            json!({ "payload": payload, "options": { "idempotencyKey": "k", "onPayloadMismatch": "error" } });
        take(&units);
        let run = oncekey.trigger("echo", body.clone()).await;
        settled(&oncekey).await;
        let (writes, _) = take(&units);
        assert!(writes <= most, "{writes}");
        assert_eq!(oncekey.run(&run.id).await["output"], payload);
        take(&units);
        assert!(oncekey.trigger("echo", body.clone()).await.is_cached);
        assert_eq!(take(&units), (1.0, 1.0), "a duplicate");
        body["payload"] = json!([payload]);
        assert_eq!(oncekey.try_trigger("echo", body).await.0, reqwest::StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(take(&units), (1.0, 1.0), "a refusal");
        oncekey.list("").await;
        listed.push(take(&units));
    }
    assert_eq!(listed[0], listed[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_20_kb_is_written_once_and_read_by_no_duplicate() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    let options = json!({ "idempotencyKey": "k", "metadata": { "text": noise(20 * 1024) } });
    let body = json!({ "payload": 1, "options": options });
    take(&units);
    oncekey.trigger("echo", body.clone()).await;
    settled(&oncekey).await;
    let (writes, _) = take(&units);
    assert!(writes <= 5.0 + 21.0, "{writes}");
    assert!(oncekey.trigger("echo", body).await.is_cached);
    assert_eq!(take(&units), (1.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_a_kilobyte_is_written_once_and_not_with_every_move() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted(place).await;
    oncekey.list("").await;
    for bytes in [100, 400, 700, 900] {
        take(&units);
        oncekey.trigger("echo", json!({ "payload": { "text": noise(bytes) }, "options": { "maxAttempts": 1 } })).await;
        settled(&oncekey).await;
        let (writes, _) = take(&units);
        // Its output is its payload, and may take the last write over a kilobyte.
        assert!(writes <= PLAIN_RUN + 2.0, "{bytes}: {writes}");
    }
}
