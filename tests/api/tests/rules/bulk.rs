//! R120, R122, R124–R126: bulk actions, as their callers see them.

use std::time::Duration;

use futures_util::future::join_all;
use oncekey_core::RequestId;
use oncekey_core::bulk::StoredBulkAction;
use oncekey_core::request::bulk::BulkActionBody;
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, DEV, Oncekey, PROD, Place, answer, dev};
use oncekey_wire::BulkActionId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::large::noise;
use crate::overdue::sweep;
use crate::protocol::until;

pub(super) const PATH: &str = "/api/v1/bulk-actions";
const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn asked(oncekey: &Oncekey, body: &Value) -> (StatusCode, Value) {
    answer(oncekey.post(PATH, body.to_string())).await
}

pub(super) async fn created(oncekey: &Oncekey, body: Value) -> String {
    let (status, made) = asked(oncekey, &body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

pub(super) async fn seen(oncekey: &Oncekey, id: &str) -> Value {
    let (status, action) = answer(oncekey.get(&format!("{PATH}/{id}"))).await;
    assert_eq!(status, StatusCode::OK, "{action}");
    action
}

/// An action once it has ended.
pub(super) async fn ended(oncekey: &Oncekey, id: &str) -> Value {
    for _ in 0..6_000 {
        let action = seen(oncekey, id).await;
        if action["status"] != "PENDING" {
            return action;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never ended: {}", seen(oncekey, id).await);
}

/// An action that nobody was sent for: whoever asked for it by this request died before.
pub(super) async fn unsent(oncekey: &Oncekey, request: &str, body: &Value) -> StoredBulkAction {
    let now = oncekey.clock.now();
    let id = BulkActionId::named(&dev(), &RequestId::from_caller(request).unwrap());
    let body = BulkActionBody::parse(body.to_string().as_bytes(), now).unwrap();
    let action = StoredBulkAction::new(id, dev(), body, now);
    assert!(oncekey.app().store.create_bulk_action(&action).await.unwrap().is_none());
    action
}

pub(super) fn counts(total: usize, success: usize, failure: usize) -> Value {
    json!({ "total": total, "success": success, "failure": failure })
}

/// So many runs that start in a day, with a tag, oldest first. The clock is moved on a little, if it stands.
pub(super) async fn delayed(oncekey: &Oncekey, count: usize, tag: &str) -> Vec<String> {
    let body = json!({ "payload": tag, "options": { "delay": "1d", "tags": [tag] } });
    let mut ids = Vec::new();
    while ids.len() < count {
        let some = (0..20.min(count - ids.len())).map(|_| oncekey.trigger("echo", body.clone()));
        ids.extend(join_all(some).await.into_iter().map(|handle| handle.id));
    }
    ids
}

pub(super) async fn in_status(oncekey: &Oncekey, status: &str) -> usize {
    count(oncekey, &format!("filter[status]={status}&page[size]=100")).await
}

/// How many runs a list has, over all its pages.
pub(super) async fn count(oncekey: &Oncekey, asked: &str) -> usize {
    let (mut query, mut count) = (asked.to_owned(), 0);
    loop {
        let page = oncekey.list(&query).await;
        count += page["data"].as_array().unwrap().len();
        let Some(next) = page["pagination"]["next"].as_str() else { return count };
        query = format!("{asked}&page[after]={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r120_the_runs_that_a_filter_finds_are_cancelled_and_no_others() {
    let oncekey = Oncekey::anywhere().await;
    let (mine, others) = (delayed(&oncekey, 3, "mine").await, delayed(&oncekey, 1, "others").await);
    let done = oncekey.trigger("echo", json!({ "options": { "tags": ["mine"] } })).await.id;
    oncekey.finished(&done).await;
    let id = created(&oncekey, json!({ "action": "cancel", "name": "stop", "filter": { "tag": "mine" } })).await;
    let action = ended(&oncekey, &id).await;
    assert_eq!(
        (&action["status"], &action["type"], &action["name"]),
        (&json!("COMPLETED"), &json!("CANCEL"), &json!("stop"))
    );
    assert_eq!(action["counts"], counts(3, 3, 0), "one that has ended is not meant");
    assert!(action["createdAt"].is_string() && action["completedAt"].is_string(), "{action}");
    for run in mine {
        assert_eq!(oncekey.run(&run).await["status"], "CANCELED");
    }
    assert_eq!(oncekey.run(&others[0]).await["status"], "DELAYED");
    assert_eq!(oncekey.run(&done).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r120_the_runs_that_a_filter_finds_are_replayed_with_what_they_were_given() {
    let oncekey = Oncekey::anywhere().await;
    let mut failed = Vec::new();
    for payload in ["a", "b"] {
        failed.push(oncekey.trigger("fail", json!({ "payload": payload, "options": { "tags": ["t"] } })).await.id);
    }
    let done = oncekey.trigger("echo", json!({})).await.id;
    for run in failed.iter().chain([&done]) {
        oncekey.finished(run).await;
    }
    let body =
        json!({ "action": "replay", "filter": { "status": ["FAILED"], "taskIdentifier": "fail", "period": "1d" } });
    let id = created(&oncekey, body).await;
    assert_eq!(ended(&oncekey, &id).await["counts"], counts(2, 2, 0));
    let mut all = oncekey.all_runs().await;
    all.retain(|run| !failed.contains(run) && *run != done);
    let mut payloads = Vec::new();
    for run in &all {
        let run = oncekey.finished(run).await;
        assert_eq!((&run["taskIdentifier"], &run["tags"]), (&json!("fail"), &json!(["t"])));
        payloads.push(run["payload"].as_str().unwrap().to_owned());
    }
    payloads.sort();
    assert_eq!(payloads, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r120_named_runs_are_counted_by_what_became_of_them_and_those_that_are_not_there_as_failures() {
    let oncekey = Oncekey::anywhere().await;
    let waiting = delayed(&oncekey, 1, "mine").await.remove(0);
    let done = oncekey.trigger("echo", json!({})).await.id;
    oncekey.finished(&done).await;
    let absent = format!("run_{}", "a".repeat(32));
    let oncekey = oncekey.as_key(PROD);
    let foreign = delayed(&oncekey, 1, "theirs").await.remove(0);
    let oncekey = oncekey.as_key(DEV);
    let ids = json!([waiting, done, absent, foreign, waiting]);
    for (action, success) in [("cancel", 1), ("replay", 2)] {
        let id = created(&oncekey, json!({ "action": action, "runIds": ids })).await;
        let action = ended(&oncekey, &id).await;
        assert_eq!((&action["status"], &action["counts"]), (&json!("COMPLETED"), &counts(4, success, 4 - success)));
    }
    assert_eq!(oncekey.run(&waiting).await["status"], "CANCELED");
    assert_eq!(oncekey.all_runs().await.len(), 4);
    let oncekey = oncekey.as_key(PROD);
    assert_eq!(oncekey.run(&foreign).await["status"], "DELAYED");
    assert_eq!(oncekey.all_runs().await, [foreign]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r120_many_runs_are_done_page_by_page() {
    let oncekey = Oncekey::anywhere().await;
    delayed(&oncekey, 120, "many").await;
    let id =
        created(&oncekey, json!({ "action": "cancel", "filter": { "tag": ["many", "none"], "status": "DELAYED" } }))
            .await;
    assert_eq!(ended(&oncekey, &id).await["counts"], counts(120, 120, 0));
    assert_eq!(in_status(&oncekey, "CANCELED").await, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn r120_what_is_large_is_replayed_too() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let payloads = [noise(20_000), noise(150_000), noise(250_000)];
    for payload in &payloads {
        let options = json!({ "metadata": { "m": noise(20_000) } });
        let run = oncekey.trigger("echo", json!({ "payload": payload, "options": options })).await;
        oncekey.finished(&run.id).await;
    }
    let id = created(&oncekey, json!({ "action": "replay", "filter": { "status": "COMPLETED" } })).await;
    assert_eq!(ended(&oncekey, &id).await["counts"], counts(3, 3, 0));
    let all = oncekey.all_runs().await;
    assert_eq!(all.len(), 6);
    for run in &all[..3] {
        let run = oncekey.finished(run).await;
        assert_eq!((&run["status"], &run["metadata"]["m"]), (&json!("COMPLETED"), &json!(noise(20_000))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r122_the_same_request_makes_one_action_and_another_body_under_its_id_is_refused() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({})).await.id;
    oncekey.finished(&run).await;
    let ask =
        |body: Value| answer(oncekey.post(PATH, body.to_string()).header("x-trigger-request-idempotency-key", "once"));
    let body = json!({ "action": "replay", "filter": { "taskIdentifier": "echo", "period": "1d" } });
    let (status, first) = ask(body.clone()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{first}");
    assert_eq!(ask(body.clone()).await, (status, first.clone()));
    let id = first["id"].as_str().unwrap();
    let done = ended(&oncekey, id).await;
    assert_eq!(done["counts"], counts(1, 1, 0));
    // Its replay would match by now.
    assert_eq!(ask(body).await, (status, first.clone()));
    assert_eq!(seen(&oncekey, id).await, done);
    assert_eq!(oncekey.all_runs().await.len(), 2);
    let (status, error) = ask(json!({ "action": "cancel", "runIds": [run] })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{error}");
    // In another environment it is another request.
    let oncekey = oncekey.as_key(PROD);
    let other = oncekey.post(PATH, json!({ "action": "cancel", "runIds": [run] }).to_string());
    let (status, other) = answer(other.header("x-trigger-request-idempotency-key", "once")).await;
    assert!(status == StatusCode::ACCEPTED && other != first, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r122_whoever_dies_before_sending_for_work_is_helped_by_the_same_request_a_reader_or_the_sweep() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    for who in ["the same request", "a reader", "the sweep"] {
        delayed(&oncekey, 2, "mine").await;
        oncekey.clock.advance(Duration::from_millis(1));
        let body = json!({ "action": "cancel", "filter": { "tag": "mine" } });
        let action = unsent(&oncekey, who, &body).await;
        let id = action.id.as_str();
        // Whoever was to send may only be slow.
        oncekey.clock.advance(Duration::from_secs(60));
        assert_eq!(seen(&oncekey, id).await["status"], "PENDING");
        assert_eq!(oncekey.depth("oncekey-completions").await, [0; 3], "{who}");
        match who {
            "the same request" => {
                let again = oncekey.post(PATH, body.to_string()).header("x-trigger-request-idempotency-key", who);
                assert_eq!(answer(again).await.1["id"], id);
            }
            "a reader" => {
                oncekey.clock.advance(Duration::from_secs(300));
                assert_eq!(seen(&oncekey, id).await["status"], "PENDING");
            }
            _ => {
                oncekey.clock.advance(Duration::from_secs(300));
                sweep(&oncekey).await;
            }
        }
        let stored = async || oncekey.app().store.bulk_action(&action.id).await.unwrap().unwrap();
        // Nobody is sent for by this look.
        until(|| async { stored().await.status.as_str() != "PENDING" }).await;
        assert_eq!(seen(&oncekey, id).await["counts"], counts(2, 2, 0), "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r125_what_a_bulk_action_cannot_be_is_refused_by_name_and_nothing_is_written() {
    let oncekey = Oncekey::anywhere().await;
    let run = delayed(&oncekey, 1, "mine").await.remove(0);
    let cancel = |more: Value| {
        let mut body = json!({ "action": "cancel" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let filter = |filter: Value| cancel(json!({ "filter": filter }));
    let long = "x".repeat(256);
    for (body, status, named) in [
        (cancel(json!({})), 400, "filter: is missing, and runIds too"),
        (cancel(json!({ "filter": { "tag": "mine" }, "runIds": [run] })), 400, "runIds: is given beside filter"),
        (cancel(json!({ "runIds": [] })), 400, "runIds: has 0 ids"),
        (cancel(json!({ "runIds": vec![&run; 501] })), 400, "runIds: has 501 ids"),
        (cancel(json!({ "runIds": [run, "run_1"] })), 400, "runIds[1]: a run id is run_"),
        (cancel(json!({ "runIds": [run], "name": long })), 400, "name: is 256 characters long"),
        (cancel(json!({ "runIds": [run], "reason": "x" })), 422, "reason: there is no such field"),
        (cancel(json!({ "runIds": [run], "targetRegion": "eu" })), 422, "targetRegion is not supported"),
        (json!({ "runIds": [run] }), 400, "body: missing field `action`"),
        (json!({ "action": "delete", "runIds": [run] }), 400, "action: unknown variant `delete`"),
        (filter(json!({})), 400, "filter: says nothing"),
        (filter(json!({ "status": "DONE" })), 400, "filter.status: \"DONE\" is not a status"),
        (filter(json!({ "status": [] })), 400, "filter.status: give a text"),
        (filter(json!({ "tag": " " })), 400, "filter.tag: give a text"),
        (filter(json!({ "tag": [7] })), 400, "filter.tag: give a text"),
        (filter(json!({ "tag": vec!["a"; 101] })), 400, "filter.tag: give a text"),
        (filter(json!({ "taskIdentifier": "a b" })), 400, "filter.taskIdentifier: use 1 to 128"),
        (filter(json!({ "queue": { "name": "x" } })), 400, "filter.queue: give a text"),
        (filter(json!({ "batch": "x" })), 400, "filter.batch: "),
        (filter(json!({ "schedule": "x" })), 400, "filter.schedule: "),
        (filter(json!({ "from": "soon" })), 400, "filter.from: give milliseconds"),
        (filter(json!({ "period": "soon" })), 400, "filter.period: give a span"),
        (filter(json!({ "version": "1", "tag": "mine" })), 422, "filter.version: there is no such field"),
        (filter(json!({ "bulkAction": "x", "tag": "mine" })), 422, "filter.bulkAction: there is no such field"),
    ] {
        // Also by a client, whose unknown fields are else passed over.
        for by_client in [false, true] {
            let request = oncekey.post(PATH, body.to_string());
            let request = if by_client { request.header("x-trigger-client", "browser") } else { request };
            let (answered, error) = answer(request).await;
            let text = error["error"].as_str().unwrap_or_default();
            assert!(answered.as_u16() == status && text.starts_with(named), "{answered} {error}, wanted {named}");
        }
    }
    assert_eq!(answer(oncekey.get(PATH)).await.1["data"], json!([]));
    assert_eq!(oncekey.run(&run).await["status"], "DELAYED");
    for path in ["", "/abort"] {
        for id in ["x".to_owned(), format!("bulk_{}", "a".repeat(32))] {
            let path = format!("{PATH}/{id}{path}");
            let request = if path.ends_with("abort") { oncekey.post(&path, "") } else { oncekey.get(&path) };
            let (status, error) = answer(request).await;
            assert!(
                status == 404 && error["error"].as_str().unwrap().starts_with("there is no bulk action"),
                "{error}"
            );
        }
    }
    for query in ["page[size]=0", "page[size]=101", "page[after]=x", "page[before]=1.run_x", "filter[status]=PENDING"] {
        assert_eq!(answer(oncekey.get(&format!("{PATH}?{query}"))).await.0, 400, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r125_a_public_token_opens_no_bulk_action() {
    let oncekey = Oncekey::anywhere().await;
    let run = delayed(&oncekey, 1, "mine").await.remove(0);
    let scopes = ["read:runs", "write:runs", "read:tags:mine", "admin"];
    let holder = oncekey.holder(&scopes).await;
    let body = json!({ "action": "cancel", "runIds": [run] }).to_string();
    let (status, error) = answer(holder.request(reqwest::Method::POST, PATH).body(body)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{error}");
    assert_eq!(answer(holder.request(reqwest::Method::GET, PATH)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(oncekey.run(&run).await["status"], "DELAYED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r126_actions_are_listed_newest_first_in_their_environment_and_kept_for_a_fortnight() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let name = number.to_string();
        ids.insert(
            0,
            created(&oncekey, json!({ "action": "cancel", "name": name, "filter": { "tag": "none" } })).await,
        );
        oncekey.clock.advance(Duration::from_secs(1));
    }
    let page = async |query: &str| answer(oncekey.get(&format!("{PATH}?{query}"))).await.1;
    let of = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(&page("").await), ids);
    let first = page("page[size]=2").await;
    assert_eq!((of(&first), &first["pagination"].get("previous")), (ids[..2].to_vec(), &None));
    let next = first["pagination"]["next"].as_str().unwrap();
    let second = page(&format!("page[size]=2&page[after]={next}")).await;
    assert_eq!(of(&second), ids[2..4]);
    let next = second["pagination"]["next"].as_str().unwrap();
    let third = page(&format!("page[size]=2&page[after]={next}")).await;
    assert_eq!((of(&third), &third["pagination"].get("next")), (ids[4..].to_vec(), &None));
    let previous = third["pagination"]["previous"].as_str().unwrap();
    assert_eq!(of(&page(&format!("page[size]=2&page[before]={previous}")).await), ids[2..4]);
    let previous = second["pagination"]["previous"].as_str().unwrap();
    assert_eq!(of(&page(&format!("page[size]=2&page[before]={previous}")).await), ids[..2]);
    for id in &ids {
        ended(&oncekey, id).await;
    }
    let (oncekey, path) = (oncekey.as_key(PROD), format!("{PATH}/{}", ids[0]));
    assert_eq!(answer(oncekey.get(PATH)).await.1["data"], json!([]));
    assert_eq!(answer(oncekey.get(&path)).await.0, 404);
    assert_eq!(answer(oncekey.post(&format!("{path}/abort"), "")).await.0, 404);
    let oncekey = oncekey.as_key(DEV);
    // Whether DynamoDB has deleted them or not.
    oncekey.clock.advance(DAY * 14 - Duration::from_secs(2));
    let left = answer(oncekey.get(PATH)).await.1;
    assert_eq!(left["data"].as_array().unwrap().len(), 1, "{left}");
    oncekey.clock.advance(Duration::from_secs(1));
    assert_eq!(answer(oncekey.get(PATH)).await.1["data"], json!([]));
    assert_eq!(answer(oncekey.get(&path)).await.0, 404);
}
