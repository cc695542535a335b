//! What limits of queues cost, and what those wait who share a queue with somebody busy.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::load::Load;
use crate::server::Server;

/// How long a change of a queue may take to be known everywhere, and a second.
const KNOWN: Duration = Duration::from_secs(6);
/// The queue of the task `echo`.
const QUEUE: &str = "/api/v1/queues/echo";

/// Measures limits of one queue, with so many tenants, of whom one has `busy` runs queued.
pub(crate) async fn limits(tenants: usize, busy: usize, parked: usize) {
    let server = Server::start();
    let limits = Limits { load: Load::new(&server, 32) };
    limits.load.warm_up().await;
    limits.throughput().await;
    limits.tenants(tenants, busy).await;
    limits.order(parked).await;
    println!("memory of the stack {} MB", server.memory_mb());
}

struct Limits {
    load: Load,
}

impl Limits {
    /// Runs under a limit that is never reached, beside runs without one.
    async fn throughput(&self) {
        const RUNS: usize = 4_000;
        let none = self.load.keyed_runs("none", RUNS, |_| json!({})).await;
        self.limit(100_000).await;
        let one = self.load.keyed_runs("one", RUNS, |_| json!({})).await;
        let tenant = |n: usize| json!({ "concurrencyKey": format!("tenant-{}", n % 1_000) });
        let many = self.load.keyed_runs("many", RUNS, tenant).await;
        println!("{RUNS} keyed runs, end to end: {none:.0} per s without a limit");
        println!("under one that is never reached: {one:.0} per s in one lane ({:.2})", one / none);
        println!("                                 {many:.0} per s in a thousand lanes ({:.2})", many / none);
    }

    /// What the others wait for while one tenant has many runs queued.
    async fn tenants(&self, tenants: usize, busy: usize) {
        self.limit(1).await;
        let key = |tenant: usize| json!({ "concurrencyKey": format!("fair-{tenant}") });
        self.trigger(busy, |_| key(0)).await;
        let (_, queue) = self.load.ask("GET", &format!("{QUEUE}?type=task"), None).await;
        let others = self.trigger(tenants.saturating_sub(1), |n| key(n + 1)).await;
        let mut waits: Vec<Duration> =
            self.runs(&others).await.iter().map(|(created, started)| started.saturating_sub(*created)).collect();
        waits.sort_unstable();
        println!(
            "{tenants} tenants with a place each, one of them with {} runs queued: the others wait {:.0} ms (p50), {:.0} ms (p99)",
            queue["queued"],
            waits[waits.len() / 2].as_secs_f64() * 1e3,
            waits[waits.len() * 99 / 100].as_secs_f64() * 1e3,
        );
        self.load.drained().await;
    }

    /// Runs that were parked, from the resumption of their queue to the last one's end, one after the other.
    async fn order(&self, parked: usize) {
        self.change("pause", json!({ "type": "task", "action": "pause" })).await;
        let ids = self.trigger(parked, |_| json!({})).await;
        self.load.drained().await;
        self.change("pause", json!({ "type": "task", "action": "resume" })).await;
        let start = Instant::now();
        let mut runs = self.runs(&ids).await;
        let took = start.elapsed();
        runs.sort_unstable();
        let is_ordered = runs.is_sorted_by_key(|(_, started)| *started);
        println!(
            "{parked} parked runs, one at a time: drained in {:.1} s ({:.0} per s), {}",
            took.as_secs_f64(),
            parked as f64 / took.as_secs_f64(),
            if is_ordered { "in order" } else { "NOT in order" },
        );
    }

    async fn limit(&self, limit: u32) {
        self.change("concurrency/override", json!({ "type": "task", "concurrencyLimit": limit })).await;
    }

    async fn change(&self, what: &str, body: Value) {
        let (status, answer) = self.load.ask("POST", &format!("{QUEUE}/{what}"), Some(body)).await;
        assert!(status.is_success(), "{what}: {answer}");
        tokio::time::sleep(KNOWN).await;
    }

    /// Triggers runs without a key; their ids, in no order.
    async fn trigger(&self, count: usize, options: impl Fn(usize) -> Value) -> Vec<String> {
        let trigger = |n: usize| {
            let body = json!({ "payload": n, "options": options(n) });
            async move {
                let (status, answer) = self.load.ask("POST", "/api/v1/tasks/echo/trigger", Some(body)).await;
                assert!(status.is_success(), "{answer}");
                answer["id"].as_str().unwrap().to_owned()
            }
        };
        stream::iter(0..count).map(trigger).buffer_unordered(32).collect().await
    }

    /// When each of these runs was created and started, once it is over.
    async fn runs(&self, ids: &[String]) -> Vec<(Duration, Duration)> {
        let over = |id: &String| {
            let path = format!("/api/v3/runs/{id}");
            async move {
                loop {
                    let (_, run) = self.load.ask("GET", &path, None).await;
                    if run["isCompleted"] == true {
                        return (moment(&run["createdAt"]), moment(&run["startedAt"]));
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        stream::iter(ids).map(over).buffered(8).collect().await
    }
}

fn moment(date: &Value) -> Duration {
    let moment: jiff::Timestamp = date.as_str().unwrap().parse().unwrap();
    Duration::from_millis(u64::try_from(moment.as_millisecond()).unwrap())
}
