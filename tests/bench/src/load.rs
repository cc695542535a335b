//! What is asked of the stack.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::measure::Row;
use crate::server::Server;

/// A client that keeps a number of requests under way.
pub struct Load {
    http: reqwest::Client,
    url: String,
    sqs: String,
    concurrency: usize,
}

impl Load {
    /// A client of `server`.
    pub fn new(server: &Server, concurrency: usize) -> Self {
        Self { http: reqwest::Client::new(), url: server.url.clone(), sqs: server.sqs.clone(), concurrency }
    }

    /// Opens connections and fills caches.
    pub async fn warm_up(&self) {
        self.triggers((0..500).map(|n| format!("warm-{n}")).collect()).await;
        self.drained().await;
    }

    /// Runs with a key each, from the first trigger to the last run's end.
    pub async fn unique_runs(&self, server: &Server, count: usize) -> Row {
        let (cpu, start) = (server.cpu(), Instant::now());
        let latencies = self.triggers((0..count).map(|n| format!("unique-{n}")).collect()).await;
        self.drained().await;
        Row::new("unique keyed runs, end to end", start.elapsed(), server.cpu() - cpu, latencies)
    }

    /// Triggers of keys that are taken.
    pub async fn duplicates(&self, server: &Server, count: usize) -> Row {
        let (cpu, start) = (server.cpu(), Instant::now());
        let latencies = self.triggers((0..count).map(|n| format!("unique-{}", n % 100)).collect()).await;
        Row::new("duplicate triggers", start.elapsed(), server.cpu() - cpu, latencies)
    }

    /// Parents that each trigger a child and wait for it, to the last parent's end.
    pub async fn parents(&self, server: &Server, count: usize) -> Row {
        let (cpu, start) = (server.cpu(), Instant::now());
        let keys = (0..count).map(|n| format!("parent-{n}")).collect();
        let latencies = self.triggers_of("wait-for-child", json!({ "ms": 0 }), keys).await;
        self.drained().await;
        Row::new("parents that await a child", start.elapsed(), server.cpu() - cpu, latencies)
    }

    async fn triggers(&self, keys: Vec<String>) -> Vec<Duration> {
        self.triggers_of("echo", json!({ "n": 1 }), keys).await
    }

    async fn triggers_of(&self, task: &str, payload: Value, keys: Vec<String>) -> Vec<Duration> {
        let (payload, url) = (&payload, &format!("{}/api/v1/tasks/{task}/trigger", self.url));
        let trigger = |key: String| async move {
            let start = Instant::now();
            let body = json!({ "payload": payload, "options": { "idempotencyKey": key } });
            let request = self.http.post(url).bearer_auth("tr_dev_local").body(body.to_string());
            request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
            start.elapsed()
        };
        stream::iter(keys).map(trigger).buffer_unordered(self.concurrency).collect().await
    }

    /// Waits until no run and no completion is left on a queue. A message is on the next queue before it leaves the last
    /// one, so what is nowhere in three looks at both has gone.
    async fn drained(&self) {
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
