//! A DynamoDB that does not always do as it is asked.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use dynoxide::Database;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What becomes of a call.
pub(crate) enum Fate {
    /// It is carried out.
    Passes,
    /// It is refused as DynamoDB refuses that is asked too much.
    Throttled,
    /// Of several items or keys the first half is carried out, and the rest comes back as unprocessed.
    Halves,
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
    let (body, left) = match fate {
        Fate::Halves => halved(&body),
        _ => (body, None),
    };
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
        Fate::Halves if answer.0 == StatusCode::OK => {
            let mut told: Value = serde_json::from_str(&answer.1).unwrap();
            if let Some((name, left)) = left {
                told[name] = left;
            }
            (answer.0, told.to_string())
        }
        Fate::Passes | Fate::Throttled | Fate::Halves => answer,
    }
}

/// A batch of writes or reads of one table without its second half, and what an answer says of that half, and where. One item
/// stays whole.
fn halved(body: &Bytes) -> (Bytes, Option<(&'static str, Value)>) {
    let mut asked: Value = serde_json::from_slice(body).unwrap();
    let tables = asked["RequestItems"].as_object_mut().unwrap();
    let (table, of_table) = tables.iter_mut().next().unwrap();
    let table = table.clone();
    let mut rest = of_table.clone();
    let halve = |all: &mut Value, rest: &mut Value| {
        let all = all.as_array_mut().unwrap();
        let later = all.split_off(all.len().div_ceil(2));
        let is_whole = later.is_empty();
        *rest = json!(later);
        is_whole
    };
    let (name, is_whole) = match of_table.is_array() {
        true => ("UnprocessedItems", halve(of_table, &mut rest)),
        false => ("UnprocessedKeys", halve(&mut of_table["Keys"], &mut rest["Keys"])),
    };
    let left = (!is_whole).then(|| (name, json!({ table: rest })));
    (asked.to_string().into(), left)
}
