//! I2, I8: what a run may still read outlives whatever it waits for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_core::protocol::cancel::cancel;
use oncekey_core::store::StepResult;
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, dev, run_id};
use oncekey_worker::{Child, Context, RetryPolicy, Task, TaskError};
use serde_json::{Value, json};

use super::journal::{Count, count, ended, suspended};
use super::waits::{DrainedButDelayed, quick, with};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) async fn runs_items(oncekey: &Oncekey) -> Vec<HashMap<String, AttributeValue>> {
    let (_, dynamodb) = oncekey.stack().dynamodb();
    let pages = dynamodb.scan().table_name(oncekey.table("oncekey-runs")).into_paginator().items().send();
    let all = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    // What the stack's worker has stands there as well.
    all.into_iter().filter(|item| item["item"] != AttributeValue::S("dev".into())).collect()
}

/// Deletes what has expired, as DynamoDB may at any moment from then on.
async fn sweep(oncekey: &Oncekey) {
    let (_, dynamodb) = oncekey.stack().dynamodb();
    let now = oncekey.clock.now().millis() / 1000;
    for item in runs_items(oncekey).await {
        let expires_at = item.get("expires_at").and_then(|at| at.as_n().ok()?.parse::<i64>().ok());
        if expires_at.is_some_and(|at| at <= now) {
            let delete = dynamodb.delete_item().table_name(oncekey.table("oncekey-runs"));
            let delete = delete.key("run_id", item["run_id"].clone()).key("item", item["item"].clone());
            delete.send().await.unwrap();
        }
    }
}

