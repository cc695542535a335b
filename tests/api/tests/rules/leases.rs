//! I8: who holds an attempt, and when it is given up. No attempt is ended while somebody is at it, and none hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use oncekey::Options;
use oncekey_tests_api::{Oncekey, Place};
use serde_json::json;

use super::faults::{Fate, faulty_database};

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
