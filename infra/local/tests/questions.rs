//! R134: what somebody asks who is new to a run, each question answered over HTTP, on a page and on the command line.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::time::Duration;

use oncekey::{Lines, Options, Stack};
use oncekey_worker::{Child, Context, Task, TaskError, Worker};
use reqwest::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use serde_json::{Value, json};
use tokio::process::Command;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const API_KEY: &str = "tr_dev_local";

/// `order` has `charge` fail twice, and then waits for `ship`, which waits for an hour.
fn worker() -> Worker {
    let charge = Task::new("charge", |ctx: Context, _: Value| async move {
        tracing::info!("asking the bank");
        let why = if ctx.attempt() == 1 { "the bank is closed" } else { "no such card" };
        Err::<(), _>(TaskError::new(why).retry_after(Duration::ZERO))
    });
    let ship = Task::new("ship", |ctx: Context, _: Value| async move {
        ctx.wait_for(Duration::from_secs(3600)).await?;
        Ok(())
    });
    let order = Task::new("order", |ctx: Context, _: Value| async move {
        let charged = ctx.trigger_and_wait::<Value>(Child::new("charge", 42)).await;
        assert!(charged.is_err());
        ctx.trigger_and_wait::<Value>(Child::new("ship", 42)).await?;
        Ok(())
    });
    Worker::new().task(charge.max_attempts(2)).task(ship).task(order)
}

/// Somebody who asks in three ways.
struct Asker {
    stack: Stack,
    http: reqwest::Client,
    cookie: String,
}

