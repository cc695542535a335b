//! I2, I9: what a run has journalled is written once, and answers a resume as it answered before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey::Options;
use oncekey::aws::dynamodb::execute;
use oncekey_core::RunStatus;
use oncekey_core::protocol::cancel::cancel;
use oncekey_core::protocol::wait::await_children;
use oncekey_core::run::end::End;
use oncekey_core::run::waiter::{Wait, Waiter};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, DEV, Oncekey, Place, dev, run_id};
use oncekey_worker::{Child, Context, Task, TaskError, Worker};
use serde_json::{Value, json};

use super::dashboard::Visitor;
use super::faults::{Fate, database_behind, faulty_database};
use super::retention::{DAY, runs_items};
use super::waits::{DrainedButDelayed, children, quick, with};

const MINUTE: Duration = Duration::from_secs(60);

/// How often something happened.
pub(super) type Count = Arc<AtomicU32>;

pub(super) fn count(count: &Count) -> u32 {
    count.fetch_add(1, Ordering::SeqCst) + 1
}

pub(super) async fn ended(oncekey: &Oncekey, run: &str, status: &str) -> Value {
    let ended = oncekey.finished(run).await;
    assert_eq!(ended["status"], status, "{ended:#}");
    ended
}

/// Waits until a run is suspended in these calls.
pub(super) async fn suspended(oncekey: &Oncekey, run: &str, calls: &[u32]) {
    let wanted: BTreeSet<Wait> = calls.iter().map(|&call| Wait { attempt: 1, call }).collect();
    loop {
        let stored = oncekey.app().store.run(&run_id(run)).await.unwrap().expect("a run that has not ended is there");
        if stored.status == RunStatus::Waiting && stored.waiting_on.iter().copied().collect::<BTreeSet<_>>() == wanted {
            return;
        }
        assert!(!stored.status.is_final(), "{stored:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_leaves_out_a_call_that_it_had_made_fails_at_once_and_names_it() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let starts = Count::default();
    let parent = Task::new("parent", move |ctx: Context, _: Value| {
        let is_first = count(&starts) == 1;
        async move {
            if is_first {
                ctx.trigger(Child::new("child", 1)).await?;
            }
            ctx.wait_for(MINUTE).await?;
            Ok(())
        }
    });
    let oncekey = with(place, parent).await;
    let run = oncekey.trigger("parent", json!({})).await;
    suspended(&oncekey, &run.id, &[2]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(MINUTE);
    let failed = ended(&oncekey, &run.id, "FAILED").await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("call 1 is now \"wait for a time\" and was \"trigger child\""), "{message}");
    assert_eq!(oncekey.list("filter[taskIdentifier]=child").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_of_a_child_and_a_time_whichever_comes_first_resumes_the_run() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, delay: String| async move {
        let first = tokio::select! {
            output = ctx.trigger_and_wait::<u64>(Child::new("child", 1).delay(&delay)) => format!("child {}", output?),
            time = ctx.wait_for(MINUTE) => { time?; "time".to_owned() }
        };
        // Resumed again, it comes to the same, though by then both have come.
        ctx.wait_for(MINUTE * 5).await?;
        Ok(json!([first, ctx.attempt()]))
    });
    let oncekey = with(place, parent.retry(quick())).await;
    let quick = oncekey.trigger("parent", json!({ "payload": "1s" })).await;
    let slow = oncekey.trigger("parent", json!({ "payload": "1h" })).await;
    suspended(&oncekey, &quick.id, &[1, 2]).await;
    suspended(&oncekey, &slow.id, &[1, 2]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(Duration::from_secs(2));
    suspended(&oncekey, &quick.id, &[3]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(MINUTE);
    suspended(&oncekey, &slow.id, &[3]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(MINUTE * 5);
    assert_eq!(ended(&oncekey, &quick.id, "COMPLETED").await["output"], json!(["child 1", 1]));
    assert_eq!(ended(&oncekey, &slow.id, "COMPLETED").await["output"], json!(["time", 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_several_waits_at_once_come_out_in_the_same_order_on_every_resume() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let order = std::sync::Mutex::new(Vec::new());
        let branch = async |name: &'static str, ms: u64, pause: Duration| {
            ctx.trigger_and_wait::<u64>(Child::new("child", ms)).await?;
            order.lock().unwrap().push(name);
            // Its number depends on which branch was first to get here.
            let number = ctx.step(name, || async { Ok(order.lock().unwrap().len()) }).await?;
            ctx.wait_for(pause).await?;
            Ok::<_, TaskError>(number)
        };
        let (a, b) = tokio::join!(branch("a", 400, MINUTE), branch("b", 1, MINUTE * 2));
        let (a, b) = (a?, b?);
        let order = order.into_inner().unwrap();
        Ok(json!([a, b, order, ctx.attempt()]))
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    suspended(&oncekey, &run.id, &[3, 4]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(MINUTE);
    suspended(&oncekey, &run.id, &[3]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(MINUTE);
    let output = ended(&oncekey, &run.id, "COMPLETED").await["output"].clone();
    assert_eq!(output, json!([2, 1, ["b", "a"], 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_branch_that_had_not_called_before_the_suspension_does_not_get_the_child_of_another() {
    let Some(place) = Place::own_stack() else { return };
    let resumed = Count::default();
    let seen = Arc::clone(&resumed);
    let parent = Task::new("parent", move |ctx: Context, _: Value| {
        let first = count(&seen) == 1;
        async move {
            let early = async {
                // Resumed, it comes after the other.
                if !first {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                ctx.trigger_and_wait::<u64>(Child::new("child", 1)).await
            };
            let late = async {
                // It comes after the suspension, if there is one: a child that ends at once needs none.
                if first {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                ctx.trigger_and_wait::<u64>(Child::new("child", 2)).await
            };
            let (early, late) = tokio::join!(early, late);
            Ok(json!([early?, late?, ctx.attempt()]))
        }
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    assert_eq!(ended(&oncekey, &run.id, "COMPLETED").await["output"], json!([1, 2, 1]));
    assert_eq!(oncekey.all_runs().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_refused_is_refused_again_on_a_resume() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let refused = ctx.trigger(Child::new("child", 1).delay("soon")).await.unwrap_err().to_string();
        let freed = ctx.reset("child", "nobody holds this").await?;
        ctx.wait_for(MINUTE).await?;
        Ok(json!([refused, freed]))
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    suspended(&oncekey, &run.id, &[3]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(MINUTE);
    let output = ended(&oncekey, &run.id, "COMPLETED").await["output"].clone();
    assert!(output[0].as_str().unwrap().starts_with("options.delay: "), "{output}");
    assert_eq!(output[1], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_calls_is_part_of_the_step() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let inner = ctx.clone();
        let in_step: String = ctx
            .step("order", || async move { Ok(inner.trigger(Child::new("child", 1)).await?.id.to_string()) })
            .await?;
        ctx.wait_for(MINUTE).await?;
        let after = ctx.trigger(Child::new("child", 1)).await?.id.to_string();
        ctx.wait_for(MINUTE).await?;
        Ok(json!([in_step, after, ctx.attempt()]))
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    for call in [2, 4] {
        suspended(&oncekey, &run.id, &[call]).await;
        oncekey.drained_but_delayed().await;
        oncekey.clock.advance(MINUTE);
    }
    let output = ended(&oncekey, &run.id, "COMPLETED").await["output"].clone();
    assert_ne!(output[0], output[1]);
    assert_eq!(oncekey.all_runs().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_who_settles_the_last_child_of_its_own_wait_learns_of_those_that_ended_since_it_looked() {
    let Some(place) = Place::here_alone("it comes between two requests to the embedded DynamoDB") else { return };
    let late = Arc::new(std::sync::Mutex::new(None::<(String, String)>));
    let between = Arc::clone(&late);
    let url = database_behind(move |database, operation, body| {
        // The late child's handler settles it just before the wait's own run settles the other.
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let settles = operation == "UpdateItem"
            && request["UpdateExpression"].as_str().is_some_and(|e| e.contains("DELETE pending"));
        if settles && let Some((child, end)) = between.lock().unwrap().take() {
            let mut item = request["Key"].clone();
            item["item"]["S"] = json!(format!("{}#{child}", request["Key"]["item"]["S"].as_str().unwrap()));
            (item["end"], item["expires_at"]) = (json!({ "S": end }), json!({ "N": "4000000000" }));
            let put = json!({ "TableName": request["TableName"], "Item": item });
            assert_eq!(execute(database, "PutItem", put.to_string().as_bytes()).0, 200);
            let take = json!({
                "TableName": request["TableName"], "Key": request["Key"], "UpdateExpression": "DELETE pending :child",
                "ExpressionAttributeValues": { ":child": { "SS": [child] } },
            });
            assert_eq!(execute(database, "UpdateItem", take.to_string().as_bytes()).0, 200);
        }
        execute(database, operation, &body)
    })
    .await;
    let worker = oncekey_function_worker::worker();
    let oncekey = Oncekey::running(place, worker, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
    let ended = oncekey.trigger("echo", json!({})).await.id;
    oncekey.finished(&ended).await;
    let delayed = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await.id;
    let end = serde_json::to_string(&End::unknown()).unwrap();
    *late.lock().unwrap() = Some((delayed.clone(), end));
    let (app, born) = (oncekey.app(), oncekey.clock.now());
    let waiter = Waiter { run: run_id(&format!("run_{}", "w".repeat(32))), attempt: 1, call: 1 };
    let children = [run_id(&ended), run_id(&delayed)];
    let registered = await_children(app, &waiter, born, &children, born.plus(DAY)).await.unwrap();
    assert_eq!(registered.ends.keys().collect::<BTreeSet<_>>(), children.iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_wait_that_is_held_and_not_awaited_keeps_no_other_from_being_woken() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let mut deadline = std::pin::pin!(ctx.wait_for(MINUTE * 10));
        let mut rounds = 0u64;
        while rounds < 3 {
            let batch = (0..5u64).map(|n| Child::new("child", n % 3)).collect();
            tokio::select! {
                biased;
                late = &mut deadline => { late?; return Ok(rounds); }
                ends = ctx.batch_trigger_and_wait::<u64>(batch) => { ends?; }
            }
            // Here nobody awaits the deadline.
            let batch = (0..5u64).map(|n| Child::new("child", n % 3)).collect();
            ctx.batch_trigger_and_wait::<u64>(batch).await?;
            rounds += 1;
        }
        Ok(rounds)
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    assert_eq!(ended(&oncekey, &run.id, "COMPLETED").await["output"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_cannot_wait_and_says_so() {
    let Some(place) = Place::own_stack() else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let inner = ctx.clone();
        ctx.step("wait", || async move { Ok(inner.wait_for(MINUTE).await?) }).await
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    let message = ended(&oncekey, &run.id, "FAILED").await["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("a step cannot wait"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_run_that_thousands_wait_for_ends_and_each_of_them_learns_of_it() {
    let Some(place) = Place::here_alone("it takes DynamoDB Local minutes") else { return };
    const WAITERS: usize = 4_000;
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let child = run_id(&oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await.id);
    let until = oncekey.clock.now().plus(DAY);
    let waiters: Vec<Waiter> =
        (0..WAITERS).map(|n| Waiter { run: run_id(&format!("run_{:a>32}", base32(n))), attempt: 1, call: 1 }).collect();
    let only = std::slice::from_ref(&child);
    for some in waiters.chunks(100) {
        futures_util::future::join_all(some.iter().map(async |waiter| {
            app.store.put_wait(waiter, until, only, until).await.unwrap();
            app.store.register(waiter, until, only).await.unwrap();
        }))
        .await;
    }
    cancel(app, &dev(), &child).await.unwrap();
    while !app.store.registrations(child.as_str(), 1).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    oncekey.drained("oncekey-completions").await;
    for waiter in waiters.iter().step_by(97) {
        let wait = app.store.wait(waiter).await.unwrap();
        assert_eq!((wait.pending.len(), wait.ends[&child].status), (0, RunStatus::Canceled));
    }
}

fn base32(mut n: usize) -> String {
    let mut digits = String::new();
    while n > 0 {
        digits.insert(0, char::from(b"abcdefghijklmnopqrstuvwxyz234567"[n % 32]));
        n /= 32;
    }
    digits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_children_with_long_keys_fit_a_wait() {
    let why = "a thousand triggers take DynamoDB Local longer than an invocation may last";
    let Some(place) = Place::here_alone(why) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let child = |n: u64| Child::new("child", n % 2).idempotency_key(format!("{n:0>400}").as_str());
        let ends = ctx.batch_trigger_and_wait::<u64>((0..1_000).map(child).collect()).await?;
        Ok(ends.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().sum::<u64>())
    });
    let worker: Worker = children().task(parent.max_attempts(1));
    let oncekey = Oncekey::running(place, worker, |options| Options { worker_concurrency: 16, ..options }).await;
    let run = oncekey.trigger("parent", json!({})).await;
    while oncekey.run(&run.id).await["isCompleted"] == false {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let run = ended(&oncekey, &run.id, "COMPLETED").await;
    assert_eq!(run["output"], 500);
    // Whoever looks at it sees some of them.
    assert_eq!(run["relatedRuns"]["children"].as_array().unwrap().len(), 100);
    let page = Visitor::signed_in(&oncekey, DEV).await.get(&format!("/runs/{}", run["id"].as_str().unwrap())).await;
    assert_eq!(page.matches("class=\"lane child\"").count(), 50, "{page}");
    assert!(page.contains("Of its children the newest 50 are shown."), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_what_a_batch_of_reads_or_writes_leaves_unprocessed_is_sent_again() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let [writes, reads] = [Count::default(), Count::default()];
    let (written, read) = (Arc::clone(&writes), Arc::clone(&reads));
    let url = faulty_database(move |operation, _| {
        match operation {
            "BatchWriteItem" => count(&written),
            "BatchGetItem" => count(&read),
            _ => return Fate::Passes,
        };
        Fate::Halves
    })
    .await;
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let ends = ctx.batch_trigger_and_wait::<u64>((0..50).map(|n| Child::new("child", n)).collect()).await?;
        Ok(ends.into_iter().collect::<Result<Vec<_>, _>>()?)
    });
    let worker: Worker = children().task(parent.max_attempts(1));
    let oncekey = Oncekey::running(place, worker, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
    let run = oncekey.trigger("parent", json!({})).await;
    assert_eq!(ended(&oncekey, &run.id, "COMPLETED").await["output"], json!((0..50).collect::<Vec<_>>()));
    assert_eq!(oncekey.all_runs().await.len(), 51);
    assert!(count(&writes) > 5 && count(&reads) > 5);
}

/// How often a run waits here: `ONCEKEY_TEST_WAITS`, or a thousand times.
fn waits() -> u32 {
    std::env::var("ONCEKEY_TEST_WAITS").map_or(1_000, |waits| waits.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_a_thousand_times() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        for _ in 0..waits() {
            ctx.wait_for(MINUTE).await?;
        }
        Ok(ctx.attempt())
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    for wait in 1..=waits() {
        suspended(&oncekey, &run.id, &[wait]).await;
        oncekey.drained_but_delayed().await;
        oncekey.clock.advance(MINUTE);
    }
    assert_eq!(ended(&oncekey, &run.id, "COMPLETED").await["output"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_wait_that_an_older_version_wrote_is_resumed() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let handle = ctx.trigger(Child::new("child", 1).delay("1h")).await?;
        let output: u64 = ctx.trigger_and_wait(Child::new("child", 2).delay("1h")).await?;
        ctx.wait_for(MINUTE).await?;
        Ok(json!([handle.id, output, ctx.attempt()]))
    });
    let oncekey = with(place, parent.max_attempts(1)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    suspended(&oncekey, &run.id, &[2]).await;
    oncekey.drained_but_delayed().await;
    let children: Vec<String> = oncekey.all_runs().await.into_iter().filter(|id| *id != run.id).collect();
    as_older_versions_wrote(&oncekey, &run.id).await;
    oncekey.clock.advance(MINUTE * 60);
    suspended(&oncekey, &run.id, &[3]).await;
    oncekey.drained_but_delayed().await;
    oncekey.clock.advance(MINUTE);
    let output = ended(&oncekey, &run.id, "COMPLETED").await["output"].clone();
    assert!(children.contains(&output[0].as_str().unwrap().to_owned()), "{output}");
    assert_eq!((&output[1], &output[2]), (&json!(2), &json!(1)));
    assert_eq!(oncekey.all_runs().await.len(), 3, "no child was triggered again");
}

/// Writes the suspension of a run as it was written before calls, waits and waiters had items of their own: all calls in the
/// wait's item, the wait whole in the run's, and the waiter in a set of the child's.
async fn as_older_versions_wrote(oncekey: &Oncekey, run: &str) {
    let (_, dynamodb) = oncekey.stack().dynamodb();
    let (table, waiter) = (oncekey.table("oncekey-runs"), format!("{run}#1#2"));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let update = |id: &AttributeValue, item: &str, change: &str| {
        let update = dynamodb.update_item().table_name(&table).key("run_id", id.clone()).key("item", text(item));
        update.update_expression(change.to_owned())
    };
    let app = oncekey.app();
    let stored = app.store.run(&run_id(run)).await.unwrap().unwrap();
    let journal = app.store.journal(&stored.id, stored.spec.created_at, 1).await.unwrap();
    let segment: Value = serde_json::from_str(&journal.segments[0]).unwrap();
    let old = |number: &str| {
        let call = &segment["calls"][number];
        json!({ "what": call["what"], "children": call["answer"]["Ok"]["children"] })
    };
    let calls = json!([old("1"), old("2")]).to_string();
    let child = AttributeValue::S(old("2")["children"][0]["id"].as_str().unwrap().to_owned());
    for item in runs_items(oncekey).await {
        let name = item["item"].as_s().unwrap();
        if name.starts_with("segment#") || name.starts_with("awaited_by#") {
            let delete = dynamodb.delete_item().table_name(&table).key("run_id", item["run_id"].clone());
            delete.key("item", item["item"].clone()).send().await.unwrap();
        }
    }
    let calls =
        update(&text(run), "wait#1#2", "SET calls = :calls").expression_attribute_values(":calls", text(&calls));
    calls.send().await.unwrap();
    let waiting_on = update(&text(run), "run", "SET waiting_on = :waiter REMOVE #segments")
        .expression_attribute_names("#segments", "segments");
    waiting_on.expression_attribute_values(":waiter", text(&waiter)).send().await.unwrap();
    let waiters = update(&child, "run", "ADD waiters :waiters");
    waiters.expression_attribute_values(":waiters", AttributeValue::Ss(vec![waiter])).send().await.unwrap();
}
