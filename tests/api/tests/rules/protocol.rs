//! I1–I8: the protocol where it hurts. A process may die between any two steps and any message may come twice; each test
//! writes what such a death leaves behind and looks at what becomes of it.

use std::time::Duration;

use oncekey_core::key::{IdempotencyKey, KeyRelease};
use oncekey_core::payload::{Payload, PayloadType};
use oncekey_core::protocol::complete::complete;
use oncekey_core::protocol::start::{Start, start};
use oncekey_core::queue::message::{CompletionEvent, Outcome, Output, RunMessage};
use oncekey_core::run::beside::Kept;
use oncekey_core::run::turn::Turn;
use oncekey_core::run::{ClaimedKey, Run, RunError, RunSpec};
use oncekey_core::store::{Claimed, KeyAddress, KeyRecord};
use oncekey_core::{RequestId, RunId, Timestamp};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, dev, handle, key_hash, run_id, task};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3_600);

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey { text: Some(text.to_owned()), ..IdempotencyKey::of_hash(key_hash(text)) }
}

/// A run of `echo` with key `k`, as a trigger that is about to write it has it.
pub(super) fn run_to_be(oncekey: &Oncekey) -> Run {
    run_of_key(oncekey, RunId::named(&dev(), &task("echo"), &RequestId::fresh()), "k")
}

fn run_of_key(oncekey: &Oncekey, id: RunId, text: &str) -> Run {
    let now = oncekey.clock.now();
    let spec = RunSpec {
        key: Some(ClaimedKey { key: key(text), window_ends_at: now.plus(HOUR), release: KeyRelease::OnFailure }),
        ..RunSpec::new(dev(), task("echo"), now)
    };
    Run::new(id, spec, Some(Kept::Inline("1".to_owned())))
}

