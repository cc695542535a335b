//! `kill -9` of the whole stack at random moments under load, again and again on one data folder: every acknowledged trigger
//! ends in a final status, and no key has two runs. `CRASHES` says how often; 200 times by default.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Running, start};

/// Callers at a time.
const CALLERS: usize = 6;

/// What was acknowledged: the run of each key. A key that gets another run ends the test.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

fn body(key: &str) -> (&'static str, Value) {
    let (task, payload) = match key.len() % 3 {
        0 => ("process-order", json!({ "orderId": key, "email": "ada@example.com", "failTimes": 1 })),
        1 => ("wait-for-child", json!({ "ms": 5 })),
        _ => ("echo", json!(key)),
    };
    // Enough for the attempts that die with their process.
    (task, json!({ "payload": payload, "options": { "idempotencyKey": key, "maxAttempts": 100 } }))
}

/// Triggers new and old keys until the stack is gone.
async fn call(url: String, caller: usize, round: usize, acknowledged: Acknowledged) {
    let http = reqwest::Client::new();
    for n in 0.. {
        let old = fastrand::u8(..4) == 0;
        let known = old.then(|| acknowledged.lock().unwrap().keys().nth(fastrand::usize(..40)).cloned()).flatten();
        let key = known.unwrap_or_else(|| format!("k-{round}-{caller}-{n}"));
        let (task, body) = body(&key);
        let request = http.post(format!("{url}/api/v1/tasks/{task}/trigger")).bearer_auth("tr_dev_local");
        let Ok(answer) = request.body(body.to_string()).send().await else { return };
        let Ok(answer) = answer.json::<Value>().await else { return };
        // An error, as the stack was on its way down: not acknowledged.
        let Some(id) = answer["id"].as_str() else { continue };
        let before = acknowledged.lock().unwrap().insert(key.clone(), id.to_owned());
        assert!(before.is_none() || before.as_deref() == Some(id), "{key} had {before:?} and got {id}");
    }
}

async fn get(running: &Running, path: &str) -> Value {
    let request = reqwest::Client::new().get(format!("{}{path}", running.url)).bearer_auth("tr_dev_local");
    request.send().await.unwrap().json().await.unwrap()
}

/// All runs there are.
async fn runs(running: &Running) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(running, &format!("/api/v1/runs?page[size]=100{after}")).await;
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["pagination"]["next"].as_str() {
            Some(next) => after = format!("&page[after]={next}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_loses_nothing_and_runs_no_key_twice() {
    let rounds = std::env::var("CRASHES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Acknowledged::default();
    for round in 0..rounds {
        let mut running = start(folder.path());
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| tokio::spawn(call(running.url.clone(), caller, round, Arc::clone(&acknowledged))))
            .collect();
        // However slow the machine is, there is load: the death comes some answers after the start, and up to a moment more.
        let (before, answers) = (acknowledged.lock().unwrap().len(), fastrand::usize(..5));
        while acknowledged.lock().unwrap().len() < before + answers {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..120))).await;
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        for caller in callers {
            caller.await.unwrap();
        }
    }

    let running = start(folder.path());
    let begun = Instant::now();
    let all = loop {
        let all = runs(&running).await;
        let left: Vec<&Value> = all.iter().filter(|run| run["isCompleted"] != true).collect();
        if left.is_empty() {
            break all;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{} of {} never end: {:#}", left.len(), all.len(), left[0]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let acknowledged = acknowledged.lock().unwrap();
    println!("{rounds} kills, {} triggers acknowledged, {} runs", acknowledged.len(), all.len());
    assert!(acknowledged.len() > rounds, "there was no load");
    let mut keys = BTreeSet::new();
    for run in &all {
        let task = run["taskIdentifier"].as_str().unwrap();
        if ["sleep", "send-email"].contains(&task) {
            // A child, which has three attempts: each may have died with its process.
            assert!(["COMPLETED", "CRASHED"].contains(&run["status"].as_str().unwrap()), "{run:#}");
            continue;
        }
        assert_eq!(run["status"], "COMPLETED", "{run:#}");
        // A second run of a key would hold none.
        let key = run["idempotencyKey"].as_str().unwrap_or_else(|| panic!("its key has another run: {run:#}"));
        assert!(keys.insert((task, key)), "{key} has two runs: {run:#}");
    }
    let there: BTreeSet<&str> = all.iter().map(|run| run["id"].as_str().unwrap()).collect();
    for (key, id) in acknowledged.iter() {
        assert!(there.contains(id.as_str()), "{key} was acknowledged as {id}, which is not there");
    }
    // One child of each parent that has children by key, over all its attempts; another one only if the first crashed.
    let of_task = |task: &'static str| all.iter().filter(move |run| run["taskIdentifier"] == task);
    let parents = of_task("process-order").count();
    let children = of_task("send-email").filter(|run| run["status"] == "COMPLETED").count();
    assert!(children <= parents && of_task("send-email").count() >= parents, "{children} children of {parents}");
}
