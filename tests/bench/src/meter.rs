//! What a function asks of AWS: a proxy before DynamoDB and SQS that counts calls and capacity units.

use std::fmt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Calls and units, of one event or of many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    dynamodb: f64,
    sqs: f64,
    write_units: f64,
    read_units: f64,
}

impl Count {
    /// The mean of so many events.
    pub fn per(self, events: usize) -> Self {
        let each = |total| total / events as f64;
        Self {
            dynamodb: each(self.dynamodb),
            sqs: each(self.sqs),
            write_units: each(self.write_units),
            read_units: each(self.read_units),
        }
    }
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            dynamodb: self.dynamodb + other.dynamodb,
            sqs: self.sqs + other.sqs,
            write_units: self.write_units + other.write_units,
            read_units: self.read_units + other.read_units,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.dynamodb, ""), (self.sqs, " SQS"), (self.write_units, " w"), (self.read_units, " r")];
        let told = parts.iter().filter(|(number, _)| *number > 0.0).map(|(number, unit)| format!("{number:.1}{unit}"));
        f.pad(&told.collect::<Vec<_>>().join(", ").replace(".0", ""))
    }
}

/// A proxy that counts.
pub struct Meter {
    /// Where it listens.
    pub url: String,
    count: Arc<Mutex<Count>>,
}

#[derive(Clone)]
struct Behind {
    url: String,
    http: reqwest::Client,
    count: Arc<Mutex<Count>>,
}

impl Meter {
    /// Stands before what is at `url`.
    pub async fn before(url: &str) -> Self {
        let count = Arc::new(Mutex::new(Count::default()));
        let behind = Behind { url: url.to_owned(), http: reqwest::Client::new(), count: Arc::clone(&count) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass_on).with_state(behind);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, count }
    }

    /// What was counted since it was asked last.
    pub fn take(&self) -> Count {
        std::mem::take(&mut *self.count.lock().unwrap())
    }
}

async fn pass_on(State(behind): State<Behind>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let mut request = behind.http.post(&behind.url).header("x-amz-target", target);
    let passed = ["content-type", "authorization", "x-amz-date"];
    for (name, value) in passed.into_iter().filter_map(|name| Some((name, headers.get(name)?))) {
        request = request.header(name, value);
    }
    let of_dynamodb = target.starts_with("DynamoDB");
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    if of_dynamodb {
        body["ReturnConsumedCapacity"] = json!("TOTAL");
    }
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let answer = answer.text().await.unwrap();
    let mut count = behind.count.lock().unwrap();
    if of_dynamodb {
        count.dynamodb += 1.0;
        let told: Value = serde_json::from_str(&answer).unwrap_or_default();
        // A refused write reports nothing, and costs a unit.
        let units = told["ConsumedCapacity"]["CapacityUnits"].as_f64().unwrap_or(1.0);
        let reads = target.ends_with(".GetItem") || target.ends_with(".Query");
        *(if reads { &mut count.read_units } else { &mut count.write_units }) += units;
    } else {
        count.sqs += 1.0;
    }
    (status, answer)
}
