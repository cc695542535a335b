//! Payloads and outputs that stand beside their runs: written before what names them, there for as long as it is, and read as
//! if they stood in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oncekey::Options;
use oncekey_core::payload::PayloadType;
use oncekey_core::protocol::complete::complete;
use oncekey_core::protocol::start::{Start, start};
use oncekey_core::queue::message::{CompletionEvent, Outcome, Output, RunMessage};
use oncekey_core::run::beside::{Kept, Part};
use oncekey_core::run::{Run, RunError, RunOptions, RunSpec};
use oncekey_core::{RequestId, RunId, RunStatus};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, dev, task};
use oncekey_worker::{Child, Context, Task, TaskError, Worker};
use serde_json::{Value, json};

use super::faults::{Fate, faulty_database};
use super::large::noise;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn run_of(oncekey: &Oncekey, payload: &str) -> Run {
    let id = RunId::named(&dev(), &task("echo"), &RequestId::fresh());
    let spec = RunSpec::new(dev(), task("echo"), oncekey.clock.now());
    Run::new(id, spec, Some(Kept::Inline(payload.to_owned())))
}

/// `run`, which is put first, taken up by nobody's worker.
async fn taken_up(oncekey: &Oncekey, run: &Run) -> Box<Run> {
    let app = oncekey.app();
    assert!(app.store.create_run(run).await.unwrap().is_none());
    let lease = oncekey.clock.now().plus(MINUTE);
    match start(app, &RunMessage::of(run), lease, |_| 3).await.unwrap() {
        Start::Execute(run) => run,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_and_an_output_beside_a_run_are_shown_replayed_and_given_to_its_parent() {
    let Some(place) = Place::own_stack() else { return };
    let echo = Task::new("echo", |_: Context, payload: Value| async move { Ok(payload) });
    let ask = Task::new("ask", |ctx: Context, payload: Value| async move {
        Ok::<Value, TaskError>(ctx.trigger_and_wait(Child::new("echo", payload)).await?)
    });
    let oncekey = Oncekey::running(place, Worker::new().task(echo).task(ask), |options| options).await;
    let text = noise(20_000);
    let run = oncekey.trigger("ask", json!({ "payload": text })).await;
    let ended = oncekey.in_status(&run.id, "COMPLETED").await;
    assert_eq!((&ended["payload"], &ended["output"]), (&json!(text), &json!(text)));
    let stored = oncekey.app().store.run(&oncekey_tests_api::run_id(&run.id)).await.unwrap().unwrap();
    assert_eq!(stored.beside().count(), 2);
    let (_, replayed) = answer(oncekey.post(&format!("/api/v1/runs/{}/replay", run.id), "")).await;
    assert_eq!(oncekey.in_status(replayed["id"].as_str().unwrap(), "COMPLETED").await["output"], text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_control_characters_that_no_message_carries_runs() {
    let oncekey = Oncekey::anywhere().await;
    let text: String = (0..190_000).map(|n| char::from(1 + (n % 8) as u8)).collect();
    let options = json!({ "payloadType": "text/plain", "idempotencyKey": "k" });
    let run = oncekey.trigger("echo", json!({ "payload": text, "options": options })).await;
    let ended = oncekey.in_status(&run.id, "COMPLETED").await;
    assert_eq!((&ended["payload"], ended["idempotencyKey"].as_str()), (&json!(text), Some("k")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_there_after_a_delay_a_wait_and_a_reschedule_of_months_and_as_long_as_its_run_is_shown() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let wait = Task::new("wait", |ctx: Context, payload: Value| async move {
        ctx.wait_for(DAY * 300).await?;
        Ok::<Value, TaskError>(payload)
    });
    let oncekey = Oncekey::running(place, Worker::new().task(wait), |options| options).await;
    let text = noise(2_000);
    let run = oncekey.trigger("wait", json!({ "payload": text, "options": { "delay": "1d" } })).await;
    let id = oncekey_tests_api::run_id(&run.id);
    let app = oncekey.app();
    let expires_at = async || {
        let stored = app.store.run(&id).await.unwrap().unwrap();
        let name = stored.beside().next().unwrap().clone();
        app.store.beside(&id, &name).await.unwrap().unwrap().expires_at
    };
    let begun = oncekey.clock.now();
    assert!(expires_at().await > begun.plus(DAY * 60));
    let later = json!({ "delay": "100d" }).to_string();
    answer(oncekey.post(&format!("/api/v1/runs/{}/reschedule", run.id), later)).await;
    assert!(expires_at().await > begun.plus(DAY * 159));
    let earlier = json!({ "delay": "1s" }).to_string();
    answer(oncekey.post(&format!("/api/v1/runs/{}/reschedule", run.id), earlier)).await;
    assert!(expires_at().await > begun.plus(DAY * 159), "it is never shortened");
    oncekey.clock.advance(Duration::from_secs(2));
    oncekey.in_status(&run.id, "WAITING").await;
    assert!(expires_at().await > begun.plus(DAY * 330), "its wait, and what is left to look at it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_beside_a_run_that_ends_late_lasts_as_long_as_its_record() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let app = oncekey.app();
    let mut run = run_of(&oncekey, "");
    let until = oncekey.clock.now().plus(DAY * 60);
    let name = app.store.put_beside(&run.id, Part::Payload, "\"text\"", until).await.unwrap();
    run.payload = Some(name.clone().into());
    let run = taken_up(&oncekey, &run).await;
    oncekey.clock.advance(DAY * 50);
    let event =
        CompletionEvent::new(&run, Outcome::Succeeded { output: None, output_type: PayloadType::Json, lost: None });
    complete(app, &event).await.unwrap();
    let kept = app.store.beside(&run.id, &name).await.unwrap().unwrap().expires_at;
    assert!(kept >= oncekey.clock.now().plus(DAY * 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_again_never_expires_the_earlier_for_it() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let (store, run) = (&oncekey.app().store, run_of(&oncekey, "").id);
    let now = oncekey.clock.now();
    let mut kept = Vec::new();
    for days in [60, 10, 90] {
        let name = store.put_beside(&run, Part::Payload, "text", now.plus(DAY * days)).await.unwrap();
        kept.push(store.beside(&run, &name).await.unwrap().unwrap().expires_at.since(now).as_secs() / DAY.as_secs());
    }
    assert_eq!(kept, [60, 60, 90]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_another_payload_adds_nothing_to_a_run_that_is_there() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let app = oncekey.app();
    let mut run = run_of(&oncekey, "");
    run.payload = None;
    assert!(app.store.create_run(&run).await.unwrap().is_none());
    let until = oncekey.clock.now().plus(DAY);
    let name = app.store.put_beside(&run.id, Part::Payload, "\"other\"", until).await.unwrap();
    let other = Run { payload: Some(name.into()), ..run.clone() };
    let lease = oncekey.clock.now().plus(MINUTE);
    match start(app, &RunMessage::first(&other), lease, |_| 3).await.unwrap() {
        Start::Execute(started) => assert_eq!(started.payload, None),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_payload_an_older_version_wrote_into_it_is_executed() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let text = noise(100_000);
    let run = run_of(&oncekey, &json!(text).to_string());
    let app = oncekey.app();
    assert!(app.store.create_run(&run).await.unwrap().is_none());
    app.queues.send_run(&RunMessage::of(&run)).await.unwrap();
    let ended = oncekey.in_status(run.id.as_str(), "COMPLETED").await;
    assert_eq!((&ended["payload"], &ended["output"]), (&json!(text), &json!(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_carries_a_large_output_puts_it_beside_the_run() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = taken_up(&oncekey, &run_of(&oncekey, "1")).await;
    let text = json!(noise(100_000)).to_string();
    let outcome =
        Outcome::Succeeded { output: Some(Output::Inline(text.clone())), output_type: PayloadType::Json, lost: None };
    let event = CompletionEvent::new(&run, outcome);
    // As it may come twice.
    for _ in 0..2 {
        complete(oncekey.app(), &event).await.unwrap();
    }
    let stored = oncekey.app().store.run(&run.id).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.beside().count()), (RunStatus::Completed, 1));
    assert_eq!(oncekey.run(run.id.as_str()).await["output"].to_string(), text);
}

/// A run as an older version may have written it, which leaves so many bytes of its item.
async fn full_but(bytes: usize, oncekey: &Oncekey) -> Run {
    let full = |bytes: usize| {
        let run = run_of(oncekey, &noise(5_000));
        let metadata = Some(json!({ "text": "m".repeat(bytes) }));
        let options = RunOptions { metadata, ..RunOptions::default() };
        Run { spec: RunSpec { options, ..run.spec }, ..run }
    };
    let mut most = 406_000;
    while oncekey.app().store.create_run(&full(most)).await.is_err() {
        most -= 50;
    }
    full(most - bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_end_for_which_a_run_has_no_room_ends_it_all_the_same() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let app = oncekey.app();
    let succeeded = || Outcome::Succeeded {
        output: Some(Output::Inline("1".repeat(1_000))),
        output_type: PayloadType::Json,
        lost: None,
    };
    let failed = |retry_after_ms| Outcome::Failed { error: RunError::new("E", &"e".repeat(900)), retry_after_ms };
    for (outcome, status, error) in [
        (succeeded(), RunStatus::Completed, "the task succeeded, and its output is not kept: "),
        (failed(None), RunStatus::Failed, "eee"),
        (failed(Some(1)), RunStatus::SystemFailure, ""),
    ] {
        let run = taken_up(&oncekey, &full_but(400, &oncekey).await).await;
        let event = CompletionEvent::new(&run, outcome);
        for _ in 0..2 {
            complete(app, &event).await.unwrap();
        }
        let ended = app.store.run(&run.id).await.unwrap().unwrap();
        assert_eq!(ended.status, status);
        let told = ended.error.unwrap().message;
        assert!(told.starts_with(error), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_the_database_does_not_take_in_time_goes_with_the_event_and_the_task_runs_once() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let refused = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&refused);
    let url = faulty_database(move |operation, body| {
        let is_output = operation == "PutItem" && body.contains("output#");
        match is_output && counted.fetch_add(1, Ordering::SeqCst) < 4 {
            true => Fate::Throttled,
            false => Fate::Passes,
        }
    })
    .await;
    let runs = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&runs);
    let large = Task::new("large", move |_: Context, _: Value| {
        seen.fetch_add(1, Ordering::SeqCst);
        async move { Ok(noise(20_000)) }
    });
    let options = |options| Options { dynamodb_endpoint: Some(url), ..options };
    let oncekey = Oncekey::running(place, Worker::new().task(large), options).await;
    let run = oncekey.trigger("large", json!({})).await;
    assert_eq!(oncekey.in_status(&run.id, "COMPLETED").await["output"], noise(20_000));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(refused.load(Ordering::SeqCst) > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_cannot_be_read_for_a_while_costs_no_attempt() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let refused = AtomicU32::new(0);
    let url = faulty_database(move |operation, body| {
        let is_payload = operation == "GetItem" && body.contains("payload#");
        match is_payload && refused.fetch_add(1, Ordering::SeqCst) < 4 {
            true => Fate::Throttled,
            false => Fate::Passes,
        }
    })
    .await;
    let oncekey = Oncekey::with(place, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
    let body = json!({ "payload": noise(20_000), "options": { "maxAttempts": 1 } });
    let run = oncekey.trigger("echo", body).await;
    // The page of a run reads its payload, too.
    let id = oncekey_tests_api::run_id(&run.id);
    let ended = loop {
        let run = oncekey.app().store.run(&id).await.unwrap().unwrap();
        if run.status.is_final() {
            break run;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((ended.status, ended.turn.attempt), (RunStatus::Completed, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_metadata_is_shown_with_its_run_in_lists_and_of_its_replay() {
    let oncekey = Oncekey::anywhere().await;
    let metadata = json!({ "customer": noise(20_000) });
    let small = json!({ "customer": 7 });
    let mut runs = Vec::new();
    for metadata in [&metadata, &small] {
        runs.push(oncekey.trigger("echo", json!({ "payload": 1, "options": { "metadata": metadata } })).await.id);
    }
    assert_eq!(oncekey.in_status(&runs[0], "COMPLETED").await["metadata"], metadata);
    let (_, replayed) = answer(oncekey.post(&format!("/api/v1/runs/{}/replay", runs[0]), "")).await;
    assert_eq!(oncekey.run(replayed["id"].as_str().unwrap()).await["metadata"], metadata);
    let listed = oncekey.list("").await;
    let listed: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|run| &run["metadata"]).collect();
    assert_eq!(listed, [&metadata, &small, &metadata]);
}
