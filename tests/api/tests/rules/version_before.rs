//! A data folder that an earlier version made is read, and what was under way in it goes on.
//!
//! `tests/data/version-before` is one of the last version that kept every payload and output within its run. Its runs were made by
//! `oncekey dev --data`: two `echo`, one of them delayed by an hour, a `wait-for-time` of half an hour, and a `fail`, each with a key.

use std::time::Duration;

use oncekey::{Options, Storage};
use oncekey_core::{Clock, Timestamp};
use oncekey_tests_api::{Oncekey, Place, answer, run_id};
use serde_json::json;

const DYNAMODB: &[u8] = include_bytes!("../data/version-before/dynamodb.sqlite");
const QUEUES: &[u8] = include_bytes!("../data/version-before/queues.sqlite");

const DONE: &str = "run_ofmupg6jfhkqnyhrn2xxfs7sf6v2dx4c";
const DELAYED: &str = "run_njr6ivnzzxesvxcxg3tqd27d4wtxx56x";
const WAITING: &str = "run_li2t2qgdiqv2pr3fqmwijeue55x3r7b6";
const FAILED: &str = "run_jz3cxappp5gr4uagfhb3ieuaoyirimzi";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_left_in_its_folder_is_shown_holds_its_keys_and_goes_on() {
    let Some(place) = Place::here_alone("it brings a folder of its own") else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dynamodb.sqlite"), DYNAMODB).unwrap();
    std::fs::write(folder.path().join("queues.sqlite"), QUEUES).unwrap();
    let storage = Storage::Folder(folder.path().to_owned());
    // A minute after it was left.
    let clock = Clock::frozen(Timestamp::parse("2026-11-26T08:06:00Z").unwrap());
    let oncekey = Oncekey::with(place, |options| Options { clock, storage, ..options }).await;

    let done = oncekey.run(DONE).await;
    assert_eq!((&done["status"], &done["metadata"]), (&json!("COMPLETED"), &json!({ "of": "yesterday" })));
    assert_eq!(done["payload"]["text"].as_str().unwrap().len(), 6_000);
    assert_eq!(done["output"], done["payload"]);
    for (task, key, holder) in
        [("echo", "done", DONE), ("echo", "delayed", DELAYED), ("wait-for-time", "waiting", WAITING)]
    {
        let duplicate = oncekey.keyed(task, key).await;
        assert_eq!((duplicate.id.as_str(), duplicate.is_cached), (holder, true));
    }
    let next = oncekey.keyed("fail", "failed").await;
    assert!(next.id != FAILED && !next.is_cached, "{next:?}");
    assert_eq!(oncekey.list("").await["data"].as_array().unwrap().len(), 5);

    let (_, replayed) = answer(oncekey.post(&format!("/api/v1/runs/{DONE}/replay"), "")).await;
    let replayed = oncekey.in_status(replayed["id"].as_str().unwrap(), "COMPLETED").await;
    assert_eq!(replayed["output"], done["output"]);
    oncekey.clock.advance(Duration::from_secs(60 * 60));
    assert_eq!(oncekey.in_status(WAITING, "COMPLETED").await["attemptCount"], 1);
    let delayed = oncekey.in_status(DELAYED, "COMPLETED").await;
    assert_eq!(delayed["output"], delayed["payload"]);
    // What its message carried stays where an earlier version put it; what it returned stands beside it.
    let stored = oncekey.app().store.run(&run_id(DELAYED)).await.unwrap().unwrap();
    assert_eq!(stored.beside().count(), 1);
}
