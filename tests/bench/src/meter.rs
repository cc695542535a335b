//! What a function asks of AWS: a proxy before DynamoDB and SQS that counts calls and capacity units.

use std::fmt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::runtime::listen;

/// Calls and units, of one event or of many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    dynamodb: f64,
    sqs: f64,
    pub write_units: f64,
    read_units: f64,
}

impl Count {
    /// The mean of so many events.
    pub(crate) fn per(self, events: usize) -> Self {
        let each = |total| total / events as f64;
        Self {
            dynamodb: each(self.dynamodb),
            sqs: each(self.sqs),
            write_units: each(self.write_units),
            read_units: each(self.read_units),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.dynamodb, ""), (self.sqs, " SQS"), (self.write_units, " w"), (self.read_units, " r")];
        let told = parts.iter().filter(|(number, _)| *number > 0.0).map(|(number, unit)| format!("{number}{unit}"));
        f.pad(&told.collect::<Vec<_>>().join(", "))
    }
}

/// What goes through proxies that count.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    http: reqwest::Client,
    count: Arc<Mutex<Count>>,
}

impl Meter {
    /// Stands before what is at `url`: the URL to call instead.
    pub(crate) async fn before(&self, url: &str) -> String {
        let router = Router::new().fallback(pass_on).with_state((self.clone(), url.to_owned()));
        format!("http://{}", listen(router).await)
    }

    /// What was counted since it was asked last.
    pub(crate) fn take(&self) -> Count {
        std::mem::take(&mut *self.count.lock().unwrap())
    }
}

async fn pass_on(
    State((meter, url)): State<(Meter, String)>,
    mut headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default().to_owned();
    // Of the request as it came: this one goes elsewhere, and is longer.
    headers.remove(HOST);
    headers.remove(CONTENT_LENGTH);
    let of_dynamodb = target.starts_with("DynamoDB");
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    if of_dynamodb {
        body["ReturnConsumedCapacity"] = json!("TOTAL");
    }
    let answer = meter.http.post(url).headers(headers).body(body.to_string()).send().await.unwrap();
    let status = answer.status();
    let answer = answer.text().await.unwrap();
    let mut count = meter.count.lock().unwrap();
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
