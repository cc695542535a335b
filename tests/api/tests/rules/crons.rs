//! R80–R87: schedules that tick by a cron expression, and never twice.

use std::time::Duration;

use futures_util::future::join_all;
use oncekey_core::cron::{CronSchedule, ScheduleId};
use oncekey_core::protocol::tick::tick;
use oncekey_core::store::PutIf;
use oncekey_core::{Clock, Timestamp};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, PROD, Place, answer, dev};
use oncekey_worker::{Context, Task, TaskError, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::overdue::sweep;
use super::protocol::until;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const TRIGGERS: &str = "oncekey-triggers";

/// A stack whose time stands still at 14:13:20, with a task that says what it was told, one that fails and one that waits a day.
async fn frozen(place: Place) -> Oncekey {
    let told = Task::new("told", |_: Context, payload: Value| async move { Ok(payload) });
    let fails = Task::new("fails", |_: Context, _: Value| async move { Err::<(), _>(TaskError::new("no")) });
    let long = Task::new("long", |ctx: Context, _: Value| async move { Ok(ctx.wait_for(DAY).await?) });
    let worker = Worker::new().task(told).task(fails.max_attempts(1)).task(long);
    let clock = Clock::frozen(Timestamp::from_millis(1_790_000_000_000));
    Oncekey::running(place, worker, |options| oncekey::Options { clock, ..options }).await
}

async fn asked(oncekey: &Oncekey, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let request = oncekey.request(method, &format!("/api/v1/schedules{path}"));
    answer(if body.is_null() { request } else { request.body(body.to_string()) }).await
}

async fn done(oncekey: &Oncekey, method: Method, path: &str, body: Value) -> Value {
    let (status, told) = asked(oncekey, method, path, body).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    told
}

/// A schedule of the key `k`.
async fn created(oncekey: &Oncekey, task: &str, cron: &str, more: Value) -> Value {
    let mut body = json!({ "task": task, "cron": cron, "deduplicationKey": "k" });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    done(oncekey, Method::POST, "", body).await
}

fn path(schedule: &Value) -> String {
    format!("/{}", schedule["id"].as_str().unwrap())
}

async fn stored(oncekey: &Oncekey, schedule: &Value) -> CronSchedule {
    let id = ScheduleId::parse(schedule["id"].as_str().unwrap()).unwrap();
    oncekey.app().store.cron_schedule(&dev(), &id).await.unwrap().unwrap()
}

/// Waits until every tick that is due was carried out: its schedule has noted a later one, and nobody is at it any more.
async fn ticked(oncekey: &Oncekey, schedule: &Value) {
    until(|| async { stored(oncekey, schedule).await.next_at > oncekey.app().clock.now() }).await;
    until(|| async { oncekey.depth(TRIGGERS).await[..2] == [0, 0] }).await;
}

async fn runs(oncekey: &Oncekey) -> usize {
    oncekey.all_runs().await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn r80_there_is_one_schedule_of_a_deduplication_key_and_a_second_create_changes_it() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let first = created(&oncekey, "told", "*/5 * * * *", json!({ "externalId": "user_1" })).await;
    assert_eq!(first["nextRun"], "2026-09-21T14:15:00.000Z");
    assert_eq!(first["generator"]["description"], "At every 5 minutes.");
    let again = created(&oncekey, "told", "*/5 * * * *", json!({ "externalId": "user_1" })).await;
    assert_eq!(again, first);
    let changed = created(&oncekey, "told", "0 9 * * *", json!({ "timezone": "Europe/Berlin" })).await;
    assert_eq!((&changed["id"], &changed["nextRun"]), (&first["id"], &json!("2026-09-22T07:00:00.000Z")));
    let listed = done(&oncekey, Method::GET, "?perPage=5", Value::Null).await;
    assert_eq!(listed["data"], json!([changed]));
    assert_eq!(listed["pagination"], json!({ "currentPage": 1, "totalPages": 1, "count": 1 }));
    assert_eq!(done(&oncekey, Method::GET, &path(&first), Value::Null).await, changed);
    // Of the first there is nothing left but its message.
    oncekey.clock.advance(10 * MINUTE);
    until(|| async { oncekey.depth(TRIGGERS).await == [0; 3] }).await;
    assert_eq!(runs(&oncekey).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r81_a_schedule_triggers_at_each_of_its_times_and_tells_which() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({ "externalId": "user_1" })).await;
    for round in 0..3 {
        oncekey.clock.advance(5 * MINUTE);
        ticked(&oncekey, &schedule).await;
        assert_eq!(runs(&oncekey).await, round + 1);
    }
    let latest = oncekey.finished(&oncekey.all_runs().await[0]).await;
    assert_eq!(latest["status"], "COMPLETED");
    let told = &latest["output"];
    assert_eq!(told["timestamp"], "2026-09-21T14:25:00.000Z");
    assert_eq!(told["lastTimestamp"], "2026-09-21T14:20:00.000Z");
    assert_eq!(told["upcoming"].as_array().unwrap().len(), 10);
    assert_eq!(told["upcoming"][0], "2026-09-21T14:30:00.000Z");
    assert_eq!((&told["externalId"], &told["timezone"]), (&json!("user_1"), &json!("UTC")));
    assert_eq!(latest["schedule"]["id"], schedule["id"]);
    let of_it = oncekey.list(&format!("filter[schedule]={}", schedule["id"].as_str().unwrap())).await;
    assert_eq!(of_it["data"].as_array().unwrap().len(), 3);
    let shown = done(&oncekey, Method::GET, &path(&schedule), Value::Null).await;
    assert_eq!(shown["lastRun"], "2026-09-21T14:25:00.000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn r81_a_time_that_is_due_is_not_lost_with_a_change_that_has_it_too() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({ "externalId": "a" })).await;
    oncekey.purge(TRIGGERS).await;
    oncekey.clock.advance(2 * MINUTE);
    // Its message has not been carried out at 14:15:20.
    created(&oncekey, "told", "*/5 * * * *", json!({ "externalId": "b" })).await;
    ticked(&oncekey, &schedule).await;
    let run = oncekey.finished(&oncekey.all_runs().await[0]).await;
    assert_eq!(
        (&run["output"]["timestamp"], &run["output"]["externalId"]),
        (&json!("2026-09-21T14:15:00.000Z"), &json!("b"))
    );
    assert_eq!(runs(&oncekey).await, 1);
    // One that was stopped then has none of the times that came meanwhile.
    done(&oncekey, Method::POST, &format!("{}/deactivate", path(&schedule)), Value::Null).await;
    oncekey.clock.advance(10 * MINUTE);
    done(&oncekey, Method::POST, &format!("{}/activate", path(&schedule)), Value::Null).await;
    assert_eq!(stored(&oncekey, &schedule).await.next_at.to_string(), "2026-09-21T14:30:00.000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn r82_a_tick_is_one_run_however_often_it_is_delivered_and_whatever_became_of_that_run() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "fails", "*/5 * * * *", json!({})).await;
    let before = stored(&oncekey, &schedule).await;
    oncekey.clock.advance(2 * MINUTE);
    let app = oncekey.app();
    for delivered in join_all((0..5).map(|_| tick(app, before.tick(), "one message"))).await {
        delivered.unwrap();
    }
    ticked(&oncekey, &schedule).await;
    let all = oncekey.all_runs().await;
    assert_eq!(all.len(), 1);
    assert_eq!(oncekey.finished(&all[0]).await["status"], "FAILED");
    oncekey.drained("oncekey-completions").await;
    // As after a death before it was noted, and with other words for its task.
    let now = stored(&oncekey, &schedule).await;
    let forgotten = CronSchedule { next_at: before.next_at, last_at: Some(before.next_at), ..now.clone() };
    assert!(app.store.put_cron_schedule(&forgotten, PutIf::As(&now)).await.unwrap());
    for delivered in ["one message", "one message", "another", "another", "a third"] {
        tick(app, before.tick(), delivered).await.unwrap();
    }
    assert_eq!(oncekey.all_runs().await, all);
    assert_eq!(stored(&oncekey, &schedule).await.next_at, now.next_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn r81_whoever_dies_when_the_next_time_is_noted_loses_neither_it_nor_this_one() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({ "onOverlap": "skip" })).await;
    oncekey.purge(TRIGGERS).await;
    let (app, first) = (oncekey.app(), stored(&oncekey, &schedule).await);
    let second = first.next_at.plus(5 * MINUTE);
    oncekey.clock.advance(2 * MINUTE);
    assert!(app.store.advance_cron_schedule(&first.tick(), second, "the message").await.unwrap());
    // Whoever had the message died. A copy of it knows nothing of that, and does not send the next.
    tick(app, first.tick(), "a copy").await.unwrap();
    assert_eq!(oncekey.depth(TRIGGERS).await, [0; 3]);
    tick(app, first.tick(), "the message").await.unwrap();
    assert_eq!(oncekey.depth(TRIGGERS).await, [0, 0, 1]);
    assert_eq!(runs(&oncekey).await, 1);
    oncekey.clock.advance(5 * MINUTE);
    ticked(&oncekey, &schedule).await;
    assert_eq!(runs(&oncekey).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r80_who_creates_it_again_at_the_moment_of_a_tick_takes_no_time_from_it() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({})).await;
    oncekey.purge(TRIGGERS).await;
    // The tick is due, and nobody has carried it out.
    oncekey.clock.advance(2 * MINUTE);
    for how in ["create", "activate", "change"] {
        let same = json!({ "task": "told", "cron": "*/5 * * * *" });
        match how {
            "create" => drop(created(&oncekey, "told", "*/5 * * * *", json!({})).await),
            "activate" => {
                drop(done(&oncekey, Method::POST, &format!("{}/activate", path(&schedule)), Value::Null).await)
            }
            _ => drop(done(&oncekey, Method::PUT, &path(&schedule), same).await),
        }
    }
    ticked(&oncekey, &schedule).await;
    assert_eq!(runs(&oncekey).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r82_of_two_messages_of_a_tick_one_goes_on() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({})).await;
    for _ in 0..5 {
        created(&oncekey, "told", "*/5 * * * *", json!({})).await;
    }
    for round in 1..=4 {
        oncekey.clock.advance(5 * MINUTE);
        ticked(&oncekey, &schedule).await;
        until(|| async { oncekey.depth(TRIGGERS).await[..2] == [0, 0] }).await;
        assert_eq!(runs(&oncekey).await, round);
    }
    assert_eq!(oncekey.depth(TRIGGERS).await, [0, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r82_a_time_that_was_carried_out_is_not_given_to_another_task_by_a_clock_that_is_behind() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({})).await;
    oncekey.purge(TRIGGERS).await;
    let there = stored(&oncekey, &schedule).await;
    // Its time is not here yet, where the change is made; where it was carried out it was.
    let next = there.next_at.plus(5 * MINUTE);
    assert!(oncekey.app().store.advance_cron_schedule(&there.tick(), next, "ahead").await.unwrap());
    let changed = done(&oncekey, Method::PUT, &path(&schedule), json!({ "task": "long", "cron": "*/5 * * * *" })).await;
    assert_eq!(changed["nextRun"], json!(next.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r83_a_schedule_that_was_stopped_or_deleted_does_not_tick_and_one_that_is_started_again_does() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({})).await;
    let stopped = done(&oncekey, Method::POST, &format!("{}/deactivate", path(&schedule)), Value::Null).await;
    assert_eq!((&stopped["active"], &stopped["nextRun"]), (&json!(false), &Value::Null));
    oncekey.clock.advance(10 * MINUTE);
    until(|| async { oncekey.depth(TRIGGERS).await == [0; 3] }).await;
    assert_eq!(runs(&oncekey).await, 0);
    // A change leaves it stopped.
    let body = json!({ "task": "told", "cron": "*/10 * * * *" });
    assert_eq!(done(&oncekey, Method::PUT, &path(&schedule), body).await["active"], false);
    let started = done(&oncekey, Method::POST, &format!("{}/activate", path(&schedule)), Value::Null).await;
    assert_eq!(started["nextRun"], "2026-09-21T14:30:00.000Z");
    oncekey.clock.advance(10 * MINUTE);
    ticked(&oncekey, &schedule).await;
    assert_eq!(runs(&oncekey).await, 1);
    let deleted = done(&oncekey, Method::DELETE, &path(&schedule), Value::Null).await;
    assert_eq!(deleted, json!({ "id": schedule["id"] }));
    oncekey.clock.advance(20 * MINUTE);
    until(|| async { oncekey.depth(TRIGGERS).await == [0; 3] }).await;
    assert_eq!(runs(&oncekey).await, 1);
    assert_eq!(asked(&oncekey, Method::GET, &path(&schedule), Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn r84_on_overlap_skip_makes_no_run_while_an_earlier_one_is_under_way() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "long", "*/5 * * * *", json!({ "onOverlap": "skip" })).await;
    oncekey.clock.advance(5 * MINUTE);
    ticked(&oncekey, &schedule).await;
    let first = oncekey.all_runs().await[0].clone();
    oncekey.in_status(&first, "WAITING").await;
    for _ in 0..3 {
        oncekey.clock.advance(5 * MINUTE);
        ticked(&oncekey, &schedule).await;
    }
    assert_eq!(oncekey.all_runs().await, std::slice::from_ref(&first));
    // Any end makes room, and a cancellation too.
    let (status, told) = answer(oncekey.post(&format!("/api/v2/runs/{first}/cancel"), "")).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    oncekey.drained("oncekey-completions").await;
    oncekey.clock.advance(5 * MINUTE);
    ticked(&oncekey, &schedule).await;
    assert_eq!(runs(&oncekey).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r85_of_ticks_that_were_missed_the_first_is_made_up_for_or_none() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    for (on_missed, made_up) in [("run-once", 1), ("skip", 0)] {
        let before = runs(&oncekey).await;
        let schedule = created(&oncekey, "told", "*/5 * * * *", json!({ "onMissed": on_missed })).await;
        // As if nobody had been there: a week at once.
        oncekey.clock.advance(7 * DAY);
        ticked(&oncekey, &schedule).await;
        assert_eq!(runs(&oncekey).await, before + made_up, "{on_missed}");
        oncekey.clock.advance(5 * MINUTE);
        ticked(&oncekey, &schedule).await;
        assert_eq!(runs(&oncekey).await, before + made_up + 1, "{on_missed}: it goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r85_ticks_that_are_late_by_no_more_than_a_quarter_of_an_hour_are_all_carried_out() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "*/5 * * * *", json!({ "onMissed": "skip" })).await;
    // As after a handler that died: its message comes again minutes later, and has sent nothing.
    oncekey.clock.advance(14 * MINUTE);
    ticked(&oncekey, &schedule).await;
    assert_eq!(runs(&oncekey).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn r86_a_tick_whose_message_is_lost_is_sent_again() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "0 0 * * *", json!({})).await;
    oncekey.forget_schedules().await;
    // By the daily sweep.
    oncekey.clock.advance(DAY);
    sweep(&oncekey).await;
    ticked(&oncekey, &schedule).await;
    assert_eq!(runs(&oncekey).await, 1);
    // And by whoever creates it again.
    oncekey.forget_schedules().await;
    created(&oncekey, "told", "0 0 * * *", json!({})).await;
    oncekey.clock.advance(DAY / 2);
    ticked(&oncekey, &schedule).await;
    assert_eq!(runs(&oncekey).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r87_a_tick_that_is_far_away_is_one_schedule_of_scheduler_which_goes_with_a_change() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = created(&oncekey, "told", "0 0 1 1 *", json!({})).await;
    let there = oncekey.schedules().await;
    assert_eq!((there.len(), &there[0]["ScheduleExpression"]), (1, &json!("at(2026-12-31T23:58:00)")));
    assert_eq!(oncekey.depth(TRIGGERS).await, [0; 3]);
    created(&oncekey, "told", "0 0 2 1 *", json!({})).await;
    let there = oncekey.schedules().await;
    assert_eq!((there.len(), &there[0]["ScheduleExpression"]), (1, &json!("at(2027-01-01T23:58:00)")));
    done(&oncekey, Method::DELETE, &path(&schedule), Value::Null).await;
    assert!(oncekey.schedules().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_schedule_can_be_made_of_is_refused_by_its_name_and_nothing_is_written() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = frozen(place).await;
    let long = "k".repeat(513);
    for (change, status, words) in [
        (json!({ "deduplicationKey": null }), 400, "deduplicationKey: is missing"),
        (json!({ "deduplicationKey": "" }), 400, "deduplicationKey: is missing"),
        (json!({ "deduplicationKey": long }), 400, "deduplicationKey: is 513 characters long"),
        (json!({ "externalId": long }), 400, "externalId: is 513 characters long"),
        (json!({ "cron": "0 0 30 2 *" }), 400, "cron: \"0 0 30 2 *\" names a time that never comes"),
        (json!({ "cron": "* * * * * *" }), 400, "cron: "),
        (json!({ "cron": "x".repeat(257) }), 400, "cron: is 257 characters long"),
        (json!({ "timezone": "Mars/Olympus" }), 400, "timezone: \"Mars/Olympus\" is no time zone"),
        (json!({ "task": "" }), 400, "task id: "),
        (json!({ "window": "10m" }), 422, "window is not supported"),
        (json!({ "onOverlap": "queue" }), 400, "onOverlap"),
        (json!({ "timeZone": "UTC" }), 422, "timeZone: there is no such field"),
    ] {
        let mut body = json!({ "task": "told", "cron": "* * * * *", "deduplicationKey": "k" });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (answered, told) = asked(&oncekey, Method::POST, "", body).await;
        let text = told["error"].as_str().unwrap_or_default();
        assert!(answered.as_u16() == status && text.contains(words), "{change}: {answered} {told}");
    }
    assert_eq!(done(&oncekey, Method::GET, "", Value::Null).await["data"], json!([]));
    let unknown = format!("/sched_{}", "a".repeat(32));
    for (method, path) in [
        (Method::GET, unknown.clone()),
        (Method::DELETE, unknown.clone()),
        (Method::POST, format!("{unknown}/activate")),
        (Method::POST, format!("{unknown}/deactivate")),
        (Method::GET, "/sched_1".to_owned()),
    ] {
        assert_eq!(asked(&oncekey, method, &path, Value::Null).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let body = json!({ "task": "told", "cron": "* * * * *", "deduplicationKey": "k" });
    assert_eq!(asked(&oncekey, Method::PUT, &unknown, body.clone()).await.0, StatusCode::BAD_REQUEST);
    let mine = done(&oncekey, Method::POST, "", body).await;
    let others = oncekey.as_key(PROD);
    let (status, _) = asked(&others, Method::GET, &path(&mine), Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_zones_are_told_to_everybody() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = frozen(place).await;
    let all = |query: &'static str| {
        let url = oncekey.url(&format!("/api/v1/timezones{query}"));
        async move { reqwest::get(url).await.unwrap().json::<Value>().await.unwrap()["timezones"].clone() }
    };
    let (with, without) = (all("").await, all("?excludeUtc=true").await);
    assert!(with.as_array().unwrap().contains(&json!("UTC")) && !without.as_array().unwrap().contains(&json!("UTC")));
    assert_eq!(with.as_array().unwrap().len(), without.as_array().unwrap().len() + 1);
}
