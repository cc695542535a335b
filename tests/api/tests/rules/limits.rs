//! R100–R107: how many runs of a queue execute at a time, and in which order the others do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oncekey_core::Timestamp;
use oncekey_core::flow::{self, Holder, Lane};
use oncekey_core::protocol::change::{change_queue, pause_environment};
use oncekey_core::run::turn::Turn;
use oncekey_tests_api::{Oncekey, Place, answer, dev, run_id};
use oncekey_wire::QueueLabel;
use oncekey_worker::{Child, Context, Queue, Task, TaskError, Worker};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::protocol::until;

/// Who is at work, by what they were told, and the most that were at a time; and the order in which they began.
#[derive(Debug, Default)]
struct Seen {
    at_work: BTreeMap<String, usize>,
    most: BTreeMap<String, usize>,
    began: Vec<String>,
}

type Watched = Arc<Mutex<Seen>>;

/// At work as long as it is there.
struct AtWork(Watched, String);

impl AtWork {
    fn begin(watched: &Watched, group: &str, name: &str) -> Self {
        let mut seen = watched.lock().unwrap();
        seen.began.push(name.to_owned());
        let count = seen.at_work.entry(group.to_owned()).or_default();
        *count += 1;
        let count = *count;
        let most = seen.most.entry(group.to_owned()).or_default();
        *most = count.max(*most);
        Self(Arc::clone(watched), group.to_owned())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.0.lock().unwrap().at_work.get_mut(&self.1).unwrap() -= 1;
    }
}

/// A task that takes a while, in a queue with this limit. Its payload is `{group, name, millis}`.
fn work(watched: &Watched, queue: Queue) -> Task {
    let watched = Arc::clone(watched);
    let body = move |_: Context, payload: Value| {
        let watched = Arc::clone(&watched);
        async move {
            let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
            let _at_work = AtWork::begin(&watched, &text("group"), &text("name"));
            tokio::time::sleep(Duration::from_millis(payload["millis"].as_u64().unwrap_or(100))).await;
            if payload["fails"] == true { Err(TaskError::new("as told")) } else { Ok(()) }
        }
    };
    Task::new("work", body).max_attempts(2).queue(queue)
}

async fn running(worker: Worker) -> Option<Oncekey> {
    let place = Place::own_stack()?;
    Some(Oncekey::running(place, worker, |options| oncekey::Options { worker_concurrency: 20, ..options }).await)
}

async fn trigger(oncekey: &Oncekey, payload: Value, options: Value) -> String {
    oncekey.trigger("work", json!({ "payload": payload, "options": options })).await.id
}

async fn all_done(oncekey: &Oncekey, runs: &[String]) {
    for run in runs {
        assert_eq!(oncekey.finished(run).await["status"], "COMPLETED");
    }
}

