//! I2, I8, I9: what holds for a task in Rust holds for one in a child process; and nothing that leaves the process is done
//! twice without a word. The child is a script that says what a test wants to be said, and when.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oncekey::Options;
use oncekey_core::protocol::cancel::cancel;
use oncekey_tests_api::policy::Tasks;
use oncekey_tests_api::{Oncekey, Place, dev, run_id};
use oncekey_worker::Worker;
use oncekey_worker::host::{self, Code, Host, Node, Setting};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// A stack whose tasks are in child processes.
struct Hosted {
    oncekey: Oncekey,
    host: Host,
    folder: TempDir,
    api: tokio::task::JoinHandle<()>,
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.api.abort();
    }
}

/// `None` where there is no Node: then a line says so.
async fn hosted(place: Place, waits: &str, slots: usize, change: impl FnOnce(Options) -> Options) -> Option<Hosted> {
    let node = std::env::var_os("ONCEKEY_NODE").map_or_else(|| PathBuf::from("node"), PathBuf::from);
    if std::process::Command::new(&node).arg("--version").output().is_err() {
        eprintln!("left out: there is no Node");
        return None;
    }
    let folder = TempDir::new().unwrap();
    let slots = Arc::new(Semaphore::new(slots));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/hosted.mjs");
    let options = host::Options {
        node: Node { program: node, arguments: vec![script.to_string_lossy().into_owned()], environment: Vec::new() },
        waits: Setting::parse(waits).unwrap(),
        fetches: Setting::parse("1").unwrap(),
        look_every: Duration::from_millis(50),
        console: Arc::new(|_, _, _| ()),
        slots: Arc::clone(&slots),
    };
    let host = Host::start(options).await.unwrap();
    let code = Code { bundle: folder.path().to_owned(), project: folder.path().to_owned(), version: "1".to_owned() };
    let worker = Worker::new();
    worker.replace(host.load(code).await.unwrap());
    let slots = Some(slots);
    // Processes start slowly where many tests start them, and one run here waits for twenty others.
    let worker_timeout = Duration::from_secs(5 * 60);
    let change = |options| change(Options { slots, worker_timeout, ..options });
    let oncekey = Oncekey::running_tasks(place, Tasks::TypeScript, worker, change).await;
    let routes = oncekey.stack().routes();
    let serving = host.clone();
    let api = tokio::spawn(async move { serving.serve(routes).await });
    Some(Hosted { oncekey, host, folder, api })
}

