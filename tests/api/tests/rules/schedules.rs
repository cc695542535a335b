//! R63, I8: what is further away than SQS delays is one schedule and one last delay, and comes however often it is moved.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oncekey_core::queue::message::RunMessage;
use oncekey_core::queue::schedules::{Schedule, Scheduler};
use oncekey_core::{Clock, Error, Timestamp};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, run_id};
use oncekey_worker::{Context, Task, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::protocol::until;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const RUNS: &str = "oncekey-runs";

/// A stack whose time stands still, with tasks that give back what they get, wait for as many days as they are told, and fail first.
async fn frozen(place: Place) -> Oncekey {
    let echo = Task::new("echo", |_: Context, payload: Value| async move { Ok(payload) });
    let sleeper = Task::new("sleeper", |ctx: Context, days: u32| async move {
        ctx.wait_for(DAY * days).await?;
        Ok(ctx.attempt())
    });
    let clock = Clock::frozen(Timestamp::from_millis(1_790_000_000_000));
    let worker = Worker::new().task(echo).task(sleeper);
    Oncekey::running(place, worker, |options| oncekey::Options { clock, ..options }).await
}

/// Waits until there are so many schedules, and neither more nor a message.
async fn scheduled(oncekey: &Oncekey, count: usize) -> Vec<Value> {
    oncekey.drained(RUNS).await;
    let schedules = oncekey.schedules().await;
    assert_eq!(schedules.len(), count, "{schedules:#?}");
    schedules
}

/// Waits until one message is delayed, and nothing else is there.
async fn last_delay(oncekey: &Oncekey) {
    until(|| async { oncekey.depth(RUNS).await == [0, 0, 1] }).await;
    assert!(oncekey.schedules().await.is_empty());
}

async fn post(oncekey: &Oncekey, path: &str, body: Value) {
    let (status, told) = answer(oncekey.post(path, body.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_a_long_delay_is_one_schedule_and_one_last_delay() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    // What Scheduler would put something in the place of is a text like any other.
    let payload = json!("at <aws.scheduler.scheduled-time>");
    let run = oncekey.trigger("echo", json!({ "payload": payload, "options": { "delay": "30d" } })).await;
    let schedules = scheduled(&oncekey, 1).await;
    assert_eq!(schedules[0]["ActionAfterCompletion"], "DELETE");
    oncekey.clock.advance(DAY * 30 - MINUTE * 2);
    last_delay(&oncekey).await;
    assert_eq!(oncekey.run(&run.id).await["status"], "DELAYED");
    oncekey.clock.advance(MINUTE * 2);
    let ended = oncekey.finished(&run.id).await;
    assert_eq!((&ended["output"], &ended["attemptCount"]), (&payload, &json!(1)));
    scheduled(&oncekey, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_so_is_a_long_wait() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let run = oncekey.trigger("sleeper", json!({ "payload": 30 })).await;
    oncekey.in_status(&run.id, "WAITING").await;
    scheduled(&oncekey, 1).await;
    oncekey.clock.advance(DAY * 30 - MINUTE * 2);
    last_delay(&oncekey).await;
    assert_eq!(oncekey.run(&run.id).await["status"], "WAITING");
    oncekey.clock.advance(MINUTE * 2);
    assert_eq!(oncekey.finished(&run.id).await["output"], 1);
    scheduled(&oncekey, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_a_trigger_that_is_sent_again_makes_no_second_schedule() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let body = json!({ "payload": 1, "options": { "delay": "2027-01-01T00:00:00Z" } });
    for _ in 0..3 {
        let request = oncekey.post("/api/v1/tasks/echo/trigger", body.to_string());
        assert_eq!(answer(request.header("x-trigger-request-idempotency-key", "one")).await.0, StatusCode::OK);
    }
    scheduled(&oncekey, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_a_start_that_is_moved_takes_its_schedule_along_and_one_that_is_moved_back_comes() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let run = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": "2027-01-01T00:00:00Z" } })).await;
    let first = scheduled(&oncekey, 1).await[0]["Name"].clone();
    for delay in ["2027-02-01T00:00:00Z", "2027-01-01T00:00:00Z"] {
        post(&oncekey, &format!("/api/v1/runs/{}/reschedule", run.id), json!({ "delay": delay })).await;
        scheduled(&oncekey, 1).await;
    }
    // Whoever is late to delete the first one deletes no other.
    let name = first.as_str().unwrap();
    let deleted =
        oncekey.scheduler(Method::DELETE, &format!("/schedules/{name}?groupName=oncekey"), String::new()).await;
    assert_eq!(deleted.unwrap().0, StatusCode::NOT_FOUND);
    scheduled(&oncekey, 1).await;
    let due_at = Timestamp::parse("2027-01-01T00:00:00Z").unwrap();
    oncekey.clock.advance(due_at.since(oncekey.clock.now()) - MINUTE * 2);
    last_delay(&oncekey).await;
    oncekey.clock.advance(MINUTE * 2);
    assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_a_cancelled_run_leaves_no_schedule() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let delayed = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": "30d" } })).await;
    let waiting = oncekey.trigger("sleeper", json!({ "payload": 30 })).await;
    oncekey.in_status(&waiting.id, "WAITING").await;
    scheduled(&oncekey, 2).await;
    for run in [delayed.id, waiting.id] {
        post(&oncekey, &format!("/api/v2/runs/{run}/cancel"), json!({})).await;
    }
    scheduled(&oncekey, 0).await;
}

/// Scheduler, where it takes no more.
#[derive(Debug)]
struct Throttled;

impl Scheduler for Throttled {
    fn create(&self, _: Schedule) -> BoxFuture<'_, Result<(), Error>> {
        async { Err(Error::Aws { call: "scheduler:CreateSchedule", source: "it answered 429".into() }) }.boxed()
    }

    fn delete(&self, _: String) -> BoxFuture<'_, Result<(), Error>> {
        self.create(Schedule::default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r63_where_no_schedule_can_be_had_it_goes_in_hops_until_one_can() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let throttled = oncekey.app().clone().scheduled_by(Arc::new(Throttled));
    let run = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": "30d" } })).await;
    oncekey.forget_schedules().await;
    let stored = oncekey.app().store.run(&run_id(&run.id)).await.unwrap().unwrap();
    throttled.queues.send_run(&RunMessage::of(&stored)).await.unwrap();
    assert_eq!(oncekey.depth(RUNS).await, [0, 0, 1]);
    oncekey.clock.advance(MINUTE * 15);
    scheduled(&oncekey, 1).await;
}

/// A schedule that sends `message` to a queue that is not there, a minute from now.
async fn lost(oncekey: &Oncekey, message: &RunMessage) {
    let at = oncekey.clock.now().plus(MINUTE).to_string();
    let arn = |queue: &str| format!("arn:aws:sqs:us-east-1:000000000000:{queue}");
    let body = json!({
        "ScheduleExpression": format!("at({})", &at[..19]),
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": arn("nowhere"),
            "RoleArn": "arn:aws:iam::000000000000:role/any",
            "Input": serde_json::to_string(message).unwrap(),
            "DeadLetterConfig": { "Arn": arn("oncekey-runs-dead") },
        },
    });
    let made = oncekey.scheduler(Method::POST, "/schedules/lost", body.to_string()).await.unwrap();
    assert_eq!(made.0, StatusCode::OK, "{}", made.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_what_a_schedule_could_not_send_is_sent_from_among_the_dead_letters_and_no_crash() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let run = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": "30d", "maxAttempts": 1 } })).await;
    let stored = oncekey.app().store.run(&run_id(&run.id)).await.unwrap().unwrap();
    oncekey.forget_schedules().await;
    oncekey.clock.advance(DAY * 30);
    lost(&oncekey, &RunMessage::of(&stored)).await;
    oncekey.clock.advance(MINUTE);
    let ended = oncekey.finished(&run.id).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_schedule_that_is_left_over_brings_no_run_back_whose_record_is_gone() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let run = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": "200d" } })).await;
    let mut old = scheduled(&oncekey, 1).await.remove(0);
    post(&oncekey, &format!("/api/v1/runs/{}/reschedule", run.id), json!({ "delay": "1h" })).await;
    // Its deletion was lost.
    let name = old["Name"].take();
    let path = format!("/schedules/{}", name.as_str().unwrap());
    for told in ["Name", "Arn", "State", "CreationDate", "LastModificationDate"] {
        old.as_object_mut().unwrap().remove(told);
    }
    let made = oncekey.scheduler(Method::POST, &path, old.to_string()).await.unwrap();
    assert_eq!(made.0, StatusCode::OK, "{}", made.1);
    oncekey.clock.advance(MINUTE * 58);
    until(|| async { oncekey.depth(RUNS).await == [0, 0, 1] }).await;
    oncekey.clock.advance(MINUTE * 2);
    assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
    oncekey.clock.advance(DAY * 199 + MINUTE * 60 * 23);
    oncekey.drained(RUNS).await;
    let ended = oncekey.run(&run.id).await;
    assert_eq!(
        (&ended["status"], &ended["attemptCount"]),
        (&json!("COMPLETED"), &json!(1)),
        "its record is there still"
    );
    assert_eq!(oncekey.all_runs().await, [run.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_message_makes_its_run_for_as_long_as_a_record_of_it_would_be_there_and_not_later() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let mut made = Vec::new();
    for delay in ["20d", "40d"] {
        let run = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": delay } })).await;
        // As if its trigger had died before it put the run; or as if another had put it with an earlier start, long ago.
        let (_, dynamodb) = oncekey.stack().dynamodb();
        let delete = dynamodb.delete_item().table_name(oncekey.table("oncekey-runs"));
        let delete = delete.key("run_id", AttributeValue::S(run.id.clone()));
        delete.key("item", AttributeValue::S("run".to_owned())).send().await.unwrap();
        made.push(run.id);
    }
    for _ in 0..41 {
        oncekey.clock.advance(DAY);
        tokio::time::sleep(Duration::from_millis(20)).await;
        oncekey.drained(RUNS).await;
    }
    assert_eq!(oncekey.all_runs().await, [made.remove(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_refuses_what_aws_refuses_and_names_it() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let good = || {
        json!({
            "ScheduleExpression": "at(2030-01-01T00:00:00)",
            "FlexibleTimeWindow": { "Mode": "OFF" },
            "Target": {
                "Arn": "arn:aws:sqs:us-east-1:000000000000:oncekey-runs",
                "RoleArn": "arn:aws:iam::000000000000:role/any",
                "Input": "{}",
            },
        })
    };
    let put = async |method: Method, name: &str, change: &[(&str, Value)]| {
        let mut body = good();
        for (place, value) in change {
            *body.pointer_mut(place).unwrap() = value.clone();
        }
        oncekey.scheduler(method, &format!("/schedules/{name}"), body.to_string()).await.unwrap()
    };
    for (name, change, wanted) in [
        ("a%20b", None, "'name' failed to satisfy constraint"),
        ("a", Some(("/ScheduleExpression", json!("at(tomorrow)"))), "Invalid Schedule Expression"),
        ("a", Some(("/ScheduleExpression", json!("at(2030-01-01T00:00:00.5Z)"))), "Invalid Schedule Expression"),
        ("a", Some(("/ScheduleExpression", json!("cron(0 9 * * ? *)"))), "has no crons"),
        ("a", Some(("/ScheduleExpression", json!("rate(0 minutes)"))), "Invalid Schedule Expression"),
        ("a", Some(("/FlexibleTimeWindow/Mode", json!("FLEXIBLE"))), "FlexibleTimeWindow"),
        (
            "a",
            Some(("/Target/Arn", json!("arn:aws:lambda:us-east-1:000000000000:function:f"))),
            "not the ARN of a queue",
        ),
        ("a", Some(("/Target/RoleArn", json!("me"))), "Target.RoleArn"),
        ("a", Some(("/Target/Input", json!("x".repeat(262_145)))), "Target.Input has 262145 bytes"),
    ] {
        let (status, told) = put(Method::POST, name, change.as_slice()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wanted}");
        assert!(told["Message"].as_str().unwrap().contains(wanted), "{wanted}: {told}");
    }
    assert_eq!(put(Method::PUT, "a", &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(put(Method::POST, "a", &[]).await.0, StatusCode::OK);
    let (status, told) = put(Method::POST, "a", &[]).await;
    assert_eq!((status, &told["Message"]), (StatusCode::CONFLICT, &json!("Schedule a already exists.")));
    let later = [("/ScheduleExpression", json!("at(2031-01-01T00:00:00)"))];
    assert_eq!(put(Method::PUT, "a", &later).await.0, StatusCode::OK);
    let ask = async |method, path| oncekey.scheduler(method, path, String::new()).await.unwrap();
    assert_eq!(ask(Method::GET, "/schedules/a").await.1["ScheduleExpression"], "at(2031-01-01T00:00:00)");
    put(Method::POST, "b", &[]).await;
    let first = ask(Method::GET, "/schedules?MaxResults=1").await.1;
    assert_eq!((&first["Schedules"][0]["Name"], first["Schedules"].as_array().unwrap().len()), (&json!("a"), 1));
    let next = format!("/schedules?MaxResults=1&NextToken={}", first["NextToken"].as_str().unwrap());
    assert_eq!(ask(Method::GET, &next).await.1["Schedules"][0]["Name"], "b");
    assert_eq!(ask(Method::DELETE, "/schedules/a").await.0, StatusCode::OK);
    assert_eq!(ask(Method::DELETE, "/schedules/a").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(Method::GET, "/schedules/a?groupName=other").await.0, StatusCode::NOT_FOUND);
}
