//! What EventBridge Scheduler is asked, at the wire.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::Oncekey;

/// Whoever is no function: local endpoints look at the access key alone.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=local/20261127/us-east-1/scheduler/aws4_request";

impl Oncekey {
    /// Asks Scheduler. `None` where there is none.
    pub async fn scheduler(&self, method: Method, path: &str, body: String) -> Option<(StatusCode, Value)> {
        let url = format!("{}{path}", self.stack().scheduler()?);
        let request = reqwest::Client::new().request(method, url).header("authorization", SIGNED).body(body);
        let answer = request.send().await.unwrap();
        Some((answer.status(), answer.json().await.unwrap()))
    }

    /// The schedules of runs that there are, each whole.
    pub async fn schedules(&self) -> Vec<Value> {
        let Some((_, listed)) = self.scheduler(Method::GET, "/schedules", String::new()).await else {
            return Vec::new();
        };
        let mut schedules = Vec::new();
        let of_runs = listed["Schedules"].as_array().unwrap().iter().filter(|summary| summary["Name"] != "sweep");
        for summary in of_runs {
            schedules.push(self.scheduler(Method::GET, &path_of(summary), String::new()).await.unwrap().1);
        }
        schedules
    }

    /// Loses all schedules.
    pub async fn forget_schedules(&self) {
        for schedule in self.schedules().await {
            self.scheduler(Method::DELETE, &path_of(&schedule), String::new()).await;
        }
    }
}

fn path_of(schedule: &Value) -> String {
    format!("/schedules/{}?groupName={}", schedule["Name"].as_str().unwrap(), schedule["GroupName"].as_str().unwrap())
}