impl Asker {
    async fn start() -> Self {
        let lines = Lines::default();
        tracing_subscriber::registry().with(lines.clone()).with(LevelFilter::INFO).init();
        let stack = Stack::start_with(Options { lines, ..Options::in_memory() }, worker()).await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut asker = Self { stack, http, cookie: String::new() };
        let form = asker.http.get(asker.url("/sign-in")).send().await.unwrap();
        asker.keep(&form);
        let signed_in = asker.send("/sign-in", &[("key", API_KEY)]).await;
        asker.keep(&signed_in);
        asker
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.stack.url())
    }

    fn keep(&mut self, answer: &reqwest::Response) {
        let set = answer.headers()[SET_COOKIE].to_str().unwrap();
        self.cookie = set.split(';').next().unwrap().to_owned();
    }

    async fn page(&self, path: &str) -> String {
        let page = self.http.get(self.url(path)).header(COOKIE, &self.cookie).send().await.unwrap();
        page.text().await.unwrap()
    }

    /// Sends the form of a page.
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let page = self.page(path).await;
        let token = page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let all = fields.iter().copied().chain([("token", token)]);
        let body: Vec<String> = all.map(|(name, value)| format!("{name}={}", value.replace('=', "%3D"))).collect();
        let request = self.http.post(self.url(path)).header(COOKIE, &self.cookie).body(body.join("&"));
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(self.url(path)).bearer_auth(API_KEY).send().await.unwrap().json().await.unwrap()
    }

    /// What a command prints, in one line.
    async fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncekey"));
        command.args(arguments).env("TRIGGER_API_URL", self.stack.url()).env("TRIGGER_SECRET_KEY", API_KEY);
        let done = command.output().await.unwrap();
        String::from_utf8(done.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    async fn trigger_order(&self) -> Value {
        let body = json!({ "options": { "idempotencyKey": "order-42", "idempotencyKeyTTL": "1h" } });
        let request = self.http.post(self.url("/api/v1/tasks/order/trigger")).bearer_auth(API_KEY);
        request.body(body.to_string()).send().await.unwrap().json().await.unwrap()
    }

    /// The newest run of a task, once it stands so, as all three show it.
    async fn shown(&self, task: &str, status: &str) -> Shown {
        loop {
            let found = self.get(&format!("/api/v1/runs?filter[taskIdentifier]={task}&filter[status]={status}")).await;
            if let Some(id) = found["data"][0]["id"].as_str() {
                return Shown {
                    api: self.get(&format!("/api/v3/runs/{id}")).await,
                    page: self.page(&format!("/runs/{id}")).await,
                    command: self.command(&["runs", "get", id]).await,
                    id: id.to_owned(),
                };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A run over HTTP, on its page and on the command line.
struct Shown {
    id: String,
    api: Value,
    page: String,
    command: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn r134_what_somebody_asks_of_a_run_is_answered_over_http_on_a_page_and_on_the_command_line() {
    let asker = Asker::start().await;
    let first = asker.trigger_order().await;
    let ship = asker.shown("ship", "WAITING").await;
    let order = asker.shown("order", "WAITING").await;
    let charge = asker.shown("charge", "FAILED").await;

    let log = asker.get(&format!("/api/v1/runs/{}/logs", charge.id)).await;
    let log_command = asker.command(&["runs", "logs", &charge.id]).await;
    let again = asker.trigger_order().await;
    let again_page = [("task", "order"), ("key", "order-42"), ("request", "again"), ("payload", "")];
    let again_page = asker.send("/try", &again_page).await.text().await.unwrap();
    let again_command = asker.command(&["trigger", "order", "--key", "order-42"]).await;

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let due = text(&ship.api["waitingFor"]["until"]);
    let held = text(&first["idempotency"]["windowEndsAt"]);
    let link = |run: &Shown| format!("href=\"/runs/{}\"", run.id);

    // The question, and then where its answer is and what it is: over HTTP, on a page, on the command line.
    let table = [
        (
            "why did it fail?",
            (&charge.api, "/error/message", "no such card"),
            (&charge.page, "<h2>Error</h2><pre>no such card</pre>".to_owned()),
            (&charge.command, "error no such card".to_owned()),
        ),
        (
            "on which attempt, and why on the one before?",
            (&charge.api, "/attempts/1/error/message", "no such card"),
            (&charge.page, "attempt 2 of 2".to_owned()),
            (&charge.command, "attempts 2 failed attempt 1: Error: the bank is closed".to_owned()),
        ),
        (
            "what did it log?",
            (&log, "/data/1/text", "asking the bank"),
            (&charge.page, ">asking the bank</span>".to_owned()),
            (&log_command, "info asking the bank".to_owned()),
        ),
        (
            "what is it waiting for?",
            (&order.api, "/waitingFor/runs/0/id", &ship.id),
            (&order.page, format!("Waits for ship <a class=\"id\" {}", link(&ship))),
            (&order.command, format!("waits for ship ({})", ship.id)),
        ),
        (
            "until when?",
            (&ship.api, "/waitingFor/until", &due),
            (&ship.page, format!("Waits until <time datetime=\"{due}\"")),
            (&ship.command, format!("waits until {due}")),
        ),
        (
            "who triggered it?",
            (&charge.api, "/relatedRuns/parent/id", &order.id),
            (&charge.page, format!("<dt>Parent</dt><dd><a class=\"id\" {}", link(&order))),
            (&charge.command, format!("triggered by order ({})", order.id)),
        ),
        (
            "what did it trigger?",
            (&order.api, "/relatedRuns/children/0/id", &charge.id),
            (&order.page, format!("<a class=\"label\" {}", link(&charge))),
            (&order.command, format!("children {} charge FAILED", charge.id)),
        ),
        (
            "which key has it?",
            (&order.api, "/idempotencyKey", "order-42"),
            (&order.page, "<dt>Key</dt><dd><code>order-42</code>".to_owned()),
            (&order.command, "key order-42".to_owned()),
        ),
        (
            "held until when?",
            (&order.api, "/idempotencyKeyExpiresAt", &held),
            (&order.page, format!("until <time datetime=\"{held}\"")),
            (&order.command, format!("key order-42, held until {held}")),
        ),
        (
            "why is this trigger a duplicate?",
            (&again, "/idempotency/status", "cached"),
            (&again_page, "A run holds the key: this is its handle, and nothing new runs.".to_owned()),
            (&again_command, format!("{} cached \"order-42\" until {held}", order.id)),
        ),
    ];
    for (asked, (api, pointer, answer), (page, on_page), (printed, in_print)) in table {
        assert_eq!(api.pointer(pointer), Some(&json!(answer)), "{asked} {api:#}");
        assert!(page.contains(&on_page), "{asked} {on_page} is not on {page}");
        assert!(printed.contains(&in_print), "{asked} {in_print} is not in {printed}");
    }
}
