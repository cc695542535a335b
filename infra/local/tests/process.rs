//! `oncekey dev` as a process: how it starts, refuses to start, ends, and goes on after `kill -9`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Running, oncekey, start};

struct Api {
    http: reqwest::Client,
    url: String,
}

impl Api {
    fn of(running: &Running) -> Self {
        Self { http: reqwest::Client::new(), url: running.url.clone() }
    }

    async fn trigger(&self, task: &str, body: Value) -> Value {
        let url = format!("{}/api/v1/tasks/{task}/trigger", self.url);
        let request = self.http.post(url).bearer_auth("tr_dev_local").body(body.to_string());
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn run(&self, id: &str) -> Value {
        let request = self.http.get(format!("{}/api/v3/runs/{id}", self.url)).bearer_auth("tr_dev_local");
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn run_until(&self, id: &str, field: &str, wanted: Value) -> Value {
        let start = Instant::now();
        loop {
            let run = self.run(id).await;
            if run[field] == wanted {
                return run;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{run:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn id(handle: &Value) -> &str {
    handle["id"].as_str().unwrap()
}

#[tokio::test]
async fn queued_and_half_done_runs_go_on_after_kill_9_and_keys_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start(folder.path());
    let api = Api::of(&running);
    let half_done = api.trigger("sleep", json!({ "payload": { "ms": 1_000 } })).await;
    api.run_until(id(&half_done), "status", json!("EXECUTING")).await;
    let keyed = json!({ "payload": 1, "options": { "idempotencyKey": "k", "delay": "3s" } });
    let queued = api.trigger("echo", keyed.clone()).await;
    running.child.kill().unwrap();
    running.child.wait().unwrap();

    let again = start(folder.path());
    let api = Api::of(&again);
    let duplicate = api.trigger("echo", keyed).await;
    assert_eq!((&duplicate["id"], &duplicate["isCached"]), (&queued["id"], &json!(true)));
    let queued = api.run_until(id(&queued), "isCompleted", json!(true)).await;
    assert_eq!(queued["status"], "COMPLETED");
    // Its worker is known to be dead when the lease is over: two seconds, as this process was told.
    let half_done = api.run_until(id(&half_done), "isCompleted", json!(true)).await;
    assert_eq!((&half_done["status"], &half_done["attemptCount"]), (&json!("COMPLETED"), &json!(2)));
}

#[tokio::test]
async fn waiting_parents_go_on_after_kill_9_with_the_children_they_had() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start(folder.path());
    let api = Api::of(&running);
    // One waits for a child that is at work, the other for a moment.
    let for_child = api.trigger("wait-for-child", json!({ "payload": { "ms": 1_000 } })).await;
    let for_time = api.trigger("wait-for-time", json!({ "payload": { "seconds": 6 } })).await;
    for run in [&for_child, &for_time] {
        api.run_until(id(run), "status", json!("WAITING")).await;
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();

    let again = start(folder.path());
    let api = Api::of(&again);
    for run in [&for_child, &for_time] {
        let ended = api.run_until(id(run), "isCompleted", json!(true)).await;
        assert_eq!((&ended["status"], &ended["attemptCount"]), (&json!("COMPLETED"), &json!(1)), "{ended:#}");
    }
}

#[tokio::test]
async fn whatever_is_logged_and_traced_has_no_payload_key_or_tag() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = oncekey(&["dev", "--port", "0", "--memory"]);
    let mut child = command.env("RUST_LOG", "trace").stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    let url = first.trim().strip_prefix("Oncekey is listening on ").unwrap().to_owned();
    let running = Running { child, url };
    let api = Api::of(&running);
    for task in ["echo", "fail", "no-such-task"] {
        let options = json!({ "maxAttempts": 1, "idempotencyKey": "key-of-ada", "tags": ["tag-of-ada"], "metadata": { "of": "meta-of-ada" } });
        let body = json!({ "payload": { "card": "4242-secret" }, "options": options });
        let handle = api.trigger(task, body).await;
        api.run_until(id(&handle), "isCompleted", json!(true)).await;
    }
    let bad = api.http.post(format!("{}/api/v1/tasks/echo/trigger", api.url)).bearer_auth("tr_dev_wrong");
    assert_eq!(bad.body("4242-secret").send().await.unwrap().status(), 401);
    let bad = api.http.post(format!("{}/api/v1/tasks/echo/trigger", api.url)).bearer_auth("tr_dev_local");
    assert_eq!(bad.body(r#"{"payload": 4242-secret}"#).send().await.unwrap().status(), 400);
    for token in ["head.of-ada.signature-of-ada", "eyJhbGciOiJIUzI1NiJ9.eyJraWQiOiJhIn0.c2lnbmF0dXJlLW9mLWFkYQ"] {
        let bad = api.http.get(format!("{}/api/v1/runs", api.url)).bearer_auth(token);
        assert_eq!(bad.send().await.unwrap().status(), 401);
    }
    drop(running);
    let log = std::fs::read_to_string(log).unwrap();
    // Our own traces, and what other crates say short of their own.
    assert!(log.contains("run_") && log.contains("DEBUG"), "{log}");
    for secret in
        ["4242-secret", "key-of-ada", "tag-of-ada", "meta-of-ada", "tr_dev_local", "tr_dev_wrong", "of-ada", "c2lnbm"]
    {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn sigterm_ends_it_cleanly_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start(folder.path());
    let handle = Api::of(&running).trigger("sleep", json!({ "payload": { "ms": 500 } })).await;
    let pid = running.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(running.child.wait().unwrap().success());

    let again = start(folder.path());
    let run = Api::of(&again).run_until(id(&handle), "isCompleted", json!(true)).await;
    assert_eq!((&run["status"], &run["attemptCount"]), (&json!("COMPLETED"), &json!(1)));
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    line.trim_end().to_owned()
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = refused(&oncekey(&["dev", "--memory", "--port", &port]).output().unwrap());
    assert!(line.starts_with(&format!("oncekey: cannot listen on 127.0.0.1:{port}: ")), "{line}");
    assert!(line.ends_with("Choose another with --port"), "{line}");
}

#[test]
fn an_unusable_data_folder_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let line = refused(&oncekey(&["--port", "0", "--data", file.to_str().unwrap()]).output().unwrap());
    assert!(line.contains("cannot use the data folder") && line.contains("--data"), "{line}");

    let garbled = folder.path().join("garbled");
    std::fs::create_dir(&garbled).unwrap();
    std::fs::write(garbled.join("dynamodb.sqlite"), "this is no database, whatever its name says").unwrap();
    let line = refused(&oncekey(&["--port", "0", "--data", garbled.to_str().unwrap()]).output().unwrap());
    assert!(line.contains("cannot use the data folder"), "{line}");
}

#[test]
fn two_processes_cannot_share_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _running = start(folder.path());
    let line = refused(&oncekey(&["--port", "0", "--data", folder.path().to_str().unwrap()]).output().unwrap());
    assert!(line.contains("another oncekey is running on it"), "{line}");
}

#[test]
fn it_prints_its_url_the_keys_and_a_curl_line() {
    let mut child = oncekey(&["dev", "--memory", "--port", "0"]).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let printed: Vec<String> = lines.by_ref().take_while(|line| !line.contains("curl")).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let printed = printed.join("\n");
    for wanted in ["http://127.0.0.1:", "local/dev   tr_dev_local", "local/prod  tr_prod_local"] {
        assert!(printed.contains(wanted), "{printed}");
    }
}
