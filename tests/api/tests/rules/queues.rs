//! R108–R110: queues over HTTP, and limits that code declares, that are put in their place, and that are reset.

use oncekey_tests_api::{DEV, Oncekey, Place, answer};
use oncekey_worker::{Context, Queue, Task, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::dashboard::{Visitor, led_to};
use super::protocol::until;

fn worker() -> Worker {
    let task = |id| Task::new(id, |_: Context, payload: Value| async move { Ok(payload) });
    Worker::new()
        .task(task("mail").queue(Queue::new("mail/out").concurrency(2)))
        .task(task("news").queue("mail/out"))
        .task(task("plain"))
        .task(task("single").concurrency(1))
}

async fn running() -> Option<Oncekey> {
    Some(Oncekey::running(Place::own_stack()?, worker(), |options| options).await)
}

/// A queue as its type and name tell; each `/` is spelt twice, as the client does.
async fn queue(oncekey: &Oncekey, kind: &str, name: &str) -> (StatusCode, Value) {
    let name = name.replace('/', "%252F").replace('#', "%23");
    answer(oncekey.get(&format!("/api/v1/queues/{name}?type={kind}"))).await
}

async fn post(oncekey: &Oncekey, path: &str, body: Value) -> (StatusCode, Value) {
    answer(oncekey.post(&format!("/api/v1/queues/{path}"), body.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r108_queues_are_listed_and_shown_as_code_declares_them() {
    let Some(oncekey) = running().await else { return };
    let (_, page) = answer(oncekey.get("/api/v1/queues")).await;
    let told: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| {
            assert_eq!((&queue["running"], &queue["queued"], &queue["paused"]), (&json!(0), &json!(0), &json!(false)));
            (queue["type"].as_str().unwrap(), queue["name"].as_str().unwrap(), queue["concurrencyLimit"].clone())
        })
        .collect();
    let wanted = [("custom", "mail/out", json!(2)), ("task", "plain", Value::Null), ("task", "single", json!(1))];
    assert_eq!(told, wanted);
    assert_eq!((&page["pagination"]["count"], &page["paused"]), (&json!(3), &json!(false)));
    let (_, page) = answer(oncekey.get("/api/v1/queues?page=2&perPage=2")).await;
    assert_eq!((&page["data"][0]["name"], &page["pagination"]["totalPages"]), (&json!("single"), &json!(2)));

    let (_, mail) = queue(&oncekey, "custom", "mail/out").await;
    let (_, by_id) = queue(&oncekey, "id", mail["id"].as_str().unwrap()).await;
    assert_eq!(mail, by_id);
    let base = json!({ "current": 2, "base": 2, "override": null, "overriddenAt": null, "overriddenBy": null });
    assert_eq!(mail["concurrency"], base);
    assert_eq!(queue(&oncekey, "task", "single").await.1["type"], "task");
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_another_limit_holds_until_it_is_reset_whatever_is_deployed() {
    let Some(oncekey) = running().await else { return };
    let limits = async || {
        let concurrency = queue(&oncekey, "custom", "mail/out").await.1["concurrency"].clone();
        [concurrency["current"].clone(), concurrency["base"].clone(), concurrency["override"].clone()]
    };
    let body = json!({ "type": "custom", "concurrencyLimit": 0 });
    let (status, told) = post(&oncekey, "mail%252Fout/concurrency/override", body.clone()).await;
    assert_eq!((status, &told["concurrencyLimit"]), (StatusCode::OK, &json!(0)), "{told}");
    let (_, again) = post(&oncekey, "mail%252Fout/concurrency/override", body).await;
    assert_eq!(told, again, "the same once more changes nothing");
    let run = oncekey.trigger("news", json!({ "payload": 1 })).await.id;
    until(async || queue(&oncekey, "custom", "mail/out").await.1["queued"] == 1).await;

    // Another worker declares it otherwise, and goes again.
    let manifest = json!({ "tasks": [], "queues": [{ "name": "mail/out", "concurrencyLimit": 7 }] });
    let deploy = oncekey.request(Method::PUT, "/api/v1/workers/other").body(manifest.to_string());
    assert_eq!(answer(deploy).await.0, StatusCode::OK);
    assert_eq!(limits().await, [json!(0), json!(7), json!(0)]);
    assert_eq!(answer(oncekey.request(Method::DELETE, "/api/v1/workers/other")).await.0, StatusCode::OK);
    assert_eq!(limits().await, [json!(0), json!(2), json!(0)]);

    let (_, told) = post(&oncekey, "mail%252Fout/concurrency/reset", json!({ "type": "custom" })).await;
    assert_eq!((&told["concurrencyLimit"], &told["concurrency"]["override"]), (&json!(2), &Value::Null));
    assert_eq!(oncekey.finished(&run).await["status"], "COMPLETED");
    until(async || {
        let (_, mail) = queue(&oncekey, "custom", "mail/out").await;
        (&mail["queued"], &mail["running"]) == (&json!(0), &json!(0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_paused_queue_and_a_paused_environment_go_on_when_they_are_told() {
    let Some(oncekey) = running().await else { return };
    let pause = async |action: &str| post(&oncekey, "single/pause", json!({ "type": "task", "action": action })).await;
    assert_eq!(pause("pause").await.1["paused"], true);
    let run = oncekey.trigger("single", json!({ "payload": 1 })).await.id;
    until(async || queue(&oncekey, "task", "single").await.1["queued"] == 1).await;
    assert_eq!(pause("resume").await.1["paused"], false);
    assert_eq!(oncekey.finished(&run).await["status"], "COMPLETED");

    let all = async |action: &str| {
        answer(oncekey.post("/api/v1/environment/pause", json!({ "action": action }).to_string())).await.1
    };
    assert_eq!(all("pause").await, json!({ "paused": true }));
    assert_eq!(answer(oncekey.get("/api/v1/queues")).await.1["paused"], true);
    oncekey.clock.advance(std::time::Duration::from_secs(6));
    let run = oncekey.trigger("plain", json!({ "payload": 1 })).await.id;
    until(async || queue(&oncekey, "task", "plain").await.1["queued"] == 1).await;
    assert_eq!(all("resume").await, json!({ "paused": false }));
    assert_eq!(oncekey.finished(&run).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_the_page_of_queues_pauses_one_or_all_and_says_so() {
    let Some(oncekey) = running().await else { return };
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let page = visitor.get("/queues").await;
    assert!(page.contains("mail/out") && page.contains("task/single") && !page.contains(">paused<"), "{page}");
    for (button, queue, told) in [
        ("pause", "mail/out", ">paused<"),
        ("resume", "mail/out", "Pause all"),
        ("pause_all", "1", ">all paused<"),
        ("resume_all", "1", "Pause all"),
    ] {
        let answer = visitor.send("/queues", "/queues", &[(button, queue)]).await;
        assert_eq!(led_to(&answer), "/queues");
        assert!(visitor.get("/queues").await.contains(told), "{button}");
    }
    assert!(!visitor.get("/queues").await.contains("paused<"));
    let answer = visitor.send("/queues", "/queues", &[("pause", "nowhere")]).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_what_no_queue_is_or_can_be_is_refused_by_name() {
    let Some(oncekey) = running().await else { return };
    let limit = |limit: Value| json!({ "type": "task", "concurrencyLimit": limit });
    let range = "concurrencyLimit: give a whole number from 0 to 100000";
    for (path, body, code, told) in [
        ("single/concurrency/override", limit(json!(-1)), 400, range),
        ("single/concurrency/override", limit(json!(1.5)), 400, range),
        ("single/concurrency/override", limit(json!(100_001)), 400, range),
        ("single/concurrency/override", json!({ "type": "task" }), 400, range),
        ("single/concurrency/reset", limit(json!(1)), 400, "concurrencyLimit: leave it out"),
        ("single/pause", json!({ "type": "task", "action": "stop" }), 400, "action: "),
        ("single/pause", json!({ "type": "both", "action": "pause" }), 400, "type: "),
        ("single/pause", json!({ "type": "task", "action": "pause", "for": 1 }), 422, "for: "),
        ("other/pause", json!({ "type": "custom", "action": "pause" }), 404, "there is no queue other in local/dev"),
        ("single/pause", json!({ "action": "pause" }), 404, "there is no queue \"single\": an id begins with queue_"),
    ] {
        let (status, answer) = post(&oncekey, path, body.clone()).await;
        let error = answer["error"].as_str().unwrap();
        assert!(status.as_u16() == code && error.starts_with(told), "{path} {body}: {status} {error}");
    }
    let manifest = json!({ "tasks": [], "queues": [{ "name": "q", "concurrencyLimit": 100_001 }] });
    let (status, told) = answer(oncekey.request(Method::PUT, "/api/v1/workers/w").body(manifest.to_string())).await;
    assert_eq!(
        (status, told["error"].as_str().unwrap()),
        (StatusCode::BAD_REQUEST, "queues: q: 100001 is out of range: give a whole number from 0 to 100000")
    );
    let (status, told) = queue(&oncekey, "custom", "nowhere").await;
    assert_eq!(
        (status, &told["error"]),
        (
            StatusCode::NOT_FOUND,
            &json!("there is no queue nowhere in local/dev: it is there once code that names it is deployed")
        )
    );
    let asked = json!({ "options": { "concurrency": "shared" } });
    let (status, told) = oncekey.try_trigger("plain", asked).await;
    assert_eq!(
        (status, &told["error"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!(
                "options.concurrency is not supported: give the queue a concurrencyLimit, and the run a concurrencyKey"
            )
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_what_waits_in_a_queue_that_no_code_names_any_more_goes_on_under_its_limit() {
    let Some(oncekey) = running().await else { return };
    let deploy = async |manifest: Value| {
        let request = oncekey.request(Method::PUT, "/api/v1/workers/other").body(manifest.to_string());
        assert_eq!(answer(request).await.0, StatusCode::OK);
    };
    let of = |queue: &str| json!({ "tasks": [{ "id": "plain", "queue": queue }], "queues": [{ "name": queue, "concurrencyLimit": 0 }] });
    deploy(of("before")).await;
    let run = oncekey.trigger("plain", json!({ "payload": 1 })).await.id;
    until(async || queue(&oncekey, "custom", "before").await.1["queued"] == 1).await;
    let found = oncekey.list("filter[queue]=before").await;
    assert_eq!(found["data"][0]["id"], run.as_str(), "{found}");
    deploy(of("after")).await;
    let (_, before) = queue(&oncekey, "custom", "before").await;
    assert_eq!((&before["concurrencyLimit"], &before["queued"]), (&json!(0), &json!(1)));
    // A task that is there, and has no limit any more, has none.
    deploy(json!({ "tasks": [{ "id": "plain" }], "queues": [{ "name": "task/plain", "concurrencyLimit": 3 }] })).await;
    assert_eq!(queue(&oncekey, "task", "plain").await.1["concurrencyLimit"], 3);
    deploy(json!({ "tasks": [{ "id": "plain" }] })).await;
    assert_eq!(queue(&oncekey, "task", "plain").await.1["concurrencyLimit"], Value::Null);
    let (_, told) =
        post(&oncekey, "before/concurrency/override", json!({ "type": "custom", "concurrencyLimit": 1 })).await;
    assert_eq!(told["concurrencyLimit"], 1);
    assert_eq!(oncekey.finished(&run).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r132_a_queue_finds_its_runs_also_before_and_without_a_place() {
    let Some(oncekey) = running().await else { return };
    let delayed = async |task: &str, queue: Value| {
        let options = json!({ "delay": "1h", "queue": queue });
        oncekey.trigger(task, json!({ "options": options })).await.id
    };
    let found = async |queue: &str| {
        let page = oncekey.list(&format!("filter[queue]={queue}")).await;
        page["data"].as_array().unwrap().iter().map(|run| run["id"].clone()).collect::<Vec<_>>()
    };
    let by_code = delayed("news", Value::Null).await;
    let own = delayed("plain", Value::Null).await;
    let named = delayed("plain", json!({ "name": "elsewhere" })).await;
    assert_eq!(found("mail/out").await, [json!(by_code)]);
    assert_eq!(found("task/plain").await, [json!(own)]);
    assert_eq!(found("elsewhere").await, [json!(named)]);
    assert!(found("task/news").await.is_empty(), "its code names another");
    let page = Visitor::signed_in(&oncekey, DEV).await.get("/runs?queue=mail%2Fout").await;
    assert!(page.contains(&by_code) && !page.contains(&own), "{page}");

    // Without a limit nobody takes a place, nor notes the queue: a run is in that which its task has now.
    let manifest = json!({ "tasks": [{ "id": "plain", "queue": "free" }] });
    let deploy = oncekey.request(Method::PUT, "/api/v1/workers/other").body(manifest.to_string());
    assert_eq!(answer(deploy).await.0, StatusCode::OK);
    oncekey.clock.advance(std::time::Duration::from_secs(6));
    let done = oncekey.trigger("plain", json!({})).await.id;
    assert_eq!(oncekey.finished(&done).await["queue"], Value::Null);
    assert_eq!(found("free").await, [json!(done), json!(own)]);

    let filter = json!({ "action": "cancel", "filter": { "queue": ["free", "elsewhere"] } });
    let (status, told) = answer(oncekey.post("/api/v1/bulk-actions", filter.to_string())).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
    for run in [&own, &named] {
        oncekey.in_status(run, "CANCELED").await;
    }
    assert_eq!(oncekey.run(&by_code).await["status"], "DELAYED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r133_a_queue_that_no_code_names_is_listed_while_runs_are_parked_in_it_or_something_holds_for_it() {
    let Some(oncekey) = running().await else { return };
    let listed = async || {
        let (_, page) = answer(oncekey.get("/api/v1/queues")).await;
        page["data"].as_array().unwrap().iter().any(|queue| queue["name"] == "gone")
    };
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let manifest =
        json!({ "tasks": [{ "id": "late", "queue": "gone" }], "queues": [{ "name": "gone", "concurrencyLimit": 0 }] });
    let deploy = oncekey.request(Method::PUT, "/api/v1/workers/other").body(manifest.to_string());
    assert_eq!(answer(deploy).await.0, StatusCode::OK);
    oncekey.clock.advance(std::time::Duration::from_secs(6));
    let run = oncekey.trigger("late", json!({})).await.id;
    until(async || queue(&oncekey, "custom", "gone").await.1["queued"] == 1).await;

    assert_eq!(answer(oncekey.request(Method::DELETE, "/api/v1/workers/other")).await.0, StatusCode::OK);
    assert!(listed().await, "a run is parked in it");
    post(&oncekey, "gone/pause", json!({ "type": "custom", "action": "pause" })).await;
    answer(oncekey.post(&format!("/api/v2/runs/{run}/cancel"), "")).await;
    oncekey.drained("oncekey-completions").await;
    assert!(listed().await, "it is paused");
    post(&oncekey, "gone/concurrency/override", json!({ "type": "custom", "concurrencyLimit": 1 })).await;
    post(&oncekey, "gone/pause", json!({ "type": "custom", "action": "resume" })).await;
    assert!(listed().await, "it has a limit of its own");
    let (status, told) = post(&oncekey, "gone/concurrency/reset", json!({ "type": "custom" })).await;
    assert_eq!((status, &told["concurrencyLimit"]), (StatusCode::OK, &json!(0)));
    until(async || !listed().await).await;
    assert!(!visitor.get("/queues").await.contains(">gone<"));
    assert_eq!(queue(&oncekey, "custom", "gone").await.0, StatusCode::NOT_FOUND);
}