/// How many runs of a queue are parked, and how many places are taken.
async fn counts(oncekey: &Oncekey, queue: &str) -> (u64, usize) {
    let queue = QueueLabel::parse(queue).unwrap();
    let app = oncekey.app();
    let parked = app.store.parked_count(&dev(), &queue).await.unwrap();
    let places = app.store.places_of(&dev(), &queue).await.unwrap();
    (parked, places.iter().map(|places| places.holders.len()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn r100_no_more_runs_of_a_queue_execute_than_its_limit_says_and_all_of_them_do() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(2)))).await else {
        return;
    };
    let mut runs = Vec::new();
    for _ in 0..12 {
        runs.push(trigger(&oncekey, json!({ "group": "all" }), json!({})).await);
    }
    all_done(&oncekey, &runs).await;
    assert_eq!(watched.lock().unwrap().most["all"], 2);
    until(async || counts(&oncekey, "mail").await == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r101_a_limit_holds_for_each_concurrency_key_by_itself() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(1)))).await else {
        return;
    };
    let mut runs = Vec::new();
    for number in 0..20 {
        let tenant = format!("tenant#{}", number % 5);
        runs.push(trigger(&oncekey, json!({ "group": &tenant }), json!({ "concurrencyKey": &tenant })).await);
    }
    all_done(&oncekey, &runs).await;
    let seen = watched.lock().unwrap();
    assert_eq!(seen.most.values().copied().collect::<Vec<_>>(), [1; 5], "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r102_a_run_that_waits_has_no_place_and_takes_one_again() {
    let watched = Watched::default();
    let seen = Arc::clone(&watched);
    let parent = Task::new("parent", move |ctx: Context, _: Value| {
        let seen = Arc::clone(&seen);
        async move {
            drop(AtWork::begin(&seen, "all", "parent"));
            let child = Child::new("work", json!({ "group": "all", "name": "child" }));
            ctx.trigger_and_wait::<()>(child).await?;
            let _at_work = AtWork::begin(&seen, "all", "parent again");
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        }
    });
    let queue = || Queue::new("mail").concurrency(1);
    let worker = Worker::new().task(work(&watched, queue())).task(parent.queue(queue()));
    let Some(oncekey) = running(worker).await else { return };
    let run = oncekey.trigger("parent", json!({ "payload": 1 })).await.id;
    all_done(&oncekey, &[run]).await;
    let seen = watched.lock().unwrap();
    assert_eq!((seen.most["all"], &*seen.began.join(", ")), (1, "parent, child, parent, parent again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r103_a_failed_attempt_gives_its_place_on_before_it_is_tried_again() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(1)))).await else {
        return;
    };
    let first = trigger(&oncekey, json!({ "group": "all", "name": "first", "fails": true }), json!({})).await;
    until(async || watched.lock().unwrap().began.len() == 1).await;
    let second = trigger(&oncekey, json!({ "group": "all", "name": "second", "millis": 1500 }), json!({})).await;
    assert_eq!(oncekey.finished(&first).await["status"], "FAILED");
    all_done(&oncekey, &[second]).await;
    let seen = watched.lock().unwrap();
    assert_eq!((seen.most["all"], &*seen.began.join(", ")), (1, "first, second, first"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r104_a_parked_run_that_is_cancelled_or_expires_is_in_nobodys_way() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(1)))).await else {
        return;
    };
    let job = |name: &str| json!({ "group": "all", "name": name, "millis": 1_300 });
    let first = trigger(&oncekey, job("first"), json!({})).await;
    until(async || watched.lock().unwrap().began.len() == 1).await;
    let second = trigger(&oncekey, job("second"), json!({})).await;
    let late = trigger(&oncekey, job("late"), json!({ "ttl": 1 })).await;
    let last = trigger(&oncekey, job("last"), json!({})).await;
    until(async || counts(&oncekey, "mail").await == (3, 1)).await;
    assert_eq!(oncekey.run(&second).await["status"], "QUEUED");
    let (status, _) = answer(oncekey.post(&format!("/api/v2/runs/{second}/cancel"), "")).await;
    assert_eq!(status, StatusCode::OK);
    tokio::time::sleep(Duration::from_millis(400)).await;
    all_done(&oncekey, &[first, last]).await;
    assert_eq!(oncekey.run(&second).await["status"], "CANCELED");
    assert_eq!(oncekey.run(&late).await["status"], "EXPIRED");
    until(async || counts(&oncekey, "mail").await == (0, 0)).await;
    assert_eq!(watched.lock().unwrap().began, ["first", "last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r105_a_cancelled_run_gives_its_place_on_at_once() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(1)))).await else {
        return;
    };
    let first = trigger(&oncekey, json!({ "group": "a", "name": "first", "millis": 4_000 }), json!({})).await;
    until(async || watched.lock().unwrap().began.len() == 1).await;
    let second = trigger(&oncekey, json!({ "group": "b", "name": "second" }), json!({})).await;
    until(async || counts(&oncekey, "mail").await == (1, 1)).await;
    answer(oncekey.post(&format!("/api/v2/runs/{first}/cancel"), "")).await;
    all_done(&oncekey, &[second]).await;
    assert_eq!(oncekey.run(&first).await["status"], "CANCELED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r106_those_that_wait_go_by_priority_and_then_by_age() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(1)))).await else {
        return;
    };
    let mut runs = vec![trigger(&oncekey, json!({ "group": "all", "name": "first", "millis": 800 }), json!({})).await];
    until(async || watched.lock().unwrap().began.len() == 1).await;
    for (name, priority) in [("c", 0.0), ("d", 0.0), ("a", 60.0), ("b", 30.5), ("e", -10.0)] {
        let payload = json!({ "group": "all", "name": name, "millis": 20 });
        runs.push(trigger(&oncekey, payload, json!({ "priority": priority })).await);
    }
    until(async || counts(&oncekey, "mail").await == (5, 1)).await;
    all_done(&oncekey, &runs).await;
    assert_eq!(watched.lock().unwrap().began, ["first", "a", "b", "c", "d", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_a_queue_that_is_paused_starts_nothing_until_it_goes_on() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(2)))).await else {
        return;
    };
    let (app, mail) = (oncekey.app(), QueueLabel::parse("mail").unwrap());
    change_queue(app, &dev(), &mail, |setting| setting.paused = true).await.unwrap();
    // What is known of a queue holds for five seconds.
    oncekey.clock.advance(Duration::from_secs(6));
    let mut runs = Vec::new();
    for number in 0..6 {
        let name = number.to_string();
        runs.push(trigger(&oncekey, json!({ "group": "all", "name": name }), json!({})).await);
    }
    until(async || counts(&oncekey, "mail").await == (6, 0)).await;
    assert!(watched.lock().unwrap().began.is_empty());
    change_queue(app, &dev(), &mail, |setting| setting.paused = false).await.unwrap();
    all_done(&oncekey, &runs).await;
    assert_eq!(watched.lock().unwrap().most["all"], 2);

    pause_environment(app, &dev(), true).await.unwrap();
    oncekey.clock.advance(Duration::from_secs(6));
    let run = trigger(&oncekey, json!({ "group": "all" }), json!({ "queue": { "name": "other" } })).await;
    until(async || counts(&oncekey, "other").await == (1, 0)).await;
    pause_environment(app, &dev(), false).await.unwrap();
    all_done(&oncekey, std::slice::from_ref(&run)).await;
    let stored = app.store.run(&run_id(&run)).await.unwrap().unwrap();
    assert_eq!((stored.parks, stored.parked, stored.turn.attempt), (1, false, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_places_that_are_over_keep_nobody_out_however_many_there_are() {
    let watched = Watched::default();
    let Some(oncekey) = running(Worker::new().task(work(&watched, Queue::new("mail").concurrency(1)))).await else {
        return;
    };
    let (app, mail) = (oncekey.app(), QueueLabel::parse("mail").unwrap());
    change_queue(app, &dev(), &mail, |setting| setting.paused = true).await.unwrap();
    oncekey.clock.advance(Duration::from_secs(6));
    let run = trigger(&oncekey, json!({ "group": "all" }), json!({})).await;
    until(async || counts(&oncekey, "mail").await == (1, 0)).await;
    // As many workers as a limit of before allowed have died.
    let lane = Lane { environment: dev(), queue: mail.clone(), key: None };
    let now = app.clock.now();
    let place = flow::Place { until: Timestamp::from_millis(now.millis() - 60_000), from: None, parked: None };
    for number in 0..70 {
        let holder = Holder { run: run_id(&run), turn: Turn { attempt: 7, resume: number } };
        assert!(app.store.take_place(&lane, &holder, &place, 100, now).await.unwrap().is_none());
    }
    change_queue(app, &dev(), &mail, |setting| setting.paused = false).await.unwrap();
    all_done(&oncekey, std::slice::from_ref(&run)).await;
    until(async || counts(&oncekey, "mail").await == (0, 0)).await;
}
