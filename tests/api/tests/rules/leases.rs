//! I8: who holds an attempt, and when it is given up. No attempt is ended while somebody is at it, and none hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oncekey::Options;
use oncekey_core::clock::CLOCKS_APART;
use oncekey_core::payload::PayloadType;
use oncekey_core::protocol::complete::complete;
use oncekey_core::protocol::dead_letter::{end_dead_run, end_unreadable_run};
use oncekey_core::protocol::start::{Start, start};
use oncekey_core::queue::batch::Disposition;
use oncekey_core::queue::message::{CompletionEvent, Outcome, RunMessage};
use oncekey_core::run::beside::Kept;
use oncekey_core::run::{Run, RunError, RunSpec};
use oncekey_core::{App, RequestId, RunId};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, dev, task};
use serde_json::json;

use super::faults::{Fate, faulty_database};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_attempt_whose_start_is_sent_again_because_its_answer_was_lost_is_executed_by_whoever_started_it() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let lost = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&lost);
    let url = faulty_database(move |operation, body| {
        let is_start = operation == "UpdateItem" && body.contains("#started_at");
        match is_start && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Fate::LosesItsAnswer,
            false => Fate::Passes,
        }
    })
    .await;
    let oncekey = Oncekey::with(place, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
    let run = oncekey.trigger("echo", json!({ "payload": 1, "options": { "maxAttempts": 1 } })).await;
    let ended = oncekey.finished(&run.id).await;
    assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(1)));
    assert_eq!(lost.load(Ordering::SeqCst), 2, "it was sent again");
}

/// A run of `echo` that is stored, and the message that starts it.
async fn queued(oncekey: &Oncekey) -> (Run, RunMessage) {
    let app = oncekey.app();
    let id = RunId::named(&dev(), &task("echo"), &RequestId::fresh());
    let run = Run::new(id, RunSpec::new(dev(), task("echo"), app.clock.now()), Some(Kept::Inline("1".to_owned())));
    app.store.create_run(&run).await.unwrap();
    let message = RunMessage::first(&run);
    (run, message)
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_the_late_event_of_a_dead_lettered_copy_leaves_an_attempt_that_another_copy_began() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    let app = oncekey.app();
    let crashed = Outcome::Crashed { error: RunError::new("Crashed", "delivered too often"), retry_after_ms: None };
    for ends_well in [true, false] {
        let (run, message) = queued(&oncekey).await;
        // Nobody held it when its copy was dead-lettered. The event comes when somebody does.
        let event = CompletionEvent::unless_leased(&run, crashed.clone());
        let deadline = app.clock.now().plus(MINUTE);
        assert!(matches!(start(app, &message, deadline, |_| 1).await.unwrap(), Start::Execute(_)));
        let lease_until = deadline.plus(CLOCKS_APART);
        assert_eq!(complete(app, &event).await.unwrap(), Disposition::LeaveUntil(lease_until));
        app.queues.send_completion(&event).await.unwrap();
        if ends_well {
            let event = CompletionEvent::new(
                &run,
                Outcome::Succeeded { output: None, output_type: PayloadType::Json, lost: None },
            );
            app.queues.send_completion(&event).await.unwrap();
            oncekey.in_status(run.id.as_str(), "COMPLETED").await;
        } else {
            oncekey.clock.advance(MINUTE + CLOCKS_APART);
            oncekey.in_status(run.id.as_str(), "CRASHED").await;
        }
        oncekey.clock.advance(MINUTE + CLOCKS_APART);
        oncekey.drained("oncekey-completions").await;
        let status = if ends_well { "COMPLETED" } else { "CRASHED" };
        assert_eq!(oncekey.run(run.id.as_str()).await["status"], status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_dead_letter_waits_for_the_end_of_the_lease_it_meets() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let app = oncekey.app();
    let (run, message) = queued(&oncekey).await;
    let deadline = app.clock.now().plus(MINUTE);
    start(app, &message, deadline, |_| 1).await.unwrap();
    let lease_until = deadline.plus(CLOCKS_APART);
    for disposition in [end_dead_run(app, &message).await, end_unreadable_run(app, &run.id, "it is torn").await] {
        assert_eq!(disposition.unwrap(), Disposition::LeaveUntil(lease_until));
    }
    assert_eq!(oncekey.run(run.id.as_str()).await["status"], "EXECUTING");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_attempt_is_no_crash_to_a_worker_whose_clock_is_ahead_of_its_own() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::frozen(place).await;
    let app = oncekey.app();
    let (_, message) = queued(&oncekey).await;
    let deadline = app.clock.now().plus(MINUTE);
    start(app, &message, deadline, |_| 1).await.unwrap();
    // The last moment of its invocation, which another machine thinks was some seconds ago.
    oncekey.clock.advance(MINUTE);
    let ahead = App { clock: app.clock.ahead_by(9_000), ..app.clone() };
    let copy = start(&ahead, &message, ahead.clock.now().plus(MINUTE), |_| 1).await.unwrap();
    assert!(matches!(copy, Start::Nothing(Disposition::LeaveUntil(_))), "{copy:?}");
    oncekey.clock.advance(Duration::from_secs(1));
    let copy = start(&ahead, &message, ahead.clock.now().plus(MINUTE), |_| 1).await.unwrap();
    assert!(matches!(copy, Start::Crashed(_)), "{copy:?}");
}
