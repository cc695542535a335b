//! A Lambda function's process, ours or a peer's: what it takes to start, and what an event costs in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oncekey_core::Settings;
use oncekey_core::queue::QueueUrls;
use oncekey_core::queue::name::QueueName;
use oncekey_core::store::TableNames;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::meter::{Count, Meter};
use crate::process::{cpu, memory_kb};
use crate::runtime::Runtime;
use crate::server::Server;

/// Starts of each function.
const STARTS: usize = 30;
/// Events of each kind that a function is measured with.
pub(crate) const EVENTS: usize = 3_000;
/// Items of the batch that is measured: as many as one may have.
pub(crate) const BATCH: usize = 1_000;
/// Events of each kind whose calls are counted.
const COUNTED: usize = 100;

/// A function: the program that asks Lambda's runtime API for events.
pub(crate) struct Function {
    pub name: String,
    program: PathBuf,
    arguments: Vec<&'static str>,
    folder: PathBuf,
}

impl Function {
    /// One that is a program itself, in a folder of its own.
    pub(crate) fn bootstrap(name: &str, folder: &Path) -> Self {
        Self::run_by(folder.join("bootstrap"), &[], folder, name)
    }

    /// One in `folder` that a language's runtime client runs.
    pub(crate) fn run_by(program: PathBuf, arguments: &[&'static str], folder: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), program, arguments: arguments.to_vec(), folder: folder.to_owned() }
    }

    /// The same by another name.
    pub(crate) fn called(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The bytes of its program.
    pub(crate) fn size(&self) -> u64 {
        std::fs::metadata(&self.program).unwrap().len()
    }

    fn start(&self, runtime: &str, dynamodb: &str, sqs: &str) -> Running {
        let queue = |name: &str| format!("{sqs}/000000000000/oncekey-{name}");
        let table = |name: &str| format!("oncekey-{name}");
        let settings = Settings {
            tables: TableNames { keys: table("keys"), runs: table("runs"), environments: table("environments") },
            queues: QueueUrls {
                runs: BTreeMap::from([(QueueName::default(), queue("runs"))]),
                of_task: BTreeMap::new(),
                runs_dead_letter: queue("runs-dead"),
                triggers: queue("triggers"),
                triggers_dead_letter: queue("triggers-dead"),
                completions: queue("completions"),
                completions_dead_letter: queue("completions-dead"),
            },
            schedules: None,
            bucket: "oncekey".to_owned(),
            public_url: None,
        };
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("LAMBDA_TASK_ROOT", &self.folder)
            .envs(self.arguments.last().map(|handler| ("_HANDLER", handler)))
            .env("AWS_LAMBDA_RUNTIME_API", runtime)
            .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
            .env("AWS_ENDPOINT_URL_SQS", sqs)
            .env("ONCEKEY_STACK", "bench")
            .envs(settings.to_env())
            .stdout(Stdio::null())
            .spawn();
        Running(child.unwrap_or_else(|error| panic!("{}: {error}", self.program.display())))
    }
}

/// A function's process; killed when this goes.
struct Running(Child);

impl Running {
    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Counts who connects.
async fn counting() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, count)
}

/// How long a function takes from its process's start to its first request for work, in order; and its memory in MB.
pub(crate) async fn start_times(function: &Function) -> (Vec<Duration>, f64) {
    let (mut times, mut memory) = (Vec::new(), 0);
    let (url, calls) = counting().await;
    for _ in 0..STARTS {
        let mut runtime = Runtime::start().await;
        let start = Instant::now();
        let running = function.start(&runtime.address, &url, &url);
        times.push(runtime.asked().await - start);
        memory = memory.max(memory_kb(running.pid(), "VmHWM:"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0, "{} called AWS before its first event", function.name);
    times.sort_unstable();
    (times, memory as f64 / 1024.0)
}

/// A trigger as the HTTP API hands it over.
fn event(key: &str) -> Value {
    let body = json!({ "payload": { "n": key }, "options": { "idempotencyKey": key, "delay": LATER } });
    post("/api/v1/tasks/{proxy+}", "/api/v1/tasks/nobody-runs-this/trigger", body.to_string())
}

/// In a year, so that no worker takes CPU from what is measured.
const LATER: &str = "364d";

fn post(route: &str, path: &str, body: String) -> Value {
    json!({
        "version": "2.0",
        "routeKey": format!("POST {route}"),
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "authorization": "Bearer tr_dev_local", "content-type": "application/json", "host": "bench" },
        "requestContext": {
            "accountId": "000000000000", "apiId": "bench", "domainName": "bench", "stage": "$default", "timeEpoch": 0,
            "http": { "method": "POST", "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": "bench" },
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// What triggers cost: CPU and wall time in milliseconds, and calls, of a new key and of one that is held.
pub(crate) struct TriggerCost {
    pub unique: (f64, f64),
    pub duplicate: (f64, f64),
    pub calls: [Count; 2],
    pub memory_mb: f64,
}

/// The cost of one event in a function's process: the runtime's loop included, AWS's side excluded from CPU.
pub(crate) async fn trigger_cost(function: &Function, server: &Server) -> TriggerCost {
    let mut runtime = Runtime::start().await;
    let running = function.start(&runtime.address, &server.dynamodb, &server.sqs);
    let mut costs = Vec::new();
    // The first are to warm up.
    for (of, duplicate) in [("warm", false), ("new", false), ("new", true)] {
        let (before, start) = (cpu(running.pid()), Instant::now());
        for n in 0..EVENTS {
            let key = format!("{of}-{}", if duplicate { n % 100 } else { n });
            check(&runtime.invoke(event(&key)).await, duplicate);
        }
        let each = |span: Duration| span.as_secs_f64() * 1e3 / EVENTS as f64;
        costs.push((each(cpu(running.pid()) - before), each(start.elapsed())));
    }
    let memory_mb = memory_kb(running.pid(), "VmHWM:") as f64 / 1024.0;
    drop(running);
    TriggerCost { unique: costs[1], duplicate: costs[2], calls: calls(function, server).await, memory_mb }
}

/// The CPU of a batch of [`BATCH`] items with a key each, all new.
pub(crate) async fn batch_cost(function: &Function, server: &Server) -> Duration {
    let mut runtime = Runtime::start().await;
    let running = function.start(&runtime.address, &server.dynamodb, &server.sqs);
    check(&runtime.invoke(event("before-the-batch")).await, false);
    let before = cpu(running.pid());
    let made =
        runtime.invoke(post("/api/v3/batches", "/api/v3/batches", json!({ "runCount": BATCH }).to_string())).await;
    let batch: Value = serde_json::from_str(made["body"].as_str().unwrap_or_default()).unwrap_or_default();
    let item = |index: usize| {
        let options = json!({ "idempotencyKey": format!("item-{index}"), "delay": LATER });
        json!({ "index": index, "task": "nobody-runs-this", "payload": { "n": index }, "options": options }).to_string()
    };
    let lines: Vec<String> = (0..BATCH).map(item).collect();
    let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap_or_else(|| panic!("{made}")));
    let mut event = post("/api/v3/batches/{id}/items", &path, lines.join("\n"));
    event["headers"]["content-type"] = json!("application/x-ndjson");
    let answer = runtime.invoke(event).await;
    let sealed: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default();
    assert_eq!((&sealed["itemsAccepted"], &sealed["sealed"]), (&json!(BATCH), &json!(true)), "{answer}");
    cpu(running.pid()) - before
}

/// What a function asks of AWS for a new key, and for one that is held.
async fn calls(function: &Function, server: &Server) -> [Count; 2] {
    let meter = Meter::default();
    let (dynamodb, sqs) = (meter.before(&server.dynamodb).await, meter.before(&server.sqs).await);
    let mut runtime = Runtime::start().await;
    let _running = function.start(&runtime.address, &dynamodb, &sqs);
    check(&runtime.invoke(event("first")).await, false);
    let _of_the_first = meter.take();
    let mut counts = [Count::default(); 2];
    for (count, duplicate) in counts.iter_mut().zip([false, true]) {
        for n in 0..COUNTED {
            check(&runtime.invoke(event(&format!("counted-{n}"))).await, duplicate);
        }
        *count = meter.take().per(COUNTED);
    }
    assert!(counts[1].write_units < counts[0].write_units, "{} does its work for a duplicate too", function.name);
    counts
}

/// The peers' answers are alike for a new key and for one that is held.
fn check(answer: &Value, duplicate: bool) {
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body = answer["body"].as_str().unwrap_or_default();
    assert!(body.contains("\"done\":") || body.contains(&format!("\"isCached\":{duplicate}")), "{answer}");
}
