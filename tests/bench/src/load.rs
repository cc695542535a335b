//! What is asked of the stack.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::measure::Row;
use crate::server::Server;

/// A moment from now, as an ISO 8601 date.
fn from_now(span: Duration) -> String {
    (jiff::Timestamp::now() + span).to_string()
}

/// A client that keeps a number of requests under way.
pub(crate) struct Load {
    pub http: reqwest::Client,
    url: String,
    sqs: String,
    concurrency: usize,
}

impl Load {
    /// A client of `server`.
    pub(crate) fn new(server: &Server, concurrency: usize) -> Self {
        Self { http: reqwest::Client::new(), url: server.url.clone(), sqs: server.sqs.clone(), concurrency }
    }

    /// A client of something else.
    pub(crate) fn at(url: &str, concurrency: usize) -> Self {
        Self { http: reqwest::Client::new(), url: url.to_owned(), sqs: String::new(), concurrency }
    }

    /// Opens connections and fills caches.
    pub(crate) async fn warm_up(&self) {
        self.triggers((0..500).map(|n| format!("warm-{n}")).collect()).await;
        self.drained().await;
    }

    /// Runs with a key each, from the first trigger to the last run's end.
    pub(crate) async fn unique_runs(&self, server: &Server, count: usize) -> Row {
        let (cpu, start) = (server.cpu(), Instant::now());
        let latencies = self.triggers((0..count).map(|n| format!("unique-{n}")).collect()).await;
        self.drained().await;
        Row::new("unique keyed runs, end to end", start.elapsed(), server.cpu() - cpu, latencies)
    }

    /// Triggers of keys that are taken.
    pub(crate) async fn duplicates(&self, server: &Server, count: usize) -> Row {
        let (cpu, start) = (server.cpu(), Instant::now());
        let latencies = self.triggers((0..count).map(|n| format!("unique-{}", n % 100)).collect()).await;
        Row::new("duplicate triggers", start.elapsed(), server.cpu() - cpu, latencies)
    }

    /// Parents that each trigger a child and wait for it, to the last parent's end.
    pub(crate) async fn parents(&self, server: &Server, count: usize) -> Row {
        let (cpu, start) = (server.cpu(), Instant::now());
        let keys = (0..count).map(|n| format!("parent-{n}")).collect();
        let latencies = self.triggers_of("wait-for-child", json!({ "ms": 0 }), keys).await;
        self.drained().await;
        Row::new("parents that await a child", start.elapsed(), server.cpu() - cpu, latencies)
    }

    /// Runs with a key each and options of their own, from the first trigger to the last run's end: how many a second.
    pub(crate) async fn keyed_runs(&self, name: &str, count: usize, options: impl Fn(usize) -> Value) -> f64 {
        let url = &format!("{}/api/v1/tasks/echo/trigger", self.url);
        let request = |key: &str| {
            let number = key.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
            let mut options = options(number);
            options["idempotencyKey"] = key.into();
            let body = json!({ "payload": { "n": 1 }, "options": options });
            self.http.post(url).bearer_auth("tr_dev_local").body(body.to_string())
        };
        let start = Instant::now();
        self.send((0..count).map(|n| format!("{name}-{n}")).collect(), request).await;
        self.drained().await;
        count as f64 / start.elapsed().as_secs_f64()
    }

    /// Asks something else of the API: the status and the answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (reqwest::StatusCode, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth("tr_dev_local");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Queues runs that are all due at one moment, then lets them drain: the lines of both.
    pub(crate) async fn queue_and_drain(&self, server: &Server, count: usize) -> String {
        let start = Instant::now();
        // SQS holds messages up to 15 minutes before it lets a worker see them.
        let url = &format!("{}/api/v1/tasks/echo/trigger", self.url);
        let due = from_now(Duration::from_secs(count as u64 / 400 + 15));
        let request = |key: &str| {
            let body = json!({ "payload": 1, "options": { "idempotencyKey": key, "delay": due } });
            self.http.post(url).bearer_auth("tr_dev_local").body(body.to_string())
        };
        self.send((0..count).map(|n| format!("queued-{n}")).collect(), request).await;
        let queued = start.elapsed();
        let waiting = self.depth("oncekey-runs").await;
        let memory = server.memory_mb();
        while self.depth("oncekey-runs").await == waiting {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let start = Instant::now();
        self.drained().await;
        let rate = |span: Duration| count as f64 / span.as_secs_f64();
        format!(
            "{count} runs queued at {:.0}/s; {waiting} waiting, {memory} MB; drained at {:.0}/s",
            rate(queued),
            waiting as f64 / start.elapsed().as_secs_f64()
        )
    }

    /// Triggers at a steady rate, half of them duplicates, and tells the stack's memory now and then.
    pub(crate) async fn soak(&self, server: &Server, minutes: u64, rate: u64) {
        for minute in 1..=minutes {
            for second in 0..60 {
                let start = Instant::now();
                let key = |n: u64| format!("soak-{minute}-{second}-{}", n / 2);
                self.triggers((0..rate).map(key).collect()).await;
                tokio::time::sleep(Duration::from_secs(1).saturating_sub(start.elapsed())).await;
            }
            if minute % 5 == 0 || minute == 1 {
                println!("after {minute} min: {} runs, {} MB", minute * 30 * rate, server.memory_mb());
            }
        }
    }

    async fn triggers(&self, keys: Vec<String>) -> Vec<Duration> {
        self.triggers_of("echo", json!({ "n": 1 }), keys).await
    }

    async fn triggers_of(&self, task: &str, payload: Value, keys: Vec<String>) -> Vec<Duration> {
        let (payload, url) = (&payload, &format!("{}/api/v1/tasks/{task}/trigger", self.url));
        let request = |key: &str| {
            let body = json!({ "payload": payload, "options": { "idempotencyKey": key } });
            self.http.post(url).bearer_auth("tr_dev_local").body(body.to_string())
        };
        self.send(keys, request).await
    }

    /// Sends a request for each key; how long each took.
    pub(crate) async fn send(
        &self,
        keys: Vec<String>,
        request: impl Fn(&str) -> reqwest::RequestBuilder,
    ) -> Vec<Duration> {
        let send = |key: String| {
            let request = request(&key);
            async move {
                let start = Instant::now();
                request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
                start.elapsed()
            }
        };
        stream::iter(keys).map(send).buffer_unordered(self.concurrency).collect().await
    }

    /// Waits until no run and no completion is left on a queue. A message is on the next queue before it leaves the last
    /// one, so what is nowhere in three looks at both has gone.
    pub(crate) async fn drained(&self) {
        let mut empty = 0;
        while empty < 3 {
            let left = self.depth("oncekey-runs").await + self.depth("oncekey-completions").await;
            empty = if left == 0 { empty + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn depth(&self, queue: &str) -> u64 {
        let body = json!({ "QueueUrl": format!("{}/000000000000/{queue}", self.sqs), "AttributeNames": ["All"] });
        let request = self.http.post(&self.sqs).header("x-amz-target", "AmazonSQS.GetQueueAttributes");
        let answer: Value = request.body(body.to_string()).send().await.unwrap().json().await.unwrap();
        let count = |suffix: &str| {
            let name = format!("ApproximateNumberOfMessages{suffix}");
            answer["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap()
        };
        count("") + count("NotVisible") + count("Delayed")
    }
}