impl Hosted {
    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The lines that tasks have logged.
    fn logged(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn first_logged(&self) -> String {
        loop {
            if let Some(line) = self.logged().first() {
                return line.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ended(&self, task: &str, payload: Value, status: &str) -> Value {
        let run = self.oncekey.trigger(task, json!({ "payload": payload })).await;
        let ended = self.finished(&run.id).await;
        assert_eq!(ended["status"], status, "{ended:#}");
        ended
    }

    /// A run once it is final: processes take their time where many tests start them.
    async fn finished(&self, run: &str) -> Value {
        loop {
            let run = self.oncekey.run(run).await;
            if run["isCompleted"] == true {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn completed(&self, task: &str, payload: Value) -> Value {
        self.ended(task, payload, "COMPLETED").await["output"].clone()
    }

    /// Returns once a process is not there any more.
    async fn is_gone(pid: &str) {
        while Path::new("/proc").join(pid).exists() && !is_zombie(pid) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn is_zombie(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_hosted_parent_waits_without_a_worker_and_resumes_in_the_same_attempt() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let output = hosted.completed("parent", json!({ "n": 7 })).await;
    assert_eq!((&output["child"], &output["attempt"]), (&json!(7), &json!(1)), "{output}");
    assert_eq!(hosted.oncekey.all_runs().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosted_runs_at_once_get_their_own_children() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 3, |options| options).await else { return };
    let runs: Vec<_> = (0..6).map(|n| hosted.completed("parent", json!({ "n": n }))).collect();
    for (n, output) in futures_util::future::join_all(runs).await.into_iter().enumerate() {
        assert_eq!(output["child"], n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_parent_gets_the_error_of_its_child() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    assert_eq!(hosted.completed("parent-of-fails", json!({})).await, "TypeError: no way");
    let failed = hosted.ended("fails", json!({}), "FAILED").await;
    assert_eq!((&failed["attemptCount"], &failed["error"]["name"]), (&json!(2), &json!("TypeError")));
    assert!(failed["error"]["stackTrace"].as_str().unwrap().contains("hosted.mjs"), "{failed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_what_left_the_process_is_not_done_twice_by_a_wait() {
    let Some(place) = Place::own_stack() else { return };
    // One place: the held run must leave it to its child.
    let Some(hosted) = hosted(place, "mixed", 1, |options| options).await else { return };
    let output = hosted.completed("mails", json!({ "log": hosted.log() })).await;
    assert_eq!(output["child"], 300);
    assert_eq!(hosted.logged(), ["mail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_what_leaves_the_process_while_its_run_is_about_to_be_suspended_is_not_done_twice() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    for round in 1..=5 {
        let output = hosted.completed("mails-beside", json!({ "log": hosted.log() })).await;
        assert_eq!(output["child"], 300);
        assert_eq!(hosted.logged().len(), round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_what_goes_on_beside_a_wait_ends_when_the_run_is_suspended() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let run = hosted.oncekey.trigger("ticks", json!({ "payload": { "log": hosted.log() } })).await;
    let pid = hosted.first_logged().await;
    hosted.oncekey.in_status(&run.id, "WAITING").await;
    Hosted::is_gone(&pid).await;
    assert_eq!(hosted.logged().iter().filter(|line| **line == pid).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_run_that_is_not_suspended_after_all_goes_on_where_it_stood() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let run = hosted.oncekey.trigger("late", json!({ "payload": { "log": hosted.log() } })).await;
    let pid = hosted.first_logged().await;
    // A wake-up that its invocation does not know of: the suspension is refused, and the wait looked at again.
    hosted.oncekey.app().store.raise_wakes(&run_id(&run.id)).await.unwrap();
    std::fs::write(hosted.log().with_extension("go"), "").unwrap();
    let ended = hosted.finished(&run.id).await;
    assert_eq!((&ended["output"], &ended["attemptCount"]), (&json!(pid), &json!(1)), "{ended:#}");
    assert_eq!(hosted.logged(), [pid]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_cannot_be_held_is_refused_and_says_what_the_run_did() {
    let Some(place) = Place::own_stack() else { return };
    let short = |options| Options { worker_timeout: Duration::from_secs(5), ..options };
    let Some(hosted) = hosted(place, "mixed", 2, short).await else { return };
    let failed = hosted.ended("mails", json!({ "log": hosted.log(), "ms": 3_600_000 }), "FAILED").await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("this wait cannot be had: it ends at "), "{message}");
    assert!(message.contains("it connected to mail.example:25, which would be done twice"), "{message}");
    assert_eq!((&failed["error"]["name"], &failed["attemptCount"]), (&json!("AbortTaskRunError"), &json!(1)));
    assert_eq!(hosted.logged(), ["mail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sets_replay_decides_that_doing_it_twice_is_harmless() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, r#"{"mails": "replay"}"#, 2, |options| options).await else { return };
    assert_eq!(hosted.completed("mails", json!({ "log": hosted.log() })).await["child"], 300);
    assert_eq!(hosted.logged(), ["mail", "mail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sets_hold_has_every_wait_held() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "hold", 1, |options| options).await else { return };
    hosted.completed("busy", json!({ "log": hosted.log() })).await;
    assert_eq!(hosted.logged(), ["start"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_calls_beside_a_wait_are_made_once_however_the_run_is_suspended_among_them() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 3, |options| options).await else { return };
    for round in 1..=3 {
        let output = hosted.completed("busy", json!({ "log": hosted.log() })).await;
        assert_eq!(output["ids"].as_array().unwrap().len(), 20);
        assert_eq!(hosted.oncekey.all_runs().await.len(), round * 22, "twenty, the slow one, and the parent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_of_a_hosted_child_and_a_time_whichever_comes_first_resumes_the_run() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let quick = hosted.completed("race", json!({ "delay": "1s", "ms": 3_600_000 }));
    let slow = hosted.completed("race", json!({ "delay": "1h", "ms": 6_000 }));
    let (quick, slow) = futures_util::future::join(quick, slow).await;
    assert_eq!((quick, slow), (json!("child"), json!("time")));
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_waits_at_once_are_known_again_however_late_they_are_asked_for() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    assert_eq!(hosted.completed("asks-late", json!({})).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_hosted_run_is_not_suspended_before_it_has_heard_what_it_was_told() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    assert_eq!(hosted.completed("computes", json!({})).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_run_that_makes_another_call_than_before_fails_and_does_nothing_new() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let failed = hosted.ended("other", json!({ "log": hosted.log() }), "FAILED").await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("made another call than before"), "{message}");
    assert_eq!(hosted.logged(), ["start", "start"]);
    assert_eq!(hosted.oncekey.all_runs().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_with_an_id_that_is_none_is_refused_and_the_code_before_goes_on() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let new = TempDir::new().unwrap();
    std::fs::write(new.path().join("id"), "send mail").unwrap();
    let code = Code { bundle: new.path().to_owned(), project: new.path().to_owned(), version: "2".to_owned() };
    let error = hosted.host.load(code).await.unwrap_err();
    assert!(error.starts_with("hosted.mjs: \"send mail\": task id: use 1 to 128 characters"), "{error}");
    let before = hosted.folder.path().to_string_lossy().into_owned();
    assert_eq!(hosted.completed("bundle", json!({})).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_batch_comes_back_in_its_order() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 3, |options| options).await else { return };
    assert_eq!(hosted.completed("batch", json!({ "n": 5 })).await, json!([0, 1, 2, 3, 4]));
    assert_eq!(hosted.oncekey.all_runs().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_payload_that_is_put_to_a_place_first_comes_to_the_child_and_is_known_on_a_resume() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    assert_eq!(hosted.completed("packet", json!({})).await, 300_000);
    assert_eq!(hosted.oncekey.all_runs().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ends_crashes_its_run_and_no_other() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 3, |options| options).await else { return };
    for (task, why) in [
        ("exits", "the task's process ended: exit status: 3"),
        ("kills-itself", "the task's process ended: signal: 9 (SIGKILL)"),
        ("garbage", "it wrote \"hello\\n\" to file descriptor 4, which is the host's"),
    ] {
        let other = hosted.completed("slow", json!(200));
        let (crashed, other) = futures_util::future::join(hosted.ended(task, json!({}), "CRASHED"), other).await;
        let message = crashed["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(why), "{message}");
        assert_eq!((&crashed["attemptCount"], other), (&json!(2), json!(200)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_is_told_and_then_stopped() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let late = hosted.ended("listens", json!({ "log": hosted.log() }), "TIMED_OUT").await;
    assert_eq!(late["error"]["message"], "the attempt took longer than its limit of 1 s");
    let logged = hosted.logged();
    assert_eq!(logged.last().map(String::as_str), Some("cancelled"));
    Hosted::is_gone(&logged[0]).await;
    std::fs::remove_file(hosted.log()).unwrap();
    hosted.ended("spins", json!({ "log": hosted.log() }), "TIMED_OUT").await;
    Hosted::is_gone(&hosted.logged()[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_run_that_is_cancelled_really_stops() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let spins = json!({ "payload": { "log": hosted.log() }, "options": { "maxDuration": 600 } });
    let run = hosted.oncekey.trigger("spins", spins).await;
    let pid = hosted.first_logged().await;
    cancel(hosted.oncekey.app(), &dev(), &run_id(&run.id)).await.unwrap();
    Hosted::is_gone(&pid).await;
    assert_eq!(hosted.finished(&run.id).await["status"], "CANCELED");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_hosted_step_is_done_once_over_all_attempts() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    assert_eq!(hosted.completed("step", json!({ "log": hosted.log() })).await, 7);
    assert_eq!(hosted.logged(), ["charged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_call_that_the_client_sends_again_is_the_same_call() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    assert_eq!(hosted.completed("same-name", json!({})).await, true);
    assert_eq!(hosted.oncekey.all_runs().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_business_of_a_runs_own_is_answered_as_outside() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    assert_eq!(hosted.completed("retrieves", json!({})).await, "EXECUTING");
    let read = hosted.completed("reads", json!({})).await;
    assert_eq!(read, json!({ "idempotencyKey": "k", "listed": [true] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_recorded_fetch_is_answered_from_the_record_when_its_run_is_started_again() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    let output = hosted.completed("records", json!({ "log": hosted.log() })).await;
    assert_eq!(output, json!([{ "what": "POST https://mail.example", "status": 202 }]));
    assert_eq!(hosted.logged(), ["mail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_run_is_not_suspended_while_a_recorded_fetch_is_under_way() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    hosted.completed("records-beside", json!({ "log": hosted.log() })).await;
    assert_eq!(hosted.logged(), ["mail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_run_that_does_not_fetch_again_what_was_recorded_fails_in_words() {
    let Some(place) = Place::own_stack() else { return };
    let Some(hosted) = hosted(place, "mixed", 2, |options| options).await else { return };
    for (name, told) in [
        ("unmade", "made other calls than before: now none; before GET https://x.example"),
        ("held", "the answers of GET https://x.example wait for others that came before them"),
    ] {
        let failed = hosted.ended("records-once", json!({ "name": name }), "FAILED").await;
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{message}");
        assert_eq!(failed["attemptCount"], 1);
    }
}