async fn claim(oncekey: &Oncekey, run: &Run) {
    let (key, window) = (&run.spec.key.as_ref().unwrap().key, run.spec.created_at.plus(HOUR));
    let record = KeyRecord::new(run.id.clone(), Some(key), run.spec.created_at, window);
    let address = KeyAddress::of_run(run).unwrap();
    let claimed = oncekey.app().store.claim_key(address, &record, None).await.unwrap();
    assert!(matches!(claimed, Claimed::Free), "{claimed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_died_after_its_claim_is_helped_under_its_own_name() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = run_to_be(&oncekey);
    claim(&oncekey, &run).await;
    let helper = oncekey.trigger("echo", json!({ "payload": 2, "options": { "idempotencyKey": "k" } })).await;
    assert_eq!((helper.id.as_str(), helper.is_cached), (run.id.as_str(), true));
    let ended = oncekey.finished(&helper.id).await;
    assert_eq!(ended["output"], 2);
    assert_eq!(ended["createdAt"], run.spec.created_at.to_string());
    assert_eq!(ended["idempotencyKey"], "k");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_does_not_name_the_run_that_its_request_made_with_another_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let died = run_to_be(&oncekey);
    claim(&oncekey, &died).await;
    // Its request is sent again in the same millisecond, with another key and nothing else changed.
    let other = run_of_key(&oncekey, died.id.clone(), "k2");
    claim(&oncekey, &other).await;
    assert!(oncekey.app().store.create_run(&other).await.unwrap().is_none());
    let first = oncekey.keyed("echo", "k").await;
    assert!(!first.is_cached && first.id != other.id.as_str(), "{first:?}");
    let second = oncekey.keyed("echo", "k2").await;
    assert!(second.is_cached && second.id == other.id.as_str(), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimer_that_may_be_slow_is_helped_with_its_own_payload_alone() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let (run, key) = (run_to_be(&oncekey), key("k"));
    let (now, environment, task) = (oncekey.clock.now(), dev(), run.spec.task.clone());
    let raw = serde_json::value::to_raw_value(&1).unwrap();
    let record = KeyRecord {
        fingerprint: Some(Payload::from_wire(Some(&raw), PayloadType::Json).unwrap().fingerprint()),
        helped_from: Some(now.plus(Duration::from_secs(40))),
        ..KeyRecord::new(run.id.clone(), Some(&key), now, now.plus(HOUR))
    };
    let address = KeyAddress { environment: &environment, place: key.place(&task), hash: &key.hash };
    oncekey.app().store.claim_key(address, &record, None).await.unwrap();

    let other = || oncekey.try_trigger("echo", json!({ "payload": 2, "options": { "idempotencyKey": "k" } }));
    let (status, refused) = other().await;
    assert_eq!(status, 503, "{refused}");
    oncekey.clock.advance(Duration::from_secs(40));
    let (status, helped) = other().await;
    assert_eq!((status.as_u16(), &helped["id"], &helped["isCached"]), (200, &json!(run.id), &json!(true)));
    assert_eq!(oncekey.finished(run.id.as_str()).await["output"], 2);
    assert!(oncekey.trigger("echo", json!({ "payload": 1, "options": { "idempotencyKey": "k" } })).await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_claimer_died_before_its_run_does_not_refuse_other_payloads_to_the_end_of_its_window() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = run_to_be(&oncekey);
    let (now, environment, task, key) = (oncekey.clock.now(), dev(), run.spec.task.clone(), key("k"));
    let raw = serde_json::value::to_raw_value(&1).unwrap();
    let record = KeyRecord {
        fingerprint: Some(Payload::from_wire(Some(&raw), PayloadType::Json).unwrap().fingerprint()),
        helped_from: Some(now.plus(Duration::from_secs(40))),
        ..KeyRecord::new(run.id.clone(), Some(&key), now, now.plus(HOUR))
    };
    let address = KeyAddress { environment: &environment, place: key.place(&task), hash: &key.hash };
    oncekey.app().store.claim_key(address, &record, None).await.unwrap();

    let guarded = async |payload: u32| {
        let options = json!({ "idempotencyKey": "k", "onPayloadMismatch": "error" });
        oncekey.try_trigger("echo", json!({ "payload": payload, "options": options })).await
    };
    assert_eq!(guarded(2).await.0, 503, "the claimer may be slow");
    oncekey.clock.advance(Duration::from_secs(40));
    let (status, made) = guarded(2).await;
    assert_eq!((status.as_u16(), &made["id"]), (200, &json!(run.id)), "{made}");
    // From here on the key is held by a run of this payload, whatever it was claimed for.
    assert_eq!(guarded(2).await.1["id"], made["id"]);
    assert_eq!(guarded(1).await.0, 422);
    assert_eq!(guarded(3).await.0, 422);
    assert_eq!(oncekey.finished(run.id.as_str()).await["output"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_died_after_sending_has_its_run_made_by_the_worker() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = run_to_be(&oncekey);
    claim(&oncekey, &run).await;
    oncekey.app().queues.send_run(&RunMessage::first(&run)).await.unwrap();
    oncekey.run_until_there(&run.id).await;
    assert_eq!(oncekey.finished(run.id.as_str()).await["output"], 1);
    assert_eq!(oncekey.keyed("echo", "k").await.id, run.id.as_str());
    assert_eq!(oncekey.all_runs().await, [run.id.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_trigger_and_its_helper_agree_on_what_runs() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = run_to_be(&oncekey);
    claim(&oncekey, &run).await;
    let helper = oncekey.trigger("echo", json!({ "payload": 2, "options": { "idempotencyKey": "k" } })).await;
    oncekey.finished(&helper.id).await;
    // The claimer was not dead after all.
    oncekey.app().queues.send_run(&RunMessage::first(&run)).await.unwrap();
    assert!(oncekey.app().store.create_run(&run).await.unwrap().is_some());
    oncekey.drained("oncekey-runs").await;
    let ended = oncekey.run(&helper.id).await;
    assert_eq!((&ended["output"], &ended["payload"], &ended["attemptCount"]), (&json!(2), &json!(2), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_failed_run_whose_clear_is_late_does_not_hold_the_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let failed = oncekey.keyed("fail", "k").await;
    oncekey.in_status(&failed.id, "FAILED").await;
    let stored = oncekey.app().store.run(&run_id(&failed.id)).await.unwrap().unwrap();
    while oncekey.app().store.key(KeyAddress::of_run(&stored).unwrap()).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    // As if the process had died before that: the key still names the run.
    claim(&oncekey, &stored).await;
    let next = oncekey.keyed("fail", "k").await;
    assert_ne!(next.id, failed.id);
    assert!(!next.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_request_sent_again_after_a_reset_does_not_bring_its_run_back_under_the_key() {
    let oncekey = Oncekey::anywhere().await;
    let request = || {
        let body = json!({ "options": { "idempotencyKey": "k" } }).to_string();
        answer(oncekey.post("/api/v1/tasks/echo/trigger", body).header("x-trigger-request-idempotency-key", "r"))
    };
    let first = handle(&request().await.1);
    oncekey.finished(&first.id).await;
    assert_eq!(oncekey.reset("echo", "k").await.0, 200);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(handle(&request().await.1), first);
    let next = oncekey.keyed("echo", "k").await;
    assert_ne!(next.id, first.id);
    assert!(!next.is_cached);
    assert_eq!(oncekey.keyed("echo", "k").await.id, next.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_every_message_may_come_twice() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("flaky", json!({ "payload": { "failTimes": 2 } })).await;
    let mut sent_again = 0;
    loop {
        let stored = oncekey.app().store.run(&run_id(&run.id)).await.unwrap().unwrap();
        if stored.status.is_final() {
            break;
        }
        let first = Run::new(stored.id.clone(), stored.spec.clone(), stored.payload.clone());
        for message in [RunMessage::first(&first), RunMessage::of(&stored)] {
            oncekey.app().queues.send_run(&message).await.unwrap();
        }
        sent_again += 1;
    }
    // Those that met a live lease come again when it is over.
    until(|| async {
        oncekey.clock.advance(Duration::from_secs(61));
        oncekey.depth("oncekey-runs").await == [0; 3]
    })
    .await;
    oncekey.drained("oncekey-completions").await;
    let ended = oncekey.run(&run.id).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("COMPLETED"), &json!({ "attempts": 3 })));
    assert!(sent_again > 2, "{sent_again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_completion_events_may_come_twice_late_and_out_of_order() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    let app = oncekey.app();
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h", "idempotencyKey": "k" } })).await;
    let id = run_id(&run.id);
    oncekey.clock.advance(HOUR);
    let executing = match oncekey.in_status(&run.id, "COMPLETED").await["status"].as_str() {
        Some("COMPLETED") => app.store.run(&id).await.unwrap().unwrap(),
        other => panic!("{other:?}"),
    };
    let event = |attempt, outcome| CompletionEvent {
        turn: Turn { attempt, ..executing.turn },
        ..CompletionEvent::new(&executing, outcome)
    };
    let failed = |retry_after_ms| Outcome::Failed { error: RunError::new("Error", "late"), retry_after_ms };
    for stale in [
        event(1, failed(Some(0))),
        event(1, failed(None)),
        event(2, failed(None)),
        event(
            1,
            Outcome::Succeeded {
                output: Some(Output::Inline("\"other\"".to_owned())),
                output_type: PayloadType::Json,
                lost: None,
            },
        ),
        event(1, Outcome::Canceled { replaced_by: None }),
    ] {
        complete(app, &stale).await.unwrap();
        assert_eq!(app.store.run(&id).await.unwrap().unwrap(), executing);
    }
    assert!(oncekey.keyed("echo", "k").await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_whose_message_was_not_sent_before_a_crash_is_sent_by_the_redelivered_event() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let run = run_to_be(&oncekey);
    // Started by a worker that is not of this stack.
    let lease = app.clock.now().plus(HOUR);
    let started = start(app, &RunMessage::first(&run), lease, |_| 3).await.unwrap();
    let Start::Execute(executing) = started else { panic!("{started:?}") };
    let event = CompletionEvent::new(
        &executing,
        Outcome::Failed { error: RunError::new("Error", "once"), retry_after_ms: Some(60_000) },
    );
    complete(app, &event).await.unwrap();
    assert_eq!(oncekey.depth("oncekey-runs").await, [0, 0, 1]);
    oncekey.purge("oncekey-runs").await;
    complete(app, &event).await.unwrap();
    assert_eq!(oncekey.depth("oncekey-runs").await, [0, 0, 1]);
    oncekey.clock.advance(Duration::from_secs(60));
    let ended = oncekey.finished(run.id.as_str()).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_run_whose_worker_died_goes_on_once_the_lease_is_over_and_not_before() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let run = run_to_be(&oncekey);
    let message = RunMessage::first(&run);
    let lease_until = app.clock.now().plus(Duration::from_secs(30));
    let started = start(app, &message, lease_until, |_| 3).await.unwrap();
    assert!(matches!(started, Start::Execute(_)));
    // The worker is dead now, and its message comes again.
    oncekey.send("oncekey-runs", serde_json::to_string(&message).unwrap()).await;
    until(|| async { oncekey.depth("oncekey-runs").await == [0, 1, 0] }).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(oncekey.run(run.id.as_str()).await["status"], "EXECUTING");
    oncekey.clock.advance(Duration::from_secs(31));
    let retried = oncekey.run_until(run.id.as_str(), |run| run["status"] == "QUEUED").await;
    assert_eq!(retried["error"]["name"], "Crashed");
    oncekey.clock.advance(Duration::from_secs(2));
    let ended = oncekey.finished(run.id.as_str()).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(2)));
    assert_eq!(ended.get("error"), None);
}

pub(super) async fn until<F: Future<Output = bool>>(reached: impl Fn() -> F) {
    for _ in 0..6_000 {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_dead_lettered_run_message_is_a_crashed_attempt_once_its_lease_is_over() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let run = run_to_be(&oncekey);
    claim(&oncekey, &run).await;
    let message = RunMessage::first(&run);
    let lease_until = app.clock.now().plus(Duration::from_secs(30));
    start(app, &message, lease_until, |_| 1).await.unwrap();
    oncekey.send("oncekey-runs-dead", serde_json::to_string(&message).unwrap()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(oncekey.run(run.id.as_str()).await["status"], "EXECUTING");
    oncekey.clock.advance(Duration::from_secs(31));
    oncekey.in_status(run.id.as_str(), "CRASHED").await;
    oncekey.drained("oncekey-runs-dead").await;
    assert!(!oncekey.keyed("echo", "k").await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_dead_lettered_message_of_a_run_that_never_started_is_tried_again() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = run_to_be(&oncekey);
    claim(&oncekey, &run).await;
    oncekey.send("oncekey-runs-dead", serde_json::to_string(&RunMessage::first(&run)).unwrap()).await;
    oncekey.run_until_there(&run.id).await;
    oncekey.clock.advance(Duration::from_secs(3));
    let ended = oncekey.finished(run.id.as_str()).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(2)));
    assert_eq!(oncekey.keyed("echo", "k").await.id, run.id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_poison_run_message_ends_in_the_dead_letter_queue_and_its_run_in_a_status() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "30d", "idempotencyKey": "k" } })).await;
    oncekey.send("oncekey-runs", json!({ "v": 99, "run_id": run.id }).to_string()).await;
    // Twenty receives, with up to a quarter of an hour between two.
    for _ in 0..21 {
        until(|| async { oncekey.depth("oncekey-runs").await[0] == 0 }).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        oncekey.clock.advance(Duration::from_secs(901));
    }
    oncekey.in_status(&run.id, "SYSTEM_FAILURE").await;
    assert_ne!(oncekey.keyed("echo", "k").await.id, run.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_schedules_a_delay_longer_than_sqs_carries_is_made_of_hops() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::with(place, |options| oncekey::Options { schedules: false, ..options }).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "40m" } })).await;
    for _ in 0..2 {
        oncekey.clock.advance(Duration::from_secs(15 * 60));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(oncekey.run(&run.id).await["status"], "DELAYED");
        assert_eq!(oncekey.depth("oncekey-runs").await, [0, 0, 1]);
    }
    oncekey.clock.advance(Duration::from_secs(11 * 60));
    assert_eq!(oncekey.finished(&run.id).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_is_finished_by_its_event_when_the_process_dies_after_sending_it() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await;
    let stored = oncekey.app().store.run(&run_id(&run.id)).await.unwrap().unwrap();
    let event = CompletionEvent::new(&stored, Outcome::Canceled { replaced_by: None });
    oncekey.app().queues.send_completion(&event).await.unwrap();
    oncekey.in_status(&run.id, "CANCELED").await;
}

#[test]
fn a_run_outlives_its_key() {
    let now = Timestamp::from_millis(0);
    let window = Duration::from_secs(365 * 86_400);
    let spec = RunSpec {
        key: Some(ClaimedKey { key: key("k"), window_ends_at: now.plus(window), release: KeyRelease::OnFailure }),
        ..RunSpec::new(dev(), task("echo"), now)
    };
    assert_eq!(spec.kept_until(), now.plus(window + Duration::from_secs(86_400)));
}

trait UntilThere {
    async fn run_until_there(&self, id: &RunId);
}

impl UntilThere for Oncekey {
    /// Waits until the run is stored.
    async fn run_until_there(&self, id: &RunId) {
        until(|| async { self.app().store.run(id).await.unwrap().is_some() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_starts_when_its_record_says_and_not_when_a_message_does() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    let delayed = oncekey.trigger("echo", json!({ "payload": 1, "options": { "delay": "10m" } })).await;
    let app = oncekey.app();
    let stored = app.store.run(&run_id(&delayed.id)).await.unwrap().unwrap();
    oncekey.purge("oncekey-runs").await;
    // As who helped its claimer would send it, who asked for no delay.
    let at_once = RunMessage { due_at: None, ..RunMessage::first(&stored) };
    app.queues.send_run(&at_once).await.unwrap();
    until(|| async { oncekey.depth("oncekey-runs").await == [0, 0, 1] }).await;
    assert_eq!(oncekey.run(&delayed.id).await["status"], "DELAYED");
    oncekey.clock.advance(Duration::from_secs(3_600));
    assert_eq!(oncekey.finished(&delayed.id).await["status"], "COMPLETED");
}
