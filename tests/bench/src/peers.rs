//! Oncekey beside others that do a part of its work: the same work on the same machine in one run, with its ratio.
//!
//! AWS Lambda Powertools makes a function idempotent on the same DynamoDB endpoint: two writes where ours makes two and a
//! message, and it has no queue, no worker and no status. Restate is a server of its own with its own log.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cold::trigger_function;
use crate::function::{Function, TriggerCost, start_times, trigger_cost};
use crate::load::Load;
use crate::measure::Row;
use crate::plot::{Bars, draw};
use crate::process::cpu;
use crate::server::Server;

/// Keyed sends that are executed, and duplicates.
const SENDS: usize = 10_000;
const DUPLICATES: usize = 20_000;
const CONCURRENCY: usize = 32;

/// Measures all, prints tables, and draws the plot.
pub(crate) async fn peers(installed: &Path, built: &Path, plot: &Path) {
    let mut bars = powertools(installed, built).await;
    bars.extend(restate(installed).await);
    std::fs::write(plot, draw(&bars)).unwrap();
}

/// What one idempotent call costs.
struct Call {
    name: String,
    cost: TriggerCost,
    start: Duration,
}

async fn powertools(installed: &Path, built: &Path) -> Vec<Bars> {
    let server = Server::start();
    create_table(&server).await;
    let installed = installed.canonicalize().unwrap();
    let python = ["-m", "awslambdaric", "powertools.handler"];
    let node = ["node_modules/aws-lambda-ric/index.mjs", "powertools.handler"];
    let functions = [
        trigger_function(built).called("Oncekey's trigger"),
        Function::run_by(installed.join("python/bin/python"), &python, &installed, "Powertools, Python"),
        Function::run_by("node".into(), &node, &installed, "Powertools, TypeScript"),
    ];
    let mut all = Vec::new();
    for function in functions {
        let (starts, _) = start_times(&function).await;
        let cost = trigger_cost(&function, &server).await;
        all.push(Call { name: function.name, cost, start: starts[starts.len() / 2] });
    }
    println!(
        "| one call at a time     | unique: CPU | wall    | duplicate: CPU | wall    | calls, units: unique | duplicate    | start    | memory   |\n\
         |------------------------|------------:|--------:|---------------:|--------:|----------------------|--------------|---------:|---------:|"
    );
    for Call { name, cost, start } in &all {
        let TriggerCost { unique, duplicate, calls: [new, old], memory_mb } = cost;
        println!(
            "| {name:<22} | {:>8.2} ms | {:>4.2} ms | {:>11.2} ms | {:>4.2} ms | {new:<20} | {old:<12} | {:>5.0} ms | {memory_mb:>5.1} MB |",
            unique.0,
            unique.1,
            duplicate.0,
            duplicate.1,
            start.as_secs_f64() * 1e3,
        );
    }
    let ours = &all[0];
    for peer in &all[1..] {
        println!(
            "CPU of {} / Oncekey's: unique {:.1}, duplicate {:.1}",
            peer.name,
            peer.cost.unique.0 / ours.cost.unique.0,
            peer.cost.duplicate.0 / ours.cost.duplicate.0
        );
    }
    println!();
    let bars = |title: &str, of: fn(&Call) -> f64| Bars {
        title: title.to_owned(),
        unit: "ms",
        bars: all.iter().map(|call| (call.name.to_owned(), of(call))).collect(),
    };
    vec![
        bars("CPU of a call with a new key (less is better)", |call| call.cost.unique.0),
        bars("CPU of a duplicate call (less is better)", |call| call.cost.duplicate.0),
        bars("From process start to ready (less is better)", |call| call.start.as_secs_f64() * 1e3),
    ]
}

