//! The Lambda functions' own cost, as built for Lambda, against a stub of its runtime API: from the start of the process to
//! its first request for work, memory, and the CPU of a trigger.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use crate::process::{cpu, memory_kb};
use crate::server::Server;

/// Starts of each function.
const STARTS: usize = 30;
/// Events of each kind that the trigger function is measured with.
const EVENTS: usize = 3_000;

/// What the stub of the runtime API hands out, and what it is told.
struct Stub {
    events: Mutex<mpsc::Receiver<Value>>,
    asked: mpsc::Sender<Instant>,
    answers: mpsc::Sender<Value>,
}

/// The other ends.
struct Runtime {
    address: String,
    events: mpsc::Sender<Value>,
    asked: mpsc::Receiver<Instant>,
    answers: mpsc::Receiver<Value>,
}

impl Runtime {
    async fn start() -> Self {
        let (events, to_hand_out) = mpsc::channel(1);
        let (asking, asked) = mpsc::channel(64);
        let (answering, answers) = mpsc::channel(64);
        let stub = Arc::new(Stub { events: Mutex::new(to_hand_out), asked: asking, answers: answering });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{what}", post(answer))
            .with_state(stub);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, events, asked, answers }
    }
}

async fn next(State(stub): State<Arc<Stub>>) -> impl IntoResponse {
    let _ = stub.asked.try_send(Instant::now());
    // A function that was killed while it waited leaves its wait to the next one.
    let event = stub.events.lock().await.recv().await;
    let headers = [
        ("lambda-runtime-aws-request-id", "00000000-0000-0000-0000-000000000000"),
        ("lambda-runtime-deadline-ms", "99999999999999"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:bench"),
    ];
    (headers, event.unwrap_or_default().to_string())
}

async fn answer(
    State(stub): State<Arc<Stub>>,
    Segment((_, what)): Segment<(String, String)>,
    body: String,
) -> StatusCode {
    assert_eq!(what, "response", "{body}");
    let _ = stub.answers.send(serde_json::from_str(&body).unwrap()).await;
    StatusCode::ACCEPTED
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

/// A function's process; killed when this goes.
struct Function(Child);

impl Function {
    fn start(bootstrap: &Path, runtime: &str, dynamodb: &str, sqs: &str) -> Self {
        let queue = |name: &str| format!("{sqs}/000000000000/oncekey-{name}");
        let child = Command::new(bootstrap)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", runtime)
            .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
            .env("AWS_ENDPOINT_URL_SQS", sqs)
            .env("ONCEKEY_STACK", "bench")
            .env("ONCEKEY_KEYS_TABLE", "oncekey-keys")
            .env("ONCEKEY_RUNS_TABLE", "oncekey-runs")
            .env("ONCEKEY_ENVIRONMENTS_TABLE", "oncekey-environments")
            .env("ONCEKEY_RUNS_QUEUES", json!({ "default": queue("runs") }).to_string())
            .env("ONCEKEY_RUNS_DEAD_LETTER_QUEUE", queue("runs-dead"))
            .env("ONCEKEY_TRIGGERS_QUEUE", queue("triggers"))
            .env("ONCEKEY_TRIGGERS_DEAD_LETTER_QUEUE", queue("triggers-dead"))
            .env("ONCEKEY_COMPLETIONS_QUEUE", queue("completions"))
            .env("ONCEKEY_COMPLETIONS_DEAD_LETTER_QUEUE", queue("completions-dead"))
            .env("ONCEKEY_BUCKET", "oncekey")
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{}: {error}", bootstrap.display())))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures every function in `built`, a folder of folders with a `bootstrap` each.
pub async fn cold(built: &Path) {
    println!("| {:<12} | {:>8} | {:>11} | {:>11} | {:>8} |", "function", "size", "start, p50", "start, p95", "memory");
    println!("|{:-<14}|{:->10}|{:->13}|{:->13}|{:->10}|", "", ":", ":", ":", ":");
    let bootstraps = bootstraps(built);
    for (name, bootstrap) in &bootstraps {
        starts(name, bootstrap).await;
    }
    if let Some((_, trigger)) = bootstraps.iter().find(|(name, _)| name == "trigger") {
        let server = Server::start();
        let cost = trigger_cost(trigger, &server).await;
        println!(
            "\n| {:<18} | {:>7} | {:>9} |\n|{:-<20}|{:->9}|{:->11}|",
            "trigger", "count", "CPU, each", "", ":", ":"
        );
        for (name, (cpu, _)) in [("unique", cost.unique), ("duplicate", cost.duplicate)] {
            println!("| {name:<18} | {EVENTS:>7} | {cpu:>6.2} ms |");
        }
        println!("\nmemory of the trigger function after {} events: {:.1} MB", EVENTS * 3, cost.memory_mb);
    }
}

/// The trigger function among those in `built`.
pub fn trigger_function(built: &Path) -> PathBuf {
    let found = bootstraps(built).into_iter().find(|(name, _)| name == "trigger");
    found.unwrap_or_else(|| panic!("{} has no trigger function", built.display())).1
}

fn bootstraps(built: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("bootstrap").is_file())
        .map(|folder| {
            let name = folder.file_name().unwrap().to_string_lossy().to_lowercase();
            let name = name.trim_start_matches("oncekey-function-").trim_end_matches("function").to_owned();
            (name, folder.join("bootstrap"))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} holds no functions: build them first", built.display());
    found
}

async fn starts(name: &str, bootstrap: &Path) {
    let (times, memory) = start_times(name, bootstrap).await;
    let size = std::fs::metadata(bootstrap).unwrap().len() as f64 / 1e6;
    let ms = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    println!("| {name:<12} | {size:>5.2} MB | {:>8.2} ms | {:>8.2} ms | {memory:>5.1} MB |", ms(50), ms(95));
}

/// How long a function takes from its process's start to its first request for work, in order; and its memory in MB.
pub async fn start_times(name: &str, bootstrap: &Path) -> (Vec<Duration>, f64) {
    let (mut times, mut memory) = (Vec::new(), 0);
    let (url, calls) = counting().await;
    for _ in 0..STARTS {
        let mut runtime = Runtime::start().await;
        let start = Instant::now();
        let function = Function::start(bootstrap, &runtime.address, &url, &url);
        let asked = runtime.asked.recv().await.unwrap();
        times.push(asked - start);
        memory = memory.max(memory_kb(function.pid(), "VmHWM:"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0, "{name} called AWS before its first event");
    times.sort_unstable();
    (times, memory as f64 / 1024.0)
}

fn event(key: usize) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "POST /api/v1/tasks/{proxy+}",
        "rawPath": "/api/v1/tasks/nobody-runs-this/trigger",
        "rawQueryString": "",
        "headers": { "authorization": "Bearer tr_dev_local", "content-type": "application/json", "host": "bench" },
        "requestContext": {
            "accountId": "000000000000", "apiId": "bench", "domainName": "bench", "stage": "$default", "timeEpoch": 0,
            "http": { "method": "POST", "path": "/api/v1/tasks/nobody-runs-this/trigger", "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": "bench" },
        },
        // Due in a year, so that no worker takes CPU from what is measured.
        "body": json!({ "payload": { "n": key },
            "options": { "idempotencyKey": format!("bench-{key}"), "delay": "364d" } }).to_string(),
        "isBase64Encoded": false,
    })
}

/// What triggers cost: CPU and wall time in milliseconds, of a new key and of one that is held.
pub struct TriggerCost {
    pub unique: (f64, f64),
    pub duplicate: (f64, f64),
    pub memory_mb: f64,
}

/// The cost of one event in the trigger function's process: the runtime's loop included, AWS's side excluded from CPU.
pub async fn trigger_cost(bootstrap: &Path, server: &Server) -> TriggerCost {
    let mut runtime = Runtime::start().await;
    let function = Function::start(bootstrap, &runtime.address, &server.dynamodb, &server.sqs);
    let mut costs = Vec::new();
    for (first, duplicate) in [(0, false), (EVENTS, false), (0, true)] {
        let (before, start) = (cpu(function.pid()), Instant::now());
        for n in 0..EVENTS {
            let key = if duplicate { n % 100 } else { first + n };
            runtime.events.send(event(key)).await.unwrap();
            let answer = runtime.answers.recv().await.unwrap();
            let body = answer["body"].as_str().unwrap_or_default();
            assert!(body.contains(&format!("\"isCached\":{duplicate}")), "{answer}");
        }
        let each = |span: Duration| span.as_secs_f64() * 1e3 / EVENTS as f64;
        costs.push((each(cpu(function.pid()) - before), each(start.elapsed())));
    }
    let memory_mb = memory_kb(function.pid(), "VmHWM:") as f64 / 1024.0;
    // The first were to warm up.
    TriggerCost { unique: costs[1], duplicate: costs[2], memory_mb }
}
