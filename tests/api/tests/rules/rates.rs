//! R111–R114: how often attempts of a queue start.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oncekey_core::flow::Slot;
use oncekey_core::protocol::change::change_queue;
use oncekey_core::protocol::complete::complete;
use oncekey_core::protocol::dead_letter::end_dead_run;
use oncekey_core::protocol::start::{Start, start};
use oncekey_core::queue::batch::Disposition;
use oncekey_core::queue::message::{CompletionEvent, Outcome, RunMessage};
use oncekey_core::run::{Run, RunError};
use oncekey_core::store::{Move, Moved};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, dev};
use oncekey_wire::QueueLabel;
use oncekey_worker::{Context, Queue, RetryPolicy, Task, TaskError, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::protocol::run_to_be;

/// When each attempt began.
type Began = Arc<Mutex<Vec<Instant>>>;

/// A task that fails as often as it is told.
fn task(began: &Began, queue: Queue) -> Task {
    let began = Arc::clone(began);
    let body = move |context: Context, fails: u32| {
        began.lock().unwrap().push(Instant::now());
        let is_last = context.attempt() > fails;
        async move { if is_last { Ok(()) } else { Err(TaskError::new("as told")) } }
    };
    let policy = RetryPolicy { max_attempts: 3, first_pause: Duration::ZERO, ..RetryPolicy::default() };
    Task::new("call", body).retry(policy).queue(queue)
}

async fn running(began: &Began, queue: Queue) -> Option<Oncekey> {
    let worker = Worker::new().task(task(began, queue));
    let place = Place::own_stack()?;
    Some(Oncekey::running(place, worker, |options| oncekey::Options { worker_concurrency: 20, ..options }).await)
}

async fn all_done(oncekey: &Oncekey, payloads: &[u32], options: impl Fn(usize) -> Value) {
    let mut runs = Vec::new();
    for (at, payload) in payloads.iter().enumerate() {
        runs.push(oncekey.trigger("call", json!({ "payload": payload, "options": options(at) })).await.id);
    }
    for run in &runs {
        assert_eq!(oncekey.finished(run).await["status"], "COMPLETED");
    }
}

/// Whether no more began in any span of time than a rate allows whose slots are that far apart: a message is late by some two seconds.
fn is_kept(began: &Began, every: Duration, burst: usize) -> bool {
    let began = began.lock().unwrap();
    began.iter().enumerate().all(|(first, from)| {
        began[first..].iter().enumerate().all(|(more, to)| {
            let span = to.duration_since(*from) + Duration::from_secs(2);
            more <= burst + usize::try_from(span.as_millis() / every.as_millis()).unwrap()
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn r111_no_more_attempts_of_a_queue_start_than_its_rate_says() {
    let began = Began::default();
    let Some(oncekey) = running(&began, Queue::new("api").rate(4, "1s")).await else { return };
    let start = Instant::now();
    all_done(&oncekey, &[0; 24], |_| json!({})).await;
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(is_kept(&began, Duration::from_millis(250), 1), "{began:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r111_a_rate_holds_for_each_concurrency_key_by_itself_and_lets_a_burst_through() {
    let began = Began::default();
    let Some(oncekey) = running(&began, Queue::new("api").rate(3, "30d").burst(3)).await else { return };
    all_done(&oncekey, &[0; 9], |at| json!({ "concurrencyKey": format!("tenant-{}", at % 3) })).await;
    assert_eq!(began.lock().unwrap().len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn r112_an_attempt_that_is_tried_again_takes_another_slot() {
    let began = Began::default();
    let Some(oncekey) = running(&began, Queue::new("api").rate(1, "2s")).await else { return };
    all_done(&oncekey, &[2], |_| json!({})).await;
    let began = began.lock().unwrap();
    assert_eq!(began.len(), 3);
    assert!(began[2].duration_since(began[0]) >= Duration::from_millis(3_900), "{began:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r113_who_dies_before_the_message_of_a_slot_is_sent_is_followed_by_the_message_that_they_had() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let run = run_to_be(&oncekey);
    let message = RunMessage::first(&run);
    waits_for_its_slot(&oncekey, &run).await;

    // The message that they had comes again: it starts nothing, and sends the one of the next turn.
    let deadline = app.clock.now().plus(Duration::from_secs(60));
    let begun = start(app, &message, deadline, |_| 1).await.unwrap();
    assert!(matches!(begun, Start::Nothing(Disposition::Done)), "{begun:?}");
    assert_eq!(oncekey.depth("oncekey-runs").await, [0, 0, 1]);
    oncekey.clock.advance(Duration::from_secs(31));
    assert_eq!(oncekey.finished(run.id.as_str()).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r113_a_message_that_was_delivered_too_often_is_followed_too_before_the_run_moved_on_or_after() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    for is_late in [false, true] {
        let run = run_to_be(&oncekey);
        let message = RunMessage::first(&run);
        let error = RunError::new("Crashed", "delivered too often");
        let event = CompletionEvent::unless_leased(&run, Outcome::Crashed { error, retry_after_ms: Some(0) });
        waits_for_its_slot(&oncekey, &run).await;
        let done = if is_late { complete(app, &event).await } else { end_dead_run(app, &message).await };
        assert_eq!(done.unwrap(), Disposition::Done);
        assert_eq!(oncekey.depth("oncekey-runs").await, [0, 0, 1], "{is_late}");
        oncekey.clock.advance(Duration::from_secs(31));
        let ended = oncekey.finished(run.id.as_str()).await;
        assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(1)), "{is_late}");
    }
}

/// Has a run be one that somebody moved to the turn of its slot, and then died.
async fn waits_for_its_slot(oncekey: &Oncekey, run: &Run) {
    let app = oncekey.app();
    let due_at = app.clock.now().plus(Duration::from_secs(30));
    let slot = Slot { attempt: 1, due: Some(due_at) };
    let moved = Move::Pace { turn: run.turn, slot, due_at, absent: Some(run) };
    assert!(matches!(app.store.move_run(&run.id, moved, app.clock.now()).await.unwrap(), Moved::To(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r111_a_queue_that_goes_on_between_two_looks_starts_nothing_without_a_slot() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let app = oncekey.app();
    let manifest = json!({ "tasks": [], "queues": [{ "name": "q", "rateLimit": { "limit": 1, "period": "1h" } }] });
    let declared = oncekey.request(Method::PUT, "/api/v1/workers/mine").body(manifest.to_string());
    assert_eq!(answer(declared).await.0, StatusCode::OK);
    let queue = QueueLabel::parse("q").unwrap();
    change_queue(app, &dev(), &queue, |setting| setting.paused = true).await.unwrap();
    oncekey.clock.advance(Duration::from_secs(6));
    // Known as paused from here on, and as going on by whoever looks again.
    app.limits.of(&dev()).await.unwrap();
    change_queue(app, &dev(), &queue, |setting| setting.paused = false).await.unwrap();
    let mut run = run_to_be(&oncekey);
    run.spec.options.placement.insert("queue".to_owned(), json!({ "name": "q" }));
    let message = RunMessage::first(&run);
    let deadline = app.clock.now().plus(Duration::from_secs(60));
    let begun = start(app, &message, deadline, |_| 1).await.unwrap();
    assert!(matches!(begun, Start::Nothing(Disposition::Leave)), "{begun:?}");
    oncekey.clock.advance(Duration::from_secs(6));
    let deadline = app.clock.now().plus(Duration::from_secs(60));
    let Start::Execute(run) = start(app, &message, deadline, |_| 1).await.unwrap() else { panic!("it is left") };
    assert_eq!(run.slot, Some(Slot { attempt: 1, due: None }));
}

#[tokio::test(flavor = "multi_thread")]
async fn r114_what_no_rate_can_be_is_refused_by_name() {
    let oncekey = Oncekey::anywhere().await;
    for (rate, told) in [
        (json!({ "limit": 0, "period": "1m" }), "limit: 0 is out of range"),
        (json!({ "limit": 100_001, "period": "1m" }), "limit: 100001 is out of range"),
        (json!({ "limit": 1 }), "period"),
        (json!({ "limit": 1, "period": "0s" }), "period: \"0s\""),
        (json!({ "limit": 1, "period": "31d" }), "period: \"31d\""),
        (json!({ "limit": 2, "period": "1m", "burst": 3 }), "burst: 3 is out of range"),
    ] {
        let manifest = json!({ "tasks": [], "queues": [{ "name": "api", "rateLimit": rate }] }).to_string();
        let (status, body) = answer(oncekey.request(Method::PUT, "/api/v1/workers/mine").body(manifest)).await;
        assert!(status.is_client_error() && status != StatusCode::NOT_FOUND, "{rate}: {status}");
        assert!(body["error"].as_str().unwrap().contains(told), "{rate}: {body}");
    }
}