/// Lets days pass, and sweeps whenever it can.
async fn days_pass(oncekey: &Oncekey, mut days: u32) {
    while days > 0 {
        // No message stays in a queue longer than fourteen days.
        let some = days.min(10);
        oncekey.drained_but_delayed().await;
        sweep(oncekey).await;
        oncekey.clock.advance(DAY * some);
        sweep(oncekey).await;
        days -= some;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_step_is_not_done_again_after_waits_of_a_hundred_days() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let charged = Count::default();
    let seen = Arc::clone(&charged);
    let parent = Task::new("parent", move |ctx: Context, _: Value| {
        let seen = Arc::clone(&seen);
        async move {
            let charge: u32 = ctx.step("charge", || async { Ok(count(&seen)) }).await?;
            ctx.wait_for(DAY * 100).await?;
            ctx.wait_for(DAY * 100).await?;
            Ok(charge)
        }
    });
    let oncekey = with(place, parent).await;
    let run = oncekey.trigger("parent", json!({})).await;
    suspended(&oncekey, &run.id, &[1]).await;
    days_pass(&oncekey, 100).await;
    suspended(&oncekey, &run.id, &[2]).await;
    days_pass(&oncekey, 100).await;
    assert_eq!(ended(&oncekey, &run.id, "COMPLETED").await["output"], 1);
    assert_eq!(charged.load(Ordering::SeqCst), 1);
    oncekey.clock.advance(DAY * 200);
    sweep(&oncekey).await;
    assert_eq!(runs_items(&oncekey).await.len(), 0, "what has ended does not stay for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_the_end_of_a_child_outlives_the_child() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let parent = Task::new("parent", |ctx: Context, _: Value| async move {
        let children = (0..30u64).map(|n| Child::new("child", n)).collect();
        let batch = ctx.batch_trigger_and_wait::<u64>(children).await?;
        let one: u64 = ctx.trigger_and_wait(Child::new("child", 30)).await?;
        let failed = ctx.trigger_and_wait::<u64>(Child::new("fail", 0)).await.unwrap_err().to_string();
        ctx.wait_for(DAY * 100).await?;
        let sum = batch.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().sum::<u64>();
        Ok(json!([sum + one, ctx.attempt(), failed.split_once("ended ").map(|(_, why)| why)]))
    });
    let oncekey = with(place, parent).await;
    let run = oncekey.trigger("parent", json!({})).await;
    suspended(&oncekey, &run.id, &[4]).await;
    days_pass(&oncekey, 100).await;
    let output = ended(&oncekey, &run.id, "COMPLETED").await["output"].clone();
    assert_eq!(output, json!([465, 1, "FAILED: it broke"]));
    let runs = runs_items(&oncekey).await.into_iter().filter(|item| item["item"] == AttributeValue::S("run".into()));
    assert_eq!(runs.count(), 1, "the children are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_run_and_its_steps_outlive_a_pause_of_forty_days_before_the_next_attempt() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let charged = Count::default();
    let seen = Arc::clone(&charged);
    let parent = Task::new("parent", move |ctx: Context, _: Value| {
        let seen = Arc::clone(&seen);
        async move {
            ctx.step("charge", || async { Ok(count(&seen)) }).await?;
            if ctx.attempt() < 3 { Err(TaskError::new("not yet")) } else { Ok(ctx.attempt()) }
        }
    });
    let policy = RetryPolicy { first_pause: DAY * 40, max_pause: DAY * 40, ..RetryPolicy::default() };
    let oncekey = with(place, parent.retry(policy)).await;
    let run = oncekey.trigger("parent", json!({})).await;
    for attempt in 2..=3 {
        oncekey.run_until(&run.id, |run| run["attemptCount"] == attempt && run["status"] == "QUEUED").await;
        days_pass(&oncekey, 41).await;
    }
    assert_eq!(ended(&oncekey, &run.id, "COMPLETED").await["output"], 3);
    assert_eq!(charged.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_may_have_a_long_name_and_a_large_result_and_is_done_once() {
    let Some(place) = Place::own_stack() else { return };
    let done = Count::default();
    let seen = Arc::clone(&done);
    let parent = Task::new("parent", move |ctx: Context, _: Value| {
        let seen = Arc::clone(&seen);
        async move {
            let name = "n".repeat(3_000);
            let result: String = ctx
                .step(&name, || async {
                    count(&seen);
                    Ok("x".repeat(400_000))
                })
                .await?;
            if ctx.attempt() == 1 { Err(TaskError::new("once more")) } else { Ok(result.len()) }
        }
    });
    let oncekey = with(place, parent.retry(quick())).await;
    let run = oncekey.trigger("parent", json!({})).await;
    assert_eq!(ended(&oncekey, &run.id, "COMPLETED").await["output"], 400_000);
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_ran_a_step_at_once_both_get_the_first_ones_result() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (store, run) = (&oncekey.app().store, run_id(&format!("run_{}", "a".repeat(32))));
    let born = oncekey.clock.now();
    let until = born.plus(DAY);
    let (one, other) = (StepResult::Inline("1".to_owned()), StepResult::Inline("2".to_owned()));
    assert_eq!(store.put_step(&run, born, "charge", one.clone(), until).await.unwrap(), one);
    assert_eq!(store.put_step(&run, born, "charge", other, until).await.unwrap(), one);
    assert_eq!(store.journal(&run, born, 1).await.unwrap().step("charge"), Some(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_request_that_comes_again_when_its_run_has_expired_does_not_meet_the_first_ones_journal() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let charged = Count::default();
    let seen = Arc::clone(&charged);
    let parent = Task::new("parent", move |ctx: Context, _: Value| {
        let seen = Arc::clone(&seen);
        async move {
            let charge: u32 = ctx.step("charge", || async { Ok(count(&seen)) }).await?;
            ctx.wait_for(DAY * 300).await?;
            Ok(charge)
        }
    });
    let oncekey = with(place, parent.retry(quick())).await;
    let request = || async {
        let post = oncekey.post("/api/v1/tasks/parent/trigger", "{}");
        let (_, handle) = answer(post.header("x-trigger-request-idempotency-key", "one")).await;
        handle["id"].as_str().unwrap().to_owned()
    };
    let first = request().await;
    suspended(&oncekey, &first, &[1]).await;
    // What it has journalled is kept for the wait that it does not come to the end of.
    cancel(oncekey.app(), &dev(), &run_id(&first)).await.unwrap();
    ended(&oncekey, &first, "CANCELED").await;
    days_pass(&oncekey, 40).await;
    assert!(runs_items(&oncekey).await.iter().any(|item| item["item"] == AttributeValue::S("step#charge".into())));

    assert_eq!(request().await, first, "a run is named by its request");
    suspended(&oncekey, &first, &[1]).await;
    days_pass(&oncekey, 300).await;
    assert_eq!(ended(&oncekey, &first, "COMPLETED").await["output"], 2);
    assert_eq!(charged.load(Ordering::SeqCst), 2);
}
