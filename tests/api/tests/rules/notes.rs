//! What a run says of itself while it goes on, and how it ended.

use oncekey_tests_api::{Oncekey, Place, answer};
use oncekey_worker::{Child, Context, Task, Worker};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn change(oncekey: &Oncekey, id: &str, changes: Value) -> (StatusCode, Value) {
    let path = format!("/api/v1/runs/{id}/metadata");
    answer(oncekey.request(reqwest::Method::PUT, &path).body(changes.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_changed_by_operations_and_begins_with_the_triggers() {
    let oncekey = Oncekey::anywhere().await;
    let options = json!({ "options": { "metadata": { "step": 1, "old": true }, "delay": "1h" } });
    let run = oncekey.trigger("echo", options).await;
    let operations = json!({ "operations": [
        { "type": "increment", "key": "step", "value": 2 },
        { "type": "delete", "key": "old" },
        { "type": "append", "key": "log", "value": "a" },
    ] });
    let (status, changed) = change(&oncekey, &run.id, operations).await;
    assert_eq!((status, &changed), (StatusCode::OK, &json!({ "metadata": { "step": 3, "log": ["a"] } })));
    assert_eq!(oncekey.run(&run.id).await["metadata"], changed["metadata"]);
    let all = json!({ "metadata": { "all": "new" }, "operations": [{ "type": "set", "key": "x", "value": null }] });
    assert_eq!(change(&oncekey, &run.id, all).await.1["metadata"], json!({ "all": "new", "x": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_change_metadata_at_once_lose_nothing() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await;
    let one = || change(&oncekey, &run.id, json!({ "operations": [{ "type": "increment", "key": "n", "value": 1 }] }));
    let all = futures_util::future::join_all((0..8).map(|_| one())).await;
    assert!(all.iter().all(|(status, _)| *status == StatusCode::OK), "{all:?}");
    assert_eq!(oncekey.run(&run.id).await["metadata"], json!({ "n": 8 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_changes_the_metadata_of_its_parent_and_of_the_first_of_its_family() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, depth: u64| async move {
        if depth > 0 {
            ctx.trigger(Child::new("parent", depth - 1)).await?;
        }
        Ok(ctx.run_id().to_string())
    });
    let oncekey = Oncekey::running(place, Worker::new().task(parent), |options| options).await;
    let root = oncekey.trigger("parent", json!({ "payload": 2 })).await.id;
    let mut family = Vec::new();
    while family.len() < 3 {
        family = oncekey.all_runs().await;
    }
    let mut youngest = String::new();
    for id in &family {
        if oncekey.finished(id).await["depth"] == 2 {
            youngest.clone_from(id);
        }
    }
    let set = |value| json!([{ "type": "set", "key": "from", "value": value }]);
    let changes = json!({ "parentOperations": set("child"), "rootOperations": set("grandchild") });
    assert_eq!(change(&oncekey, &youngest, changes.clone()).await, (StatusCode::OK, json!({ "metadata": {} })));
    let shown = oncekey.run(&youngest).await["relatedRuns"].clone();
    assert_eq!(shown["parent"]["metadata"], json!({ "from": "child" }));
    assert_eq!(shown["root"]["metadata"], json!({ "from": "grandchild" }));
    // The first of a family is its own parent and root.
    assert_eq!(change(&oncekey, &root, changes).await.1["metadata"], json!({ "from": "grandchild" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_too_large_or_of_no_known_operation_is_refused() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await;
    let large = json!({ "operations": [{ "type": "set", "key": "a", "value": "x".repeat(33_000) }] });
    let (status, error) = change(&oncekey, &run.id, large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(error["error"].as_str().unwrap().contains("the limit is 32768 (32 KB)"), "{error}");
    for wrong in [json!({ "operations": [{ "type": "double", "key": "a" }] }), json!({ "operations": 5 })] {
        assert_eq!(change(&oncekey, &run.id, wrong).await.0, StatusCode::BAD_REQUEST);
    }
    assert_eq!(oncekey.run(&run.id).await["metadata"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_given_tags_up_to_ten_and_is_found_by_them() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", json!({ "options": { "tags": ["first", "first"], "delay": "1h" } })).await;
    let give = |tags: Value| {
        answer(oncekey.post(&format!("/api/v1/runs/{}/tags", run.id), json!({ "tags": tags }).to_string()))
    };
    let tag = format!("late-{}", run.id);
    assert_eq!(give(json!(["first", tag, tag])).await.0, StatusCode::OK);
    assert_eq!(give(json!(tag)).await.0, StatusCode::OK);
    assert_eq!(oncekey.run(&run.id).await["tags"], json!(["first", tag]));
    assert_eq!(oncekey.list(&format!("filter[tag]={tag}")).await["data"][0]["id"], run.id.as_str());
    let nine: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let (status, error) = give(json!(nine)).await;
    assert_eq!(
        (status, &error["error"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("a run has at most 10 tags, and this would be 11"))
    );
    assert_eq!(give(json!([5])).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_run_is_told_once_it_has_ended() {
    let oncekey = Oncekey::anywhere().await;
    let result = async |id: &str| answer(oncekey.get(&format!("/api/v1/runs/{id}/result"))).await;
    let delayed = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await;
    assert_eq!(result(&delayed.id).await.0, StatusCode::NOT_FOUND);
    let run = oncekey.trigger("echo", json!({ "payload": { "a": 1 } })).await;
    oncekey.finished(&run.id).await;
    let (_, told) = result(&run.id).await;
    assert_eq!(
        (&told["ok"], &told["output"], &told["outputType"]),
        (&json!(true), &json!("{\"a\":1}"), &json!("application/json"))
    );
    let failed = oncekey.trigger("fail", json!({})).await;
    oncekey.finished(&failed.id).await;
    let (_, told) = result(&failed.id).await;
    assert_eq!((&told["ok"], &told["error"]["type"]), (&json!(false), &json!("BUILT_IN_ERROR")));
    assert_eq!(told["error"]["message"], "this task always fails");
}
