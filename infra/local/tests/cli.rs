//! The command line, against a stack in a process of its own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A stack that is killed when the test ends.
struct Stack {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command did.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn json(&self) -> Value {
        self.json_of(0)
    }

    fn json_of(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

fn oncekey() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncekey"));
    for name in ["TRIGGER_API_URL", "TRIGGER_SECRET_KEY", "ONCEKEY_ENVIRONMENTS_TABLE"] {
        command.env_remove(name);
    }
    command
}

fn done(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

impl Stack {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let mut dev = oncekey();
        dev.args(["dev", "--port", "0", "--data", data]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = dev.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.trim().strip_prefix("Oncekey is listening on ").unwrap().to_owned();
        Self { child, url, folder }
    }

    fn run(&self, arguments: &[&str]) -> Done {
        done(oncekey().args(arguments).env("TRIGGER_API_URL", &self.url))
    }

    fn with_key(&self, api_key: &str, arguments: &[&str]) -> Done {
        done(oncekey().args(arguments).env("TRIGGER_API_URL", &self.url).env("TRIGGER_SECRET_KEY", api_key))
    }

    fn env(&self, arguments: &[&str]) -> Done {
        let data = self.folder.path().to_str().unwrap();
        done(oncekey().arg("env").args(arguments).args(["--data", data]))
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn r88_a_debounced_trigger_says_whether_it_made_a_run_or_pushed_one() {
    let stack = Stack::start();
    let debounced = ["echo", "1", "--debounce", "document-42", "--debounce-delay", "1h", "--debounce-trailing"];
    let trigger = |more: &[&str]| {
        let all: Vec<&str> = ["trigger"].iter().chain(&debounced).chain(more).copied().collect();
        stack.run(&all)
    };
    let first = trigger(&[]).out;
    let run = first.strip_suffix("  created\n").unwrap();
    assert_eq!(trigger(&["--debounce-max-delay", "2h"]).out, format!("{run}  pushed\n"));
    let keyed = trigger(&["--key", "k"]).out;
    assert!(keyed.starts_with(&format!("{run}  pushed  \"k\" until ")), "{keyed}");
    let refused = stack.run(&["trigger", "echo", "1", "--debounce", "d", "--debounce-delay", "soon"]);
    assert!(refused.err.contains("options.debounce.delay: "), "{}", refused.err);
}

#[test]
fn what_others_have_written_of_a_run_moves_nothing_on_the_terminal() {
    let stack = Stack::start();
    let run = stack.run(&["trigger", "echo", "1", "--key", "a\u{1b}[31mred", "--tag", "t\u{1b}[2J"]);
    let id = run.out.split_whitespace().next().unwrap();
    for shown in [stack.run(&["runs", "list"]).out, stack.run(&["runs", "get", id]).out] {
        assert!(shown.contains("a\\u{1b}[31mred") && !shown.contains('\u{1b}'), "{shown}");
    }
}

#[test]
fn a_trigger_says_whether_and_why_it_made_a_run() {
    let stack = Stack::start();
    let first = stack.run(&["trigger", "echo", r#"{"n": 1}"#, "--key", "order-42", "--key-ttl", "1h"]);
    let again = stack.run(&["trigger", "echo", r#"{"n": 1}"#, "--key", "order-42", "--wait"]);
    assert_eq!((first.code, again.code), (0, 0), "{}{}", first.err, again.err);
    let id = first.out.split_whitespace().next().unwrap();
    assert!(first.out.contains("created  \"order-42\" until "), "{}", first.out);
    assert!(again.out.starts_with(&format!("{id}  cached")) && again.out.contains("COMPLETED"), "{}", again.out);

    let file = stack.file("payload.json", "[1, 2]");
    let run = stack.run(&["trigger", "echo", &format!("@{file}"), "--key-from-payload", "--wait", "--json"]).json();
    assert_eq!(run["output"], serde_json::json!([1, 2]));
}

#[test]
fn many_runs_are_cancelled_or_replayed_by_what_is_said_of_them_once_somebody_has_agreed() {
    let stack = Stack::start();
    for tag in ["a", "a", "b"] {
        stack.run(&["trigger", "echo", "1", "--delay", "1h", "--tag", tag]).out.lines().next().unwrap();
    }
    // Nobody is there to be asked.
    let refused = stack.run(&["runs", "cancel", "--tag", "a"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("Cancel every run there is with tag a? Say so by --yes"), "{}", refused.err);
    let cancel = |tag: &str| {
        stack.run(&["runs", "cancel", "--status", "delayed,queued", "--tag", tag, "--name", "stop", "--yes"])
    };
    let done = cancel("a");
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.ends_with("  COMPLETED  2 of 2 runs cancelled, 0 not\n"), "{}", done.out);
    let id = done.out.split_whitespace().next().unwrap();
    assert!(done.err.contains(&format!("oncekey runs bulk abort {id}")), "{}", done.err);
    assert_eq!(stack.run(&["runs", "bulk", "get", id]).out, done.out);
    assert_eq!(stack.run(&["runs", "bulk", "abort", id]).out, done.out);
    let listed = stack.run(&["runs", "bulk", "list"]).out;
    assert!(listed.starts_with("ACTION") && listed.contains("CANCEL  COMPLETED  2/2   0    stop"), "{listed}");
    let replayed = stack.run(&["runs", "replay", "--status", "canceled", "--task", "echo", "-y", "--json"]).json();
    assert_eq!(replayed["counts"], serde_json::json!({ "total": 2, "success": 2, "failure": 0 }));
    for wrong in [&["runs", "cancel"][..], &["runs", "replay", "run_x", "--tag", "a"]] {
        assert_eq!(stack.run(wrong).code, 2, "{wrong:?}");
    }
    let refused = stack.run(&["runs", "replay", "--status", "done", "-y"]);
    assert!(refused.code == 1 && refused.err.contains("filter.status: \"DONE\" is not a status"), "{}", refused.err);
}

#[test]
fn where_no_oncekey_is_one_is_told_how_to_start_it() {
    let refused = done(oncekey().args(["runs", "list", "--url", "http://127.0.0.1:1"]));
    assert_eq!(refused.code, 1);
    let told = "oncekey: no Oncekey at http://127.0.0.1:1: start one with `oncekey dev`";
    assert!(refused.err.starts_with(told), "{}", refused.err);
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let stack = Stack::start();
    let help = stack.run(&["--help"]);
    assert!(help.code == 0 && help.out.contains("Exit codes:"));
    assert_eq!(stack.run(&["trigger", "fail", "--wait"]).code, 3);
    assert_eq!(stack.run(&["keys", "get", "nobody", "--task", "echo"]).code, 4);
    assert_eq!(stack.run(&["keys", "reset", "nobody", "--task", "echo"]).code, 4);
    assert_eq!(stack.run(&["runs", "get", "run_nothing"]).code, 1);
    assert_eq!(stack.run(&["trigger", "echo", "no json"]).code, 2);
    assert_eq!(stack.run(&["nonsense"]).code, 2);
    assert_eq!(stack.run(&["trigger", "echo", "1", "--key", ""]).code, 2);
    let refused = stack.with_key("tr_wrong", &["runs", "list"]);
    assert_eq!((refused.code, refused.err.lines().count()), (1, 1), "{}", refused.err);
    let no_key = done(oncekey().args(["runs", "list", "--url", "https://oncekey.example.com"]));
    assert_eq!(no_key.code, 2);
    assert!(no_key.err.contains("set TRIGGER_SECRET_KEY"), "{}", no_key.err);
    let nobody = done(oncekey().args(["env", "list", "--data", "/nonexistent"]));
    assert!(nobody.code == 2 && nobody.err.contains("ONCEKEY_ENVIRONMENTS_TABLE"), "{}", nobody.err);
}

#[test]
fn runs_are_listed_shown_cancelled_replayed_and_watched() {
    let stack = Stack::start();
    let delayed = ["trigger", "echo", "1", "--delay", "1h", "--expires-in", "10m", "--tag", "a", "--json"];
    let id = stack.run(&delayed).json()["id"].clone();
    let id = id.as_str().unwrap();
    let list = stack.run(&["runs", "list", "--tag", "a", "--status", "delayed"]);
    assert!(list.out.starts_with("RUN") && list.out.contains(id), "{}", list.out);
    assert_eq!(stack.run(&["runs", "list", "--queue", "task/echo"]).out, list.out);
    assert_eq!(stack.run(&["runs", "list", "--queue", "mail"]).out, "no runs\n");
    assert_eq!(stack.run(&["runs", "cancel", id]).out.trim(), format!("{id}  CANCELED"));
    let run = stack.run(&["runs", "get", id, "--json"]).json();
    assert_eq!((&run["payload"], &run["ttl"]), (&1.into(), &"600s".into()));
    let exact = stack.run(&["trigger", "echo", "123456789012345678901234567890", "--json"]).json()["id"].clone();
    let shown = stack.run(&["runs", "get", exact.as_str().unwrap(), "--json"]).out;
    assert!(shown.contains("\"payload\":123456789012345678901234567890"), "{shown}");
    let watched = stack.run(&["runs", "watch", id]);
    assert_eq!(watched.code, 3);
    let again = stack.run(&["runs", "replay", id]);
    let watched = stack.run(&["runs", "watch", again.out.trim()]);
    assert!(watched.code == 0 && watched.out.contains("COMPLETED"), "{}", watched.out);
    let logs = stack.run(&["runs", "logs", again.out.trim(), "--follow"]);
    assert_eq!((logs.code, logs.out.as_str()), (0, ""), "{}", logs.err);
    let flaky = stack.run(&["trigger", "flaky", r#"{"failTimes":1}"#, "--wait", "--json"]).json()["id"].clone();
    let shown = stack.run(&["runs", "get", flaky.as_str().unwrap()]);
    assert!(shown.out.contains("attempt 1: Error: attempt 1 of 1 that fail"), "{}", shown.out);
    assert_eq!(stack.run(&["runs", "list", "--task", "nothing"]).out.trim(), "no runs");
}

#[test]
fn the_runs_of_a_key_are_found_whoever_holds_it_now() {
    let stack = Stack::start();
    let trigger = || stack.run(&["trigger", "fail", "-k", "order-7", "--wait", "--json"]).json_of(3)["id"].clone();
    let ids = [trigger(), trigger()];
    stack.run(&["trigger", "echo", "-k", "order-8"]);
    let found = stack.run(&["runs", "list", "--key", "order-7", "--status", "failed"]).out;
    assert_eq!(found.lines().count(), 3, "{found}");
    for id in &ids {
        let line = found.lines().find(|line| line.starts_with(id.as_str().unwrap())).unwrap();
        assert!(line.contains("order-7 (freed)"), "{line}");
    }
    let held = stack.run(&["runs", "list", "--key", "order-8"]).out;
    assert!(held.contains("order-8") && !held.contains("freed") && held.lines().count() == 2, "{held}");
    assert_eq!(stack.run(&["runs", "list", "--key", "order-9"]).out.trim(), "no runs");
    let shown = stack.run(&["runs", "get", ids[0].as_str().unwrap(), "--json"]).json();
    assert_eq!((&shown["freedIdempotencyKey"], shown.get("idempotencyKey")), (&"order-7".into(), None));
}

#[test]
fn r40_a_key_is_shown_and_reset() {
    let stack = Stack::start();
    let id = stack.run(&["trigger", "echo", "1", "-k", "a", "-k", "b", "--json"]).json()["id"].clone();
    let held = stack.run(&["keys", "get", "a", "b", "--task", "echo", "--json"]).json();
    assert_eq!((&held["runId"], &held["key"]), (&id, &Value::from("a-b")));
    let reset = stack.run(&["keys", "reset", "a", "b", "--task", "echo"]);
    assert_eq!(reset.out.trim(), "\"a-b\" in echo is free");
    let scoped = stack.run(&["keys", "reset", "a", "--task", "echo", "--scope", "run"]);
    assert!(scoped.code == 1 && scoped.err.contains("a key of scope run"), "{}", scoped.err);
}

#[test]
fn r80_a_schedule_is_created_once_for_its_key_and_changed_by_the_next() {
    let stack = Stack::start();
    let first = ["schedules", "create", "echo", "0 0 1 1 *", "--key", "k", "--timezone", "America/New_York"];
    let first = stack.run(&[&first[..], &["--external-id", "customer-7", "--skip-overlap", "--skip-missed"]].concat());
    let (id, next) = first.out.trim().split_once("  next ").unwrap();
    assert!(first.code == 0 && id.starts_with("sched_"), "{}{}", first.out, first.err);
    assert!(next.ends_with("-01-01T05:00:00.000Z"), "{next}");
    let told = stack.run(&["schedules", "get", id, "--json"]).json();
    assert_eq!((&told["task"], &told["deduplicationKey"]), (&"echo".into(), &Value::from("k")));
    assert_eq!((&told["timezone"], &told["externalId"]), (&"America/New_York".into(), &Value::from("customer-7")));
    assert_eq!((&told["onOverlap"], &told["onMissed"]), (&"skip".into(), &Value::from("skip")));

    let again = stack.run(&["schedules", "create", "echo", "@daily", "--key", "k", "--json"]).json();
    assert_eq!((&again["id"], &again["generator"]["expression"]), (&id.into(), &Value::from("@daily")));
    assert_eq!((&again["timezone"], again.get("externalId")), (&"UTC".into(), None));
    assert_eq!((&again["onOverlap"], &again["onMissed"]), (&"run".into(), &Value::from("run-once")));
    assert_eq!(stack.run(&["schedules", "list", "--json"]).out.lines().count(), 1);
}

#[test]
fn r130_a_trigger_of_a_task_that_no_worker_has_declared_says_so() {
    let stack = Stack::start();
    let manifest = stack.file("manifest.json", r#"{"tasks":[{"id":"digest"}]}"#);
    assert_eq!(stack.run(&["workers", "declare", "mail", &format!("@{manifest}")]).code, 0);
    let warned = stack.run(&["trigger", "digset"]);
    assert!(warned.code == 0 && warned.out.contains("created"), "{}", warned.err);
    assert!(warned.err.starts_with("oncekey: no worker has declared the task digset in local/dev"), "{}", warned.err);
    assert_eq!(stack.run(&["trigger", "digest"]).err, "");
    assert_eq!(stack.run(&["trigger", "echo"]).err, "");
}

#[test]
fn r97_a_worker_is_declared_listed_and_removed_with_its_schedules() {
    let stack = Stack::start();
    let listed = stack.run(&["workers", "list"]).out;
    assert!(listed.lines().any(|line| line.starts_with("dev ") && line.contains("  echo  ")), "{listed}");
    let manifest = r#"{"tasks": [{"id": "echo", "cron": {"pattern": "@daily"}}, {"id": "fail", "queue": "mail"}]}"#;
    let declared = stack.run(&["workers", "declare", "mine", manifest]);
    assert_eq!(declared.out.trim(), "mine  deployment 1  2 tasks, 1 by a schedule", "{}", declared.err);
    let listed = stack.run(&["workers", "list"]).out;
    let cells =
        |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("|");
    let mine: Vec<_> = listed.lines().filter(|line| line.starts_with("mine")).map(cells).collect();
    assert!(mine[0].starts_with("mine|echo|-|@daily|UTC|") && mine[1].starts_with("mine|fail|mail|-|-|"), "{mine:?}");
    let schedules = stack.run(&["schedules", "list", "--json"]).json();
    assert_eq!((&schedules["declaredBy"], &schedules["type"]), (&"mine".into(), &Value::from("DECLARATIVE")));
    let id = schedules["id"].as_str().unwrap();
    let refused = stack.run(&["schedules", "delete", id]);
    assert!(
        refused.code == 1 && refused.err.contains("is declared by the code of echo in worker mine"),
        "{}",
        refused.err
    );
    let shown = stack.run(&["schedules", "get", id]).out;
    assert!(shown.contains("declared by  mine") && !shown.contains("key "), "{shown}");
    assert_eq!(stack.run(&["workers", "remove", "mine"]).out.trim(), "mine is removed");
    assert_eq!(stack.run(&["schedules", "list"]).out.trim(), "no schedules");
    let wrong = stack.run(&["workers", "declare", "mine", r#"{"tasks": [{"name": "echo"}]}"#]);
    assert!(wrong.code == 2 && wrong.err.contains("this is no manifest: missing field `id`"), "{}", wrong.err);
}

#[test]
fn r83_schedules_are_listed_shown_stopped_started_and_deleted() {
    let stack = Stack::start();
    assert_eq!(stack.run(&["schedules", "list"]).out.trim(), "no schedules");
    let created = stack.run(&["schedules", "create", "echo", "0 9 * * 1-5", "-k", "a\u{1b}b", "--json"]).json();
    let (id, next) = (created["id"].as_str().unwrap(), created["nextRun"].as_str().unwrap());
    let list = stack.run(&["schedules", "list"]);
    let (head, row) = list.out.split_once('\n').unwrap();
    assert!(head.starts_with("SCHEDULE") && row.starts_with(id) && row.trim().ends_with(next), "{}", list.out);
    assert!(row.contains("0 9 * * 1-5") && row.contains("a\\u{1b}b"), "{row:?}");
    let shown = stack.run(&["schedules", "get", id]).out;
    let has = |name: &str, value: &str| shown.lines().any(|line| line == format!("{name:<12} {value}"));
    assert!(has("schedule", id) && has("cron", "0 9 * * 1-5") && has("time zone", "UTC"), "{shown}");
    assert!(has("on overlap", "run") && has("on missed", "run-once") && has("next", next), "{shown}");

    assert_eq!(stack.run(&["schedules", "deactivate", id]).out.trim(), format!("{id}  stopped"));
    assert!(stack.run(&["schedules", "list"]).out.trim().ends_with("stopped"));
    assert_eq!(stack.run(&["schedules", "activate", id]).out.trim(), format!("{id}  next {next}"));
    assert_eq!(stack.run(&["runs", "list", "--schedule", id]).out.trim(), "no runs");
    assert_eq!(stack.run(&["schedules", "delete", id]).out.trim(), format!("{id} is deleted"));
    for gone in ["get", "activate", "deactivate", "delete"].map(|command| stack.run(&["schedules", command, id])) {
        assert!(gone.code == 1 && gone.err.contains("there is no schedule"), "{}", gone.err);
    }
}

#[test]
fn what_no_schedule_can_be_made_of_is_refused_in_one_line() {
    let stack = Stack::start();
    let create = |cron, more: &[&str]| stack.run(&[&["schedules", "create", "echo", cron], more].concat());
    let refused = create("every day", &["--key", "k"]);
    assert!(refused.code == 1 && refused.err.starts_with("oncekey: cron: \"every day\" is no cron"), "{}", refused.err);
    let nowhere = create("@daily", &["--key", "k", "--timezone", "Mars/Olympus"]);
    assert!(nowhere.code == 1 && nowhere.err.contains("is no time zone"), "{}", nowhere.err);
    assert_eq!((create("@daily", &[]).code, create("@daily", &["--key", ""]).code), (2, 2));
    assert_eq!(stack.run(&["runs", "list", "--schedule", "nonsense"]).code, 1);
}

#[test]
fn r109_queues_are_listed_paused_and_limited() {
    let stack = Stack::start();
    let list = stack.run(&["queues", "list"]).out;
    assert!(list.lines().next().unwrap().starts_with("QUEUE") && list.contains("task/echo"), "{list}");
    let limited = stack.run(&["queues", "limit", "task/echo", "3"]);
    assert_eq!((limited.code, limited.out.trim()), (0, "task/echo  limit 3 (declared -)  0 execute, 0 wait  active"));
    let paused = stack.run(&["queues", "pause", "task/echo", "--json"]).json();
    assert_eq!((&paused["paused"], &paused["concurrencyLimit"]), (&Value::from(true), &Value::from(3)));
    assert!(stack.run(&["queues", "resume", "task/echo"]).out.trim().ends_with("active"));
    assert_eq!(
        stack.run(&["queues", "limit", "task/echo", "--reset"]).out.trim(),
        "task/echo  limit -  - execute, 0 wait  active"
    );
    let all = stack.run(&["queues", "pause", "--all"]);
    assert_eq!(all.out.trim(), "all queues are paused: nothing starts from five seconds from now");
    assert_eq!(stack.run(&["queues", "resume", "--all"]).code, 0);
    let none = stack.run(&["queues", "get", "nowhere"]);
    assert!(none.code == 1 && none.err.contains("there is no queue nowhere in local/dev"), "{}", none.err);
    let wrong =
        [&["queues", "limit", "task/echo"][..], &["queues", "limit", "task/echo", "100001"], &["queues", "pause"]];
    assert!(wrong.into_iter().all(|wrong| stack.run(wrong).code == 2));
}

#[test]
fn r94_a_token_is_created_once_for_its_key() {
    let stack = Stack::start();
    let create = ["tokens", "create", "--key", "k", "--key-ttl", "1h", "--timeout", "2d", "--tag", "a", "--tag", "b"];
    let first = stack.run(&create);
    let (id, url) = first.out.trim().split_once("  created  ").unwrap();
    assert!(first.code == 0 && id.starts_with("waitpoint_"), "{}{}", first.out, first.err);
    assert!(url.starts_with(&format!("{}/api/v1/waitpoints/tokens/{id}/callback?", stack.url)), "{url}");
    let again = stack.run(&["tokens", "create", "-k", "k"]);
    assert_eq!(again.out.trim(), format!("{id}  cached  {url}"));
    let told = stack.run(&["tokens", "get", id, "--json"]).json();
    assert_eq!((&told["tags"], &told["idempotencyKey"]), (&serde_json::json!(["a", "b"]), &Value::from("k")));
    let millis = |name: &str| oncekey_client::Timestamp::parse(told[name].as_str().unwrap()).unwrap().millis();
    assert_eq!(millis("timeoutAt") - millis("createdAt"), 2 * 86_400_000);
    assert_eq!(millis("idempotencyKeyExpiresAt") - millis("createdAt"), 3_600_000);
    assert_eq!(stack.run(&["tokens", "list", "--json"]).out.lines().count(), 1);
}

#[test]
fn r92_tokens_are_listed_shown_and_completed() {
    let stack = Stack::start();
    assert_eq!(stack.run(&["tokens", "list"]).out.trim(), "no tokens");
    let older = stack.run(&["tokens", "create", "--json"]).json()["id"].clone();
    let made = stack.run(&["tokens", "create", "-k", "k\u{202e}b", "--tag", "a\u{1b}b", "--tag", "c", "--json"]).json();
    let (id, older) = (made["id"].as_str().unwrap(), older.as_str().unwrap());
    let list = stack.run(&["tokens", "list"]).out;
    let [head, row, last] = list.lines().collect::<Vec<_>>()[..] else { panic!("{list}") };
    assert!(head.starts_with("TOKEN") && row.starts_with(id) && last.starts_with(older), "{list}");
    assert!(row.contains("  WAITING  a\\u{1b}b, c  k\\u{202e}b  2"), "{row:?}");
    let get = || {
        let shown = stack.run(&["tokens", "get", id]).out;
        move |name: &str, value: &str| shown.lines().any(|line| line == format!("{name:<12} {value}"))
    };
    let has = get();
    assert!(has("token", id) && has("status", "WAITING") && has("tags", "a\\u{1b}b, c") && has("key", "k\\u{202e}b"));

    let completed = stack.run(&["tokens", "complete", id, "[123456789012345678901234567890, \"d\u{9b}e\"]"]);
    assert_eq!(completed.out.trim(), format!("{id}  COMPLETED"), "{}", completed.err);
    let has = get();
    assert!(has("status", "COMPLETED") && has("output", "[") && has("", "  123456789012345678901234567890,"));
    assert!(has("", "  \"d\\u{9b}e\"") && has("", "]"));
    let file = stack.file("data.json", "[123456789012345678901234567890, \"d\u{9b}e\"]");
    let again = stack.run(&["tokens", "complete", id, &format!("@{file}")]);
    assert_eq!(again.out.trim(), format!("{id}  COMPLETED"));
    let late = stack.run(&["tokens", "complete", id, "1"]);
    assert_eq!(
        (late.code, late.out.trim()),
        (0, &*format!("{id}  COMPLETED  it had ended before: nothing was changed"))
    );

    let listed = |arguments: &[&str]| {
        let done = stack.run(&[&["tokens", "list", "--json"], arguments].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let ids = done.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone());
        ids.map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--status", "waiting"]), [older]);
    assert_eq!(listed(&["--status", "completed,timed_out"]), [id]);
    assert_eq!((listed(&["--tag", "c"]), listed(&["-n", "1"])), (vec![id.to_owned()], vec![id.to_owned()]));
    let none = stack.run(&["tokens", "complete", older, "--json"]).json();
    assert_eq!((&none["status"], none.get("output")), (&"COMPLETED".into(), None));
}

#[test]
fn what_no_token_is_or_can_be_is_refused_in_one_line() {
    let stack = Stack::start();
    let id = stack.run(&["tokens", "create", "--json"]).json()["id"].clone();
    let nowhere = "waitpoint_00000000000000000000000000000000";
    for (code, why, arguments) in [
        (1, "oncekey: timeout: give a span", &["create", "--timeout", "soon"][..]),
        (1, "oncekey: idempotencyKeyTTL: \"5x\" is not", &["create", "--key", "k", "--key-ttl", "5x"]),
        (1, "oncekey: filter[status]: \"DONE\" is not a status", &["list", "--status", "done"]),
        (1, "oncekey: there is no wait token", &["get", nowhere]),
        (1, "oncekey: there is no wait token", &["complete", nowhere, "1"]),
        (2, "oncekey: the data is not JSON", &["complete", id.as_str().unwrap(), "yes"]),
    ] {
        let refused = stack.run(&[&["tokens"], arguments].concat());
        assert_eq!((refused.code, refused.err.lines().count()), (code, 1), "{}", refused.err);
        assert!(refused.err.starts_with(why), "{}", refused.err);
    }
    assert_eq!(stack.run(&["tokens", "create", "--key", ""]).code, 2);
    assert_eq!(stack.run(&["tokens", "list", "--status", "waiting", "--json"]).out.lines().count(), 1);
}

#[test]
fn r55_lines_that_ran_are_found_again_and_a_mended_one_runs() {
    let stack = Stack::start();
    let runs = || stack.run(&["runs", "list", "--limit", "100", "--json"]).out.lines().count();
    let (good, wrong) = ("{\"task\": \"echo\", \"payload\": 1}\n", "{\"task\": \"no task\", \"payload\": 2}\n");
    let mended = wrong.replace("no task", "echo");
    for key in [&[][..], &["--key", "other"]] {
        let batch = |name: &str, text: String| {
            let file = stack.file(name, &text);
            let done = stack.run(&[&["batch", file.as_str(), "--json"], key].concat());
            (done.code, serde_json::from_str::<Value>(&done.out).unwrap()["triggered"].clone())
        };
        let before = runs();
        // Two equal lines are two runs.
        let first = batch("first.ndjson", [good, wrong, good].concat());
        assert_eq!((first, runs() - before), ((1, 2.into()), 2));
        let second = batch("second.ndjson", [&mended, good, good].concat());
        assert_eq!((second, runs() - before), ((0, 3.into()), 3));
    }
}

#[test]
fn a_batch_of_lines_is_as_many_batches_as_it_takes() {
    let stack = Stack::start();
    let line = |n: u32| format!("{{\"payload\": {n}}}\n");
    let file = stack.file("lines.ndjson", &(0..1_200).map(line).collect::<String>());
    let first = stack.run(&["batch", &file, "--task", "echo", "--json"]).json();
    assert_eq!((&first["lines"], &first["triggered"]), (&1_200.into(), &1_200.into()));
    assert_eq!(first["batches"].as_array().unwrap().len(), 2);

    let bad = stack.file("bad.ndjson", "{\"task\": \"echo\"}\n\n{\"payload\": 1}\n");
    let refused = stack.run(&["batch", &bad]);
    assert!(refused.code == 2 && refused.err.contains("line 3: it names no task"), "{}", refused.err);
    let partly = stack.file("partly.ndjson", "{\"task\": \"echo\"}\n{\"task\": \"no task\"}\n");
    let partly = stack.run(&["batch", &partly]);
    assert!(partly.code == 1 && partly.out.starts_with("line 2: no task: "), "{}", partly.out);
}

#[test]
fn environments_are_created_and_their_keys_rotated_and_revoked() {
    let stack = Stack::start();
    let created = stack.env(&["create", "acme/prod", "--json"]).json();
    let first = created["apiKey"].as_str().unwrap();
    assert_eq!(created["oncekey"], stack.url.as_str());
    let told = stack.env(&["create", "acme/told"]).out;
    assert!(told.contains(&format!("It opens {}.", stack.url)), "{told}");
    assert_eq!(stack.with_key(first, &["trigger", "echo"]).code, 0);
    assert_eq!(stack.env(&["create", "acme/prod"]).code, 1);
    assert_eq!(stack.env(&["create", "Acme"]).code, 2);

    let rotated = stack.env(&["rotate", "acme/prod", "--json"]).json();
    let second = rotated["apiKey"].as_str().unwrap();
    for key in [first, second] {
        let runs = stack.with_key(key, &["runs", "list", "--json"]);
        assert_eq!((runs.code, runs.out.lines().count()), (0, 1));
    }
    let list = stack.env(&["list"]);
    assert!(!list.out.contains(first) && !list.out.contains(second), "{}", list.out);
    assert!(list.out.contains("tr_prod_…") && list.out.contains("until 2"), "{}", list.out);
    let third = stack.env(&["rotate", "acme/prod", "--overlap", "0s", "--json"]).json();
    let name = stack.env(&["list", "--json"]).out;
    let live: Vec<Value> = name.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let live: Vec<&Value> =
        live.iter().filter(|key| key["environment"] == "acme/prod" && key["live"] == true).collect();
    let [live] = live.as_slice() else { panic!("{name}") };
    assert!(third["apiKey"].as_str().unwrap().ends_with(live["hint"].as_str().unwrap().rsplit('…').next().unwrap()));
    let revoked = stack.env(&["revoke", "acme/prod", live["key"].as_str().unwrap()]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    // Never seen by the stack, so not remembered either.
    assert_eq!(stack.with_key(third["apiKey"].as_str().unwrap(), &["runs", "list"]).code, 1);
    assert_eq!(stack.env(&["revoke", "acme/prod", "nothing"]).code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_on_aws_is_found_by_its_name() {
    let stack = Stack::start();
    let endpoints = std::fs::read_to_string(stack.folder.path().join("endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_str(&endpoints).unwrap();
    let on_aws = |name: &str| {
        done(oncekey().args(["env", "create", "acme/prod", "--stack", name]).envs([
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoints["dynamodb"].as_str().unwrap()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]))
    };
    // The tables of this machine are not named as CloudFormation names them.
    let nobody = on_aws("oncekey");
    assert_eq!(nobody.code, 1, "{}", nobody.out);
    let told = "there is no stack oncekey of Oncekey in eu-central-1";
    assert!(nobody.err.contains(told), "{}", nobody.err);

    let credentials = aws_sdk_dynamodb::config::Credentials::for_tests();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_dynamodb::config::Region::from_static("eu-central-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoints["dynamodb"].as_str().unwrap())
        .build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    for name in ["oncekey-EnvironmentsTable-1A", "other-EnvironmentsTable-1A", "other-EnvironmentsTable-2B"] {
        use aws_sdk_dynamodb::types::{
            AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
        };
        let of_text = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
        let hash = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
        let create = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        let create = create.attribute_definitions(of_text.build().unwrap()).key_schema(hash.build().unwrap());
        create.send().await.unwrap();
    }
    let created = on_aws("oncekey");
    assert!(created.out.contains("It opens the stack oncekey in eu-central-1."), "{}{}", created.out, created.err);
    let unclear = on_aws("other");
    assert!(unclear.err.contains("several tables of environments in eu-central-1"), "{}", unclear.err);
}

#[test]
fn completions_are_printed() {
    let script = done(oncekey().args(["completions", "bash"]));
    assert!(script.code == 0 && script.out.contains("_oncekey"));
}

#[cfg(unix)]
#[test]
fn tasks_that_cannot_be_run_are_told_in_one_line() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let dev = |node: &str, tasks: &str| {
        let cache = folder.path().join("cache");
        let arguments = ["dev", "--memory", "--port", "0", "--tasks", tasks];
        let failed = done(oncekey().env("ONCEKEY_NODE", node).env("XDG_CACHE_HOME", cache).args(arguments));
        assert_eq!((failed.code, failed.err.lines().count()), (1, 1), "{}", failed.err);
        failed.err
    };
    let here = folder.path().to_str().unwrap();
    let none = dev("/no/such/node", here);
    assert!(none.starts_with("oncekey: there is no Node: /no/such/node: "), "{none}");
    let stand_in = folder.path().join("node");
    for (version, why) in
        [("v18.20.4", "is Node v18.20.4, which is too old"), ("hello", "does not say which Node it is")]
    {
        std::fs::write(&stand_in, format!("#!/bin/sh\necho {version}\n")).unwrap();
        std::fs::set_permissions(&stand_in, PermissionsExt::from_mode(0o755)).unwrap();
        let told = dev(stand_in.to_str().unwrap(), here);
        assert!(told.contains(why) && told.contains("need Node 20 or newer"), "{told}");
    }
    std::fs::write(&stand_in, "#!/bin/sh\necho v22.1.0\n").unwrap();
    let nowhere = dev(stand_in.to_str().unwrap(), "/no/such/folder");
    assert!(nowhere.starts_with("oncekey: --tasks /no/such/folder: "), "{nowhere}");
}
