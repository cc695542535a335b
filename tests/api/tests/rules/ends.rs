//! R30, R32–R35: which ends of a run clear its key, and which keep it.

use std::time::Duration;

use oncekey::Options;
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Handle, Oncekey, Place, answer};
use oncekey_worker::{Context, Task, Worker};
use serde_json::{Value, json};

async fn assert_freed(oncekey: &Oncekey, task: &str, old: &Handle) {
    let next = oncekey.keyed(task, "k").await;
    assert_ne!(next.id, old.id);
    assert!(!next.is_cached);
}

async fn assert_kept(oncekey: &Oncekey, task: &str, old: &Handle) {
    let next = oncekey.keyed(task, "k").await;
    assert_eq!((&next.id, next.is_cached), (&old.id, true));
}

fn with(mut options: Value, payload: Value) -> Value {
    options["idempotencyKey"] = json!("k");
    json!({ "payload": payload, "options": options })
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_failed_run_clears_its_key() {
    let oncekey = Oncekey::anywhere().await;
    let failed = oncekey.keyed("fail", "k").await;
    let run = oncekey.in_status(&failed.id, "FAILED").await;
    assert_eq!(run["error"]["message"], "this task always fails");
    assert_eq!(run["attemptCount"], 1);
    assert_eq!(run["isFailed"], true);
    assert_freed(&oncekey, "fail", &failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_run_of_an_unknown_task_fails_with_its_last_attempt_naming_the_tasks_that_exist() {
    let oncekey = Oncekey::anywhere().await;
    let failed = oncekey.trigger("no-such-task", with(json!({ "maxAttempts": 2 }), json!({}))).await;
    let run = oncekey.in_status(&failed.id, "FAILED").await;
    assert_eq!(run["attemptCount"], 2);
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("this worker has no task \"no-such-task\"; it has: "), "{message}");
    assert!(message.contains(", echo, fail, "), "{message}");
    assert_freed(&oncekey, "no-such-task", &failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_run_that_uses_up_its_attempts_clears_its_key() {
    let oncekey = Oncekey::anywhere().await;
    let failed = oncekey.trigger("flaky", with(json!({ "maxAttempts": 2 }), json!({ "failTimes": 5 }))).await;
    let run = oncekey.in_status(&failed.id, "FAILED").await;
    assert_eq!(run["attemptCount"], 2);
    assert_freed(&oncekey, "flaky", &failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_crashed_run_clears_its_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::with(place, |options| Options { worker_timeout: Duration::from_secs(1), ..options }).await;
    let crashed = oncekey.trigger("sleep", with(json!({ "maxAttempts": 1 }), json!({ "ms": 60_000 }))).await;
    let run = oncekey.in_status(&crashed.id, "CRASHED").await;
    assert_eq!(run["error"]["name"], "Crashed");
    assert_freed(&oncekey, "sleep", &crashed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_run_over_its_max_duration_times_out_and_clears_its_key() {
    let oncekey = Oncekey::anywhere().await;
    let slow = oncekey.trigger("sleep", with(json!({ "maxDuration": 1 }), json!({ "ms": 60_000 }))).await;
    let run = oncekey.in_status(&slow.id, "TIMED_OUT").await;
    assert_eq!(run["error"]["message"], "the attempt took longer than its limit of 1 s");
    assert_freed(&oncekey, "sleep", &slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_run_that_starts_after_its_ttl_expires_and_clears_its_key() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let late = oncekey.trigger("echo", with(json!({ "delay": "10m", "ttl": "1m" }), json!(1))).await;
    assert_eq!(oncekey.run(&late.id).await["status"], "DELAYED");
    oncekey.clock.advance(Duration::from_secs(12 * 60));
    let run = oncekey.in_status(&late.id, "EXPIRED").await;
    assert_eq!(run["isCompleted"], true);
    assert!(run["expiredAt"].is_string());
    assert_freed(&oncekey, "echo", &late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_system_failure_clears_its_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let broken = oncekey.trigger("echo", with(json!({ "delay": "1h" }), json!(1))).await;
    oncekey.send("oncekey-runs-dead", json!({ "run_id": broken.id, "v": 99 }).to_string()).await;
    oncekey.in_status(&broken.id, "SYSTEM_FAILURE").await;
    assert_freed(&oncekey, "echo", &broken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_success_keeps_the_key() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("echo", with(json!({}), json!({ "n": 1 }))).await;
    assert_eq!(oncekey.in_status(&run.id, "COMPLETED").await["output"], json!({ "n": 1 }));
    assert_kept(&oncekey, "echo", &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_cancelling_a_queued_run_keeps_the_key_and_the_run_never_starts() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", with(json!({ "delay": "1m" }), json!(1))).await;
    let (status, canceled) = answer(oncekey.post(&format!("/api/v2/runs/{}/cancel", run.id), "")).await;
    assert_eq!((status.as_u16(), &canceled), (200, &json!({ "id": run.id })));
    assert_eq!(oncekey.run(&run.id).await["status"], "CANCELED");
    oncekey.clock.advance(Duration::from_secs(61));
    oncekey.drained("oncekey-runs").await;
    let after = oncekey.run(&run.id).await;
    assert_eq!((&after["status"], after.get("startedAt")), (&json!("CANCELED"), None));
    assert_kept(&oncekey, "echo", &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r33_cancelling_an_executing_run_keeps_the_key_and_its_result_is_dropped() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("sleep", with(json!({}), json!({ "ms": 300 }))).await;
    oncekey.in_status(&run.id, "EXECUTING").await;
    oncekey.post(&format!("/api/v2/runs/{}/cancel", run.id), "").send().await.unwrap();
    assert_eq!(oncekey.run(&run.id).await["status"], "CANCELED");
    oncekey.drained("oncekey-runs").await;
    oncekey.drained("oncekey-completions").await;
    assert_eq!(oncekey.run(&run.id).await["status"], "CANCELED");
    assert_kept(&oncekey, "sleep", &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_final_run_changes_nothing() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.keyed("echo", "k").await;
    let before = oncekey.finished(&run.id).await;
    let (status, _) = answer(oncekey.post(&format!("/api/v2/runs/{}/cancel", run.id), "")).await;
    assert_eq!(status, 200);
    assert_eq!(oncekey.run(&run.id).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_a_run_that_retries_keeps_its_key_between_attempts() {
    let oncekey = Oncekey::anywhere().await;
    let run = oncekey.trigger("flaky", with(json!({}), json!({ "failTimes": 3 }))).await;
    let mut duplicates = 0;
    while oncekey.run(&run.id).await["isCompleted"] == false {
        assert_kept(&oncekey, "flaky", &run).await;
        duplicates += 1;
    }
    let ended = oncekey.run(&run.id).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("COMPLETED"), &json!({ "attempts": 4 })));
    assert!(duplicates > 0, "it was looked at while it was tried again");
    assert_eq!(oncekey.all_runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r35_a_run_whose_key_was_reset_and_then_fails_leaves_its_successors_key_alone() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let old = oncekey.trigger("sleep", with(json!({ "maxDuration": 1 }), json!({ "ms": 60_000 }))).await;
    oncekey.in_status(&old.id, "EXECUTING").await;
    assert_eq!(oncekey.reset("sleep", "k").await.0, 200);
    let successor = oncekey.trigger("sleep", with(json!({}), json!({ "ms": 1 }))).await;
    assert_ne!(successor.id, old.id);
    oncekey.in_status(&old.id, "TIMED_OUT").await;
    oncekey.drained("oncekey-completions").await;
    assert_kept(&oncekey, "sleep", &successor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_tasks_could_not_be_loaded_says_why_in_its_runs_until_it_has_them() {
    let Some(place) = Place::here_alone("a worker of its own") else { return };
    let worker = Worker::new();
    worker.lose("a.ts failed while it was imported: no database".to_owned());
    let oncekey = Oncekey::running(place, worker.clone(), |options| options).await;
    let failed = oncekey.trigger("echo", json!({ "options": { "maxAttempts": 1 } })).await;
    let run = oncekey.in_status(&failed.id, "FAILED").await;
    let message = "this worker's tasks could not be loaded: a.ts failed while it was imported: no database";
    assert_eq!((&run["error"]["name"], &run["error"]["message"]), (&json!("TasksNotLoaded"), &json!(message)));
    let later = oncekey.trigger("echo", json!({ "payload": 1 })).await;
    oncekey.run_until(&later.id, |run| run["error"]["name"] == "TasksNotLoaded").await;
    worker.replace([Task::new("echo", |_: Context, payload: u32| async move { Ok(payload) })]);
    assert_eq!(oncekey.finished(&later.id).await["output"], 1);
}
