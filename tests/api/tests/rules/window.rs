//! R20–R23: how long a key holds, to the millisecond.

use std::time::Duration;

use oncekey_core::store::KeyAddress;
use oncekey_tests_api::{Handle, Oncekey, Place, run_id};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MILLISECOND: Duration = Duration::from_millis(1);

fn with_ttl(ttl: &str) -> Value {
    json!({ "options": { "idempotencyKey": "k", "idempotencyKeyTTL": ttl } })
}

fn with_key() -> Value {
    json!({ "options": { "idempotencyKey": "k" } })
}

/// Triggers, and lets the run end: were time moved under it, its worker would seem to have died.
async fn ran(oncekey: &Oncekey, body: Value) -> Handle {
    let handle = oncekey.trigger("echo", body).await;
    oncekey.finished(&handle.id).await;
    handle
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_the_default_window_is_30_days() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let first = ran(&oncekey, with_key()).await;
    oncekey.clock.advance(30 * DAY - MILLISECOND);
    assert_eq!(oncekey.keyed("echo", "k").await.id, first.id);
    oncekey.clock.advance(MILLISECOND);
    assert!(!oncekey.keyed("echo", "k").await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_seconds_minutes_hours_and_days_set_the_window() {
    let Some(place) = Place::own_stack() else { return };
    for (ttl, window) in [("60s", 60), ("5m", 300), ("2h", 7_200), ("3d", 259_200)] {
        let oncekey = Oncekey::frozen(place).await;
        let first = ran(&oncekey, with_ttl(ttl)).await;
        oncekey.clock.advance(Duration::from_secs(window) - MILLISECOND);
        assert_eq!(oncekey.keyed("echo", "k").await.id, first.id, "{ttl}");
        oncekey.clock.advance(MILLISECOND);
        assert_ne!(oncekey.keyed("echo", "k").await.id, first.id, "{ttl}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_any_other_window_is_refused_by_naming_the_four_units_and_nothing_is_written() {
    let oncekey = Oncekey::anywhere().await;
    for ttl in ["", "0s", "10x", "1w", "1h30m", "-5s", "5", "5 minutes", "366d", "1e3s"] {
        let (status, error) = oncekey.try_trigger("echo", with_ttl(ttl)).await;
        assert_eq!(status, 400, "{ttl}");
        let text = error["error"].as_str().unwrap();
        assert!(text.starts_with("options.idempotencyKeyTTL: ") && text.contains("s, m, h or d"), "{text}");
    }
    assert!(oncekey.all_runs().await.is_empty());
    assert!(!oncekey.keyed("echo", "k").await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_after_the_window_a_new_run_starts_a_window_of_its_own_length() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let first = ran(&oncekey, with_ttl("60s")).await;
    oncekey.clock.advance(Duration::from_secs(60));
    let second = ran(&oncekey, with_ttl("2h")).await;
    assert_ne!(second.id, first.id);
    assert!(!second.is_cached);
    oncekey.clock.advance(Duration::from_secs(7_200) - MILLISECOND);
    assert_eq!(oncekey.keyed("echo", "k").await.id, second.id);
    oncekey.clock.advance(MILLISECOND);
    assert!(!oncekey.keyed("echo", "k").await.is_cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_duplicate_does_not_lengthen_the_window() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let first = ran(&oncekey, with_ttl("60s")).await;
    oncekey.clock.advance(Duration::from_secs(59));
    assert_eq!(oncekey.trigger("echo", with_ttl("30d")).await.id, first.id);
    oncekey.clock.advance(Duration::from_secs(1));
    assert_ne!(oncekey.keyed("echo", "k").await.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r23_the_window_ends_though_the_item_is_still_there() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let first = ran(&oncekey, with_ttl("60s")).await;
    oncekey.clock.advance(Duration::from_secs(60));
    assert_eq!(key_items(&oncekey).await, 1);
    assert_ne!(oncekey.keyed("echo", "k").await.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r23_the_window_ends_when_the_item_is_gone() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let first = ran(&oncekey, with_ttl("60s")).await;
    // What DynamoDB's native TTL does, sooner or later.
    let run = oncekey.app().store.run(&run_id(&first.id)).await.unwrap().unwrap();
    let address = KeyAddress::of_run(&run).unwrap();
    assert!(oncekey.app().store.free_key(address, &run.id, run.spec.created_at).await.unwrap());
    assert_eq!(key_items(&oncekey).await, 0);
    oncekey.clock.advance(Duration::from_secs(60));
    assert_ne!(oncekey.keyed("echo", "k").await.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_no_longer_shows_its_key_when_the_window_is_over() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let first = ran(&oncekey, with_ttl("60s")).await;
    assert_eq!(oncekey.run(&first.id).await["idempotencyKey"], "k");
    oncekey.clock.advance(Duration::from_secs(60));
    assert_eq!(oncekey.run(&first.id).await.get("idempotencyKey"), None);
}

async fn key_items(oncekey: &Oncekey) -> i32 {
    oncekey.stack().dynamodb().1.scan().table_name(oncekey.table("oncekey-keys")).send().await.unwrap().count
}
