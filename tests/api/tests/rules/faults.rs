//! A DynamoDB that does not always do as it is asked.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use dynoxide::Database;
use serde_json::json;
use tokio::net::TcpListener;

/// What becomes of a call.
pub(crate) enum Fate {
    /// It is carried out.
    Passes,
    /// It is refused as DynamoDB refuses that is asked too much.
    Throttled,
    /// It is carried out, and its caller is told that something went wrong: the SDK sends it again.
    LosesItsAnswer,
}

/// Says what becomes of a call, by its operation (`PutItem`) and its body.
type Decide = dyn Fn(&str, &str) -> Fate + Send + Sync;

#[derive(Clone)]
struct Faulty {
    behind: String,
    http: reqwest::Client,
    decide: Arc<Decide>,
}

/// The URL of a database of its own, where `decide` says of each call what becomes of it.
pub(crate) async fn faulty_database(decide: impl Fn(&str, &str) -> Fate + Send + Sync + 'static) -> String {
    let serve = async |listener: TcpListener, router: Router| axum::serve(listener, router).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, Database::memory().unwrap()));
    let faulty = Faulty { behind, http: reqwest::Client::new(), decide: Arc::new(decide) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, Router::new().fallback(forward).with_state(faulty)));
    url
}

async fn forward(State(faulty): State<Faulty>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let target = headers["x-amz-target"].to_str().unwrap();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let fate = (faulty.decide)(operation, std::str::from_utf8(&body).unwrap());
    if matches!(fate, Fate::Throttled) {
        let kind = "com.amazonaws.dynamodb.v20120810#ThrottlingException";
        return (StatusCode::BAD_REQUEST, json!({ "__type": kind, "message": "Rate exceeded" }).to_string());
    }
    let mut onward = faulty.http.post(&faulty.behind).body(body);
    for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
        onward = onward.header(name, headers[name].to_str().unwrap());
    }
    let answer = onward.send().await.unwrap();
    let answer = (answer.status(), answer.text().await.unwrap());
    match fate {
        Fate::LosesItsAnswer => {
            let kind = "com.amazonaws.dynamodb.v20120810#InternalServerError";
            (StatusCode::INTERNAL_SERVER_ERROR, json!({ "__type": kind, "message": "lost" }).to_string())
        }
        Fate::Passes | Fate::Throttled => answer,
    }
}
