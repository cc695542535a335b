//! Retrieving and listing runs.

use std::time::Duration;

use oncekey::Options;
use oncekey_core::runs::logs::logs;
use oncekey_core::{App, Timestamp};
use oncekey_tests_api::{DEV, Oncekey, PROD, Place, answer, dev, run_id};
use oncekey_worker::{CallError, Child, Context, RetryPolicy, RunHandle, Task, TaskError, Worker};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::dashboard::Visitor;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_shows_what_was_asked_for_and_what_came_of_it() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let options = json!({ "tags": ["a", "b"], "metadata": { "user": 1 }, "test": true, "ttl": 600, "region": "eu-1" });
    let run = oncekey.trigger("echo", json!({ "payload": { "z": 1, "a": [true] }, "options": options })).await;
    let shown = oncekey.in_status(&run.id, "COMPLETED").await;
    assert_eq!(shown["payload"].to_string(), r#"{"z":1,"a":[true]}"#);
    assert_eq!(shown["output"], shown["payload"]);
    assert_eq!(shown["tags"], json!(["a", "b"]));
    assert_eq!(shown["metadata"], json!({ "user": 1 }));
    assert_eq!([&shown["isTest"], &shown["isSuccess"], &shown["isFailed"]], [true, true, false]);
    assert_eq!([&shown["ttl"], &shown["region"]], ["600s", "eu-1"]);
    assert_eq!(shown["env"], json!({ "id": "local/dev", "name": "dev" }));
    assert!(!shown.to_string().contains("null"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_super_json_payload_is_its_value_to_the_task_and_to_the_reader() {
    let oncekey = Oncekey::anywhere().await;
    let payload = r#"{"json":{"at":"2026-01-01T00:00:00.000Z"},"meta":{"values":{"at":["Date"]}}}"#;
    let body = json!({ "payload": payload, "options": { "payloadType": "application/super+json" } });
    let run = oncekey.finished(&oncekey.trigger("echo", body).await.id).await;
    assert_eq!(run["payload"], json!({ "at": "2026-01-01T00:00:00.000Z" }));
    assert_eq!(run["output"], run["payload"]);
    let text = json!({ "payload": "bare", "options": { "payloadType": "text/plain" } });
    assert_eq!(oncekey.finished(&oncekey.trigger("echo", text).await.id).await["output"], "bare");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_shows_its_parent_and_root() {
    let oncekey = Oncekey::anywhere().await;
    let root = oncekey.trigger("echo", json!({})).await.id;
    let parent = oncekey.trigger("echo", json!({ "options": { "parentRunId": root } })).await.id;
    let child = oncekey.trigger("echo", json!({ "options": { "parentRunId": parent } })).await.id;
    let shown = oncekey.run(&child).await;
    assert_eq!(shown["depth"], 2);
    assert_eq!(shown["relatedRuns"]["parent"]["id"], parent.as_str());
    assert_eq!(shown["relatedRuns"]["root"]["id"], root.as_str());
}

/// The ids of a run's children, as it shows them.
fn children_of(run: &Value) -> Vec<&str> {
    let children = run["relatedRuns"]["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    children.iter().map(|child| child["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_shows_the_children_that_its_own_calls_triggered_over_its_waits_and_attempts() {
    let Some(place) = Place::own_stack() else { return };
    async fn taken(ctx: &Context) -> Result<RunHandle, CallError> {
        ctx.trigger(Child::new("child", 2).idempotency_key(ctx.idempotency_key("taken").global())).await
    }
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        if ctx.attempt() == 1 {
            ctx.trigger(Child::new("child", 1)).await?;
            return Err(TaskError::new("once"));
        }
        // Another's, which is there already.
        taken(&ctx).await?;
        ctx.trigger(Child::new("child", 3)).await?;
        ctx.trigger_and_wait::<Value>(Child::new("child", 4)).await?;
        ctx.batch_trigger(vec![Child::new("child", 5), Child::new("child", 6)]).await?;
        Ok(())
    });
    let parent = parent.retry(RetryPolicy { first_pause: Duration::from_millis(50), ..RetryPolicy::default() });
    let other = Task::new("other", |ctx: Context, _: Value| async move { Ok(taken(&ctx).await?.id) });
    let child = Task::new("child", async |_: Context, n: Value| Ok(n));
    let oncekey = Oncekey::running(place, Worker::new().task(child).task(parent).task(other), |options| options).await;
    let other = oncekey.trigger("other", json!({})).await;
    let other = oncekey.finished(&other.id).await;
    assert_eq!(json!(children_of(&other)), json!([other["output"]]));
    let run = oncekey.trigger("parent", json!({})).await;
    let run = oncekey.finished(&run.id).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    let mut given = Vec::new();
    for child in children_of(&run) {
        let child = oncekey.finished(child).await;
        assert_eq!(child["relatedRuns"]["parent"]["id"], run["id"]);
        given.push(child["output"].clone());
    }
    assert_eq!(Value::from(given), json!([1, 3, 4, 5, 6]));
    let shown = &run["relatedRuns"]["children"][0];
    assert_eq!(
        [&shown["taskIdentifier"], &shown["triggerFunction"], &shown["depth"]],
        [&json!("child"), &json!("trigger"), &json!(1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_more_children_than_a_hundred_the_first_are_shown_while_it_waits_too() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let first = ctx.trigger(Child::new("quick", 0)).await?;
        ctx.batch_trigger((1..=120).map(|n| Child::new("quick", n)).collect()).await?;
        ctx.wait_for(Duration::from_secs(3600)).await?;
        Ok(first.id)
    });
    let worker = Worker::new().task(Task::new("quick", async |_: Context, _: Value| Ok(()))).task(parent);
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let run = oncekey.trigger("parent", json!({})).await;
    let waiting = oncekey.in_status(&run.id, "WAITING").await;
    let children = children_of(&waiting);
    assert_eq!(children.len(), 100);
    assert_eq!(oncekey.run(children[0]).await["payload"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_says_when_it_was_and_why_it_failed() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("flaky", json!({ "payload": { "failTimes": 2 } })).await;
    let run = oncekey.finished(&run.id).await;
    let attempts = run["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts.iter().map(|one| [&one["number"], &one["status"], &one["error"]["message"]]).collect();
    assert_eq!(told[0], [&json!(1), &json!("FAILED"), &json!("attempt 1 of 2 that fail")]);
    assert_eq!(told[1], [&json!(2), &json!("FAILED"), &json!("attempt 2 of 2 that fail")]);
    assert_eq!(told[2], [&json!(3), &json!("COMPLETED"), &Value::Null]);
    let moments = attempts.iter().flat_map(|one| [&one["startedAt"], &one["completedAt"]]);
    let moments: Vec<&str> = moments.map(|moment| moment.as_str().unwrap()).collect();
    assert!(moments.is_sorted() && moments.len() == 6, "{moments:?}");

    let failed = oncekey.trigger("fail", json!({})).await;
    let failed = oncekey.finished(&failed.id).await;
    assert_eq!(failed["attempts"][0]["error"]["message"], failed["error"]["message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_says_for_what_and_until_when() {
    let Some(place) = Place::own_stack() else { return };
    let slow = Task::new("slow", |_: Context, _: Value| async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok(())
    });
    let timed = Task::new("timed", |ctx: Context, _: Value| async move {
        ctx.wait_for(Duration::from_secs(3600)).await?;
        Ok(())
    });
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let both: Vec<Result<(), _>> =
            ctx.batch_trigger_and_wait(vec![Child::new("slow", 1), Child::new("slow", 2)]).await?;
        Ok(both.len())
    });
    let worker = Worker::new().task(slow).task(timed).task(parent);
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let timed = oncekey.trigger("timed", json!({})).await;
    let parent = oncekey.trigger("parent", json!({})).await;

    let waiting = oncekey.in_status(&timed.id, "WAITING").await;
    let until = Timestamp::parse(waiting["waitingFor"]["until"].as_str().unwrap()).unwrap();
    let started = Timestamp::parse(waiting["startedAt"].as_str().unwrap()).unwrap();
    assert!((3600..3660).contains(&until.since(started).as_secs()), "{waiting:#}");
    assert_eq!([&waiting["waitingFor"]["runCount"], &waiting["waitingFor"]["runs"]], [&json!(0), &Value::Null]);
    assert_eq!(waiting["attempts"][0]["status"], "PAUSED");

    let waiting = oncekey.in_status(&parent.id, "WAITING").await;
    let runs = waiting["waitingFor"]["runs"].as_array().unwrap();
    assert_eq!((&waiting["waitingFor"]["runCount"], &waiting["waitingFor"]["until"]), (&json!(2), &Value::Null));
    for run in runs {
        assert_eq!(run["taskIdentifier"], "slow");
        assert_eq!(oncekey.run(run["id"].as_str().unwrap()).await["relatedRuns"]["parent"]["id"], parent.id.as_str());
    }
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let page = visitor.get(&format!("/runs/{}", parent.id)).await;
    assert!(page.contains("Waits for slow <a"), "{page}");
    let page = visitor.get(&format!("/runs/{}", timed.id)).await;
    assert!(page.contains("Waits until <time"), "{page}");

    let (_, cancelled) = answer(oncekey.post(&format!("/api/v2/runs/{}/cancel", timed.id), "")).await;
    assert_eq!(cancelled["id"], timed.id.as_str());
    assert_eq!(oncekey.run(&timed.id).await["waitingFor"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_told_the_right_one() {
    let oncekey = Oncekey::anywhere().await;
    let (status, refused) = answer(oncekey.get("/api/v1/tasks/echo/trigger")).await;
    assert_eq!(status, 405);
    let told = refused["error"].as_str().expect("a text");
    let line = told.strip_prefix("/api/v1/tasks/echo/trigger has no GET: use POST, like this: curl 'http").expect(told);
    assert!(
        line.ends_with("/api/v1/tasks/echo/trigger' -H 'Authorization: Bearer YOUR_API_KEY' -d '{\"payload\": {}}'"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_whether_it_is_there_needs_no_key() {
    // Not on a deployment: the emulator of the gateway has a /health of its own.
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (status, health) = answer(oncekey.as_key("").get("/health")).await;
    assert_eq!((status.as_u16(), &health["status"]), (200, &json!("ok")));
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_newest_first_and_pages_both_ways_without_gap_or_repeat() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let mut newest_first = Vec::new();
    for _ in 0..25 {
        // Some at the same millisecond: their order is by id, whatever it is.
        if newest_first.len() % 3 == 0 {
            oncekey.clock.advance(std::time::Duration::from_millis(1));
        }
        newest_first.push(oncekey.trigger("echo", json!({})).await.id);
    }
    let everything = oncekey.list("page[size]=100").await;
    let expected: Vec<&str> = ids(&everything);
    assert_eq!(expected.len(), 25);
    assert!(everything["pagination"].as_object().unwrap().is_empty());
    let created: Vec<&str> =
        everything["data"].as_array().unwrap().iter().map(|run| run["createdAt"].as_str().unwrap()).collect();
    assert!(created.is_sorted_by(|newer, older| newer >= older));

    let mut forward = Vec::new();
    let mut page = oncekey.list("page[size]=10").await;
    loop {
        forward.extend(ids(&page).iter().map(|id| (*id).to_owned()));
        match page["pagination"]["next"].as_str() {
            Some(next) => page = oncekey.list(&format!("page[size]=10&page[after]={next}")).await,
            None => break,
        }
    }
    assert_eq!(forward, expected);

    let mut backward: Vec<String> = ids(&page).iter().map(|id| (*id).to_owned()).collect();
    while let Some(previous) = page["pagination"]["previous"].as_str() {
        page = oncekey.list(&format!("page[size]=10&page[before]={previous}")).await;
        backward.splice(0..0, ids(&page).iter().map(|id| (*id).to_owned()));
    }
    assert_eq!(backward, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered_by_status_task_tag_test_and_time() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let old = oncekey.trigger("echo", json!({ "options": { "tags": "red" } })).await.id;
    oncekey.finished(&old).await;
    oncekey.clock.advance(std::time::Duration::from_secs(3_600));
    let failed = oncekey.trigger("fail", json!({ "options": { "tags": ["red", "blue"], "test": true } })).await.id;
    let done = oncekey.trigger("echo", json!({})).await.id;
    for id in [&failed, &done] {
        oncekey.finished(id).await;
    }
    let mut both = [failed.as_str(), old.as_str()];
    both.sort_unstable();
    for (query, expected) in [
        ("filter[status]=FAILED", vec![failed.as_str()]),
        ("filter[status]=QUEUED,DEQUEUED", vec![]),
        ("filter[taskIdentifier]=fail", vec![failed.as_str()]),
        ("filter[tag]=red", both.to_vec()),
        ("filter[isTest]=true", vec![failed.as_str()]),
        ("filter[createdAt][period]=1m&filter[taskIdentifier]=echo", vec![done.as_str()]),
        ("filter[createdAt][to]=1790000000000", vec![old.as_str()]),
        ("filter[queue]=other", vec![]),
    ] {
        let page = oncekey.list(query).await;
        let mut found = ids(&page);
        found.sort_unstable();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_another_environment_is_not_there() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("sleep", json!({ "payload": { "ms": 100 } })).await;
    let oncekey = oncekey.as_key(PROD);
    let (status, error) = answer(oncekey.get(&format!("/api/v3/runs/{}", run.id))).await;
    assert_eq!(status, 404);
    assert_eq!(error["error"], format!("there is no run {} in local/prod", run.id));
    assert_eq!(answer(oncekey.post(&format!("/api/v2/runs/{}/cancel", run.id), "")).await.0, 404);
    assert!(oncekey.all_runs().await.is_empty());
    // A parent over there is no parent here.
    let child = oncekey.trigger("echo", json!({ "options": { "parentRunId": run.id } })).await;
    assert_eq!(oncekey.run(&child.id).await["relatedRuns"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_described_as_it_is() {
    let oncekey = Oncekey::anywhere().await;
    let answer = oncekey.get("/openapi.json").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let served = answer.text().await.unwrap();
    let wanted = oncekey::openapi();
    assert!(served.trim() == wanted.trim(), "write it anew: cargo run -- openapi > shared/http/openapi.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_of_another_service_is_no_hindrance_and_a_batchs_items_have_the_parent_of_its_call() {
    let oncekey = Oncekey::anywhere().await;
    let foreign = json!({ "options": { "parentRunId": "run_cm4k2x9tq0001abcd1234efgh" } });
    let run = oncekey.trigger("echo", foreign).await;
    assert_eq!(oncekey.run(&run.id).await["relatedRuns"]["parent"], json!(null));

    for (parent, shown) in [(run.id.as_str(), json!(run.id)), ("run_cm4k2x9tq0001abcd1234efgh", json!(null))] {
        let create = json!({ "runCount": 1, "parentRunId": parent }).to_string();
        let (status, batch) = answer(oncekey.post("/api/v3/batches", create)).await;
        assert_eq!(status, 202, "{batch}");
        let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap());
        let item = json!({ "index": 0, "task": "echo" }).to_string();
        assert_eq!(answer(oncekey.post(&path, item)).await.0, 200);
        let path = format!("/api/v2/batches/{}", batch["id"].as_str().unwrap());
        let (_, batch) = answer(oncekey.get(&path)).await;
        let item = oncekey.run(batch["runs"][0].as_str().unwrap()).await;
        assert_eq!(item["relatedRuns"]["parent"]["id"], shown, "{item}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_runs_ends_before_lambdas_limit_and_the_next_goes_on() {
    let oncekey = Oncekey::anywhere().await;
    let metadata = json!({ "text": "x".repeat(32_000) });
    for _ in 0..110 {
        oncekey.trigger("echo", json!({ "options": { "metadata": metadata, "delay": "1h" } })).await;
    }
    let first = oncekey.list("page[size]=100").await;
    assert!(first.to_string().len() < 5 * 1024 * 1024);
    let mut shown = first["data"].as_array().unwrap().len();
    assert!(shown < 100);
    let mut next = first["pagination"]["next"].clone();
    while let Some(cursor) = next.as_str() {
        let page = oncekey.list(&format!("page[size]=100&page[after]={cursor}")).await;
        shown += page["data"].as_array().unwrap().len();
        next = page["pagination"]["next"].clone();
    }
    assert_eq!(shown, 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_and_an_output_have_every_digit_that_they_were_given() {
    let Some(place) = Place::own_stack() else { return };
    let next = |_: Context, number: u128| async move { Ok(number + 1) };
    let parent =
        |ctx: Context, number: u128| async move { Ok(ctx.trigger_and_wait::<u128>(Child::new("next", number)).await?) };
    let worker = Worker::new().task(Task::new("next", next)).task(Task::new("parent", parent));
    let oncekey = Oncekey::running(place, worker, |options| options).await;
    let body = r#"{"payload": 123456789012345678901234567890}"#;
    let (_, made) = answer(oncekey.post("/api/v1/tasks/parent/trigger", body)).await;
    let id = made["id"].as_str().unwrap();
    oncekey.in_status(id, "COMPLETED").await;
    let shown = oncekey.get(&format!("/api/v3/runs/{id}")).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains(r#""payload":123456789012345678901234567890,"#), "{shown}");
    assert!(shown.contains(r#""output":123456789012345678901234567891"#), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_has_written_is_read_from_a_place_on_by_its_environment_alone() {
    let Some(place) = Place::here_alone("a deployment's lines are in its log groups") else { return };
    let lines = oncekey::Lines::default();
    let kept = lines.clone();
    let oncekey = Oncekey::with(place, |options| Options { lines: kept, ..options }).await;
    let run = oncekey.trigger("echo", json!({})).await.id;
    for text in ["<b>one</b>", "two"] {
        lines.write(&run_id(&run), "stdout", text);
    }
    lines.write(&run_id(&run), "stderr", "three");
    let ask = async |query: &str| answer(oncekey.get(&format!("/api/v1/runs/{run}/logs{query}"))).await;
    let texts =
        |logs: &Value| logs["data"].as_array().unwrap().iter().map(|line| line["text"].clone()).collect::<Vec<_>>();
    let (status, all) = ask("").await;
    assert_eq!((status, texts(&all)), (StatusCode::OK, vec![json!("<b>one</b>"), json!("two"), json!("three")]));
    assert_eq!((&all["data"][2]["stream"], &all["leftOut"], &all["next"]), (&json!("stderr"), &json!(0), &json!(3)));
    assert_eq!(texts(&ask("?after=2").await.1), [json!("three")]);
    let (status, later) = ask("?after=3").await;
    assert_eq!((status, texts(&later), &later["next"]), (StatusCode::OK, vec![], &json!(3)));
    let (status, wrong) = ask("?after=-1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
    assert!(wrong["error"].as_str().unwrap().starts_with("after: "), "{wrong}");
    let page = Visitor::signed_in(&oncekey, DEV).await.get(&format!("/runs/{run}")).await;
    assert!(page.contains("&lt;b&gt;one&lt;/b&gt;") && page.contains(">three</span>"), "{page}");

    // On Lambda.
    let app = App { lines: None, ..oncekey.app().clone() };
    let error = logs(&app, &dev(), &run_id(&run), 0).await.unwrap_err();
    assert!(error.to_string().contains("Logs Insights") && error.to_string().contains(&run), "{error}");

    let other = oncekey.as_key(PROD);
    assert_eq!(answer(other.get(&format!("/api/v1/runs/{run}/logs"))).await.0, StatusCode::NOT_FOUND);
}
