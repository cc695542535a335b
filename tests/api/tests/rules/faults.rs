//! A DynamoDB that does not always do as it is asked.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use dynoxide::Database;
use oncekey::aws::dynamodb::execute;
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

/// The URL of a database of its own, whose calls are answered by `answer`: an operation (`PutItem`) and its body.
pub(crate) async fn database_behind<F>(answer: F) -> String
where
    F: Fn(&Database, &str, Bytes) -> (u16, String) + Send + Sync + 'static,
{
    let (database, answer) = (Database::memory().unwrap(), Arc::new(answer));
    let forward = async move |headers: HeaderMap, body: Bytes| {
        let operation = headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap_or_default().to_owned();
        let answered = tokio::task::spawn_blocking(move || answer(&database, &operation, body));
        let (status, text) = answered.await.unwrap();
        (StatusCode::from_u16(status).unwrap(), text)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward)).await });
    url
}

/// The URL of a database of its own, where `decide` says of each call what becomes of it, by its operation and its body.
pub(crate) async fn faulty_database(decide: impl Fn(&str, &str) -> Fate + Send + Sync + 'static) -> String {
    database_behind(move |database, operation, body| {
        let fate = decide(operation, std::str::from_utf8(&body).unwrap());
        let error = |status, kind: &str, message: &str| {
            let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
            (status, json!({ "__type": kind, "message": message }).to_string())
        };
        match fate {
            Fate::Passes => execute(database, operation, &body),
            Fate::Throttled => error(400, "ThrottlingException", "Rate exceeded"),
            Fate::LosesItsAnswer => {
                let _lost = execute(database, operation, &body);
                error(500, "InternalServerError", "lost")
            }
            Fate::Halves => {
                let (half, left) = halved(&body);
                let (status, text) = execute(database, operation, &half);
                match left.filter(|_| status == 200) {
                    Some((name, left)) => {
                        let mut answer: Value = serde_json::from_str(&text).unwrap();
                        answer[name] = left;
                        (status, answer.to_string())
                    }
                    None => (status, text),
                }
            }
        }
    })
    .await
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