/// Makes the table that Powertools keeps its records in.
async fn create_table(server: &Server) {
    let table = json!({
        "TableName": "powertools",
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    let signature =
        "AWS4-HMAC-SHA256 Credential=bench/20261125/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    let request = reqwest::Client::new()
        .post(&server.dynamodb)
        .header("x-amz-target", "DynamoDB_20120810.CreateTable")
        .header("x-amz-date", "20261125T000000Z")
        .header("content-type", "application/x-amz-json-1.0")
        .header("authorization", signature);
    request.body(table.to_string()).send().await.unwrap().error_for_status().unwrap();
}

/// A process that is killed when this goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn restate(installed: &Path) -> Vec<Bars> {
    println!("{}", Row::header());
    let rows: [Row; 2] = {
        let server = Server::start();
        let load = Load::new(&server, CONCURRENCY);
        load.warm_up().await;
        [load.unique_runs(&server, SENDS).await, load.duplicates(&server, DUPLICATES).await]
    };
    for row in &rows {
        println!("{}", row.named("Oncekey"));
    }
    let peer = restate_rows(installed).await;
    for row in &peer {
        println!("{}", row.named("Restate"));
    }
    let (unique, duplicate) =
        (rows[0].per_second() / peer[0].per_second(), rows[1].per_second() / peer[1].per_second());
    println!("\nOncekey / Restate: unique {unique:.2}, duplicates {duplicate:.2}");
    let bars = |title: &str, row: usize| Bars {
        title: title.to_owned(),
        unit: "/s",
        bars: vec![
            ("Oncekey, local stack".to_owned(), rows[row].per_second()),
            ("Restate".to_owned(), peer[row].per_second()),
        ],
    };
    vec![bars("Keyed sends with execution (more is better)", 0), bars("Duplicate sends (more is better)", 1)]
}

async fn restate_rows(installed: &Path) -> [Row; 2] {
    let data = std::env::temp_dir().join(format!("restate-{}", std::process::id()));
    let server = Command::new(installed.join("node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"))
        .arg("--no-logo")
        .env("RESTATE_BASE_DIR", &data)
        .envs([
            ("RESTATE_BIND_IP", "127.0.0.1"),
            ("RESTATE_ADVERTISED_HOST", "127.0.0.1"),
            ("RESTATE_LISTEN_MODE", "tcp"),
        ])
        .envs([("RESTATE_DISABLE_TELEMETRY", "true"), ("RUST_LOG", "error")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = Running(server.unwrap());
    let service = Command::new("node")
        .arg(installed.join("restate.mjs"))
        .envs([("PORT", "9080"), ("RESTATE_LOGGING", "ERROR"), ("NODE_ENV", "production")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let service = Running(service.unwrap());
    let http = reqwest::Client::new();
    let deployment = json!({ "uri": "http://127.0.0.1:9080" });
    for tries in 0.. {
        let asked = http.post("http://127.0.0.1:9070/deployments").json(&deployment).send().await;
        if asked.is_ok_and(|answer| answer.status().is_success()) {
            break;
        }
        assert!(tries < 100, "Restate did not start");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let pids = [server.0.id(), service.0.id()];
    let used = || pids.iter().map(|pid| cpu(*pid)).sum::<Duration>();
    let load = Load::at("http://127.0.0.1:8080", CONCURRENCY);
    let request = |key: &str| {
        let request = load.http.post("http://127.0.0.1:8080/bench/echo/send").header("idempotency-key", key);
        request.header("content-type", "application/json").body(r#"{"n":1}"#)
    };
    load.send((0..500).map(|n| format!("warm-{n}")).collect(), request).await;
    settled(&http).await;
    let (before, start) = (used(), Instant::now());
    let latencies = load.send((0..SENDS).map(|n| format!("unique-{n}")).collect(), request).await;
    settled(&http).await;
    let unique = Row::new("unique keyed runs, end to end", start.elapsed(), used() - before, latencies);
    let (before, start) = (used(), Instant::now());
    let latencies = load.send((0..DUPLICATES).map(|n| format!("unique-{}", n % 100)).collect(), request).await;
    let duplicate = Row::new("duplicate triggers", start.elapsed(), used() - before, latencies);
    drop((server, service));
    let _ = std::fs::remove_dir_all(data);
    [unique, duplicate]
}

/// Waits until no invocation is left.
async fn settled(http: &reqwest::Client) {
    let query = json!({ "query": "select count(*) as n from sys_invocation where status <> 'completed'" });
    loop {
        let request = http.post("http://127.0.0.1:9070/query").header("accept", "application/json").json(&query);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        if answer["rows"][0]["n"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
