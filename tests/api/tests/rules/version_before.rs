//! A data folder that an earlier version made is read, and what was under way in it goes on.
//!
//! `tests/data/version-before-payloads` is one of the last version that kept every payload and output within its run. Its runs were
//! made by `oncekey dev --data`: two `echo`, one of them delayed by an hour, a `wait-for-time` of half an hour, and a `fail`, each with
//! a key. `version-before-journals` is of the last version that kept journals and waiters within runs, killed while at work: a
//! `wait-for-child` of four seconds and a `sleep`, each with a key, a `flaky`, and two of the three items of a batch.

use std::path::Path;
use std::time::Duration;

use oncekey::{Options, Storage};
use oncekey_core::{Clock, Timestamp};
use oncekey_tests_api::{Oncekey, Place, answer, run_id};
use serde_json::json;

const DONE: &str = "run_ofmupg6jfhkqnyhrn2xxfs7sf6v2dx4c";
const DELAYED: &str = "run_njr6ivnzzxesvxcxg3tqd27d4wtxx56x";
const WAITING: &str = "run_li2t2qgdiqv2pr3fqmwijeue55x3r7b6";
const FAILED: &str = "run_jz3cxappp5gr4uagfhb3ieuaoyirimzi";

/// A stack on a copy of an earlier version's folder, at a moment.
async fn on_a_copy(place: Place, of: &str, at: &str) -> (Oncekey, tempfile::TempDir) {
    let left = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/version-before-{of}"));
    let folder = tempfile::tempdir().unwrap();
    for name in ["dynamodb.sqlite", "queues.sqlite"] {
        std::fs::copy(left.join(name), folder.path().join(name)).unwrap();
    }
    let storage = Storage::Folder(folder.path().to_owned());
    let clock = Clock::frozen(Timestamp::parse(at).unwrap());
    (Oncekey::with(place, |options| Options { clock, storage, ..options }).await, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_left_in_its_folder_is_shown_holds_its_keys_and_goes_on() {
    let Some(place) = Place::here_alone("it brings a folder of its own") else { return };
    // A minute after it was left.
    let (oncekey, _folder) = on_a_copy(place, "payloads", "2026-11-26T08:06:00Z").await;

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

const PARENT: &str = "run_admpalpnnonetuyqgqldqkpgikxx7dze";
const ENDED: &str = "run_6w44idzht4qtsv6hk2gpxmobiurhnats";
const CHILD: &str = "run_i6ywgru62xp62hvqxzj3ci7rkj74fjhb";
const FLAKY: &str = "run_cojw2yl44ngfw5g6biv43ong2rnpkane";
const BATCH: &str = "batch_gfkd63yqswkktebcmugmtxzpksdkoq7h";
const ITEMS: [&str; 2] = ["run_qa7jdz6lyglgrspkamziif4rvmi26bxt", "run_e3a4efs6ilaa5kv7gd7rlnirkciskxmw"];

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_was_at_when_it_was_killed_is_done_by_this_one() {
    let Some(place) = Place::here_alone("it brings a folder of its own") else { return };
    let (oncekey, _folder) = on_a_copy(place, "journals", "2026-11-27T01:17:40Z").await;

    for (task, key, holder, status) in [
        ("wait-for-child", "parent", PARENT, "WAITING"),
        ("sleep", "ended", ENDED, "EXECUTING"),
        ("flaky", "flaky", FLAKY, "COMPLETED"),
    ] {
        let duplicate = oncekey.keyed(task, key).await;
        assert_eq!((duplicate.id.as_str(), duplicate.is_cached), (holder, true));
        assert_eq!(oncekey.run(holder).await["status"], status);
    }
    assert_eq!(oncekey.run(FLAKY).await["attemptCount"], 2);

    // As the earlier version's worker sent it.
    let outcome = json!({ "kind": "succeeded", "output": { "inline": "[1]" } });
    let event = json!({ "v": 1, "run_id": ENDED, "attempt": 1, "resume": 0, "outcome": outcome });
    oncekey.send("oncekey-completions", event.to_string()).await;
    assert_eq!(oncekey.in_status(ENDED, "COMPLETED").await["output"], json!([1]));
    assert!(oncekey.keyed("sleep", "ended").await.is_cached);

    let item = |index: usize| {
        let options = json!({ "idempotencyKey": format!("item-{index}") });
        json!({ "index": index, "task": "echo", "payload": index.to_string(), "options": options }).to_string()
    };
    let lines = [0, 1, 2].map(item).join("\n");
    let post = oncekey.post(&format!("/api/v3/batches/{BATCH}/items"), lines);
    let (status, sent) = answer(post.header("content-type", "application/x-ndjson")).await;
    assert_eq!(
        (status.as_u16(), &sent["itemsDeduplicated"], &sent["sealed"]),
        (200, &json!(2), &json!(true)),
        "{sent}"
    );
    let (_, batch) = answer(oncekey.get(&format!("/api/v2/batches/{BATCH}"))).await;
    assert_eq!(batch["runs"].as_array().unwrap()[..2], ITEMS.map(|run| json!(run)));
    assert_eq!(batch["runCount"], 3);

    // The child's worker is dead; its message comes again, and its lease is over.
    oncekey.clock.advance(Duration::from_secs(7 * 60));
    oncekey.in_status(CHILD, "QUEUED").await;
    oncekey.clock.advance(Duration::from_secs(60));
    let parent = oncekey.in_status(PARENT, "COMPLETED").await;
    assert_eq!((&parent["output"], &parent["attemptCount"]), (&json!(null), &json!(1)));
}
