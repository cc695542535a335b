//! What the official client can ask for and Oncekey does not have: answered at once and for good, in words, so that nobody
//! takes it for a wrong URL or waits for it.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::refusal;

/// A family of paths. `*` stands for one segment, and `**`, at the end, for any number of them.
struct Absent {
    paths: &'static [&'static str],
    what: &'static str,
    instead: &'static str,
}

const ABSENT: [Absent; 14] = [
    Absent {
        paths: &["/realtime/v1/runs/**", "/realtime/v1/batches/**"],
        what: "realtime subscriptions",
        instead: "ask for a run until it is final with runs.poll(id), or for a batch with batch.retrieve(id)",
    },
    Absent {
        paths: &["/realtime/v1/streams/**", "/api/v1/runs/*/input-streams/**", "/api/v1/runs/*/session-streams/**"],
        what: "streams",
        instead: "return what a task makes as its output, or write it to a store of yours",
    },
    Absent {
        paths: &["/api/v1/sessions/**", "/realtime/v1/sessions/**"],
        what: "sessions",
        instead: "keep a conversation in a store of yours, and trigger a task for each turn",
    },
    Absent {
        paths: &["/engine/v1/**"],
        what: "waits of a task from outside of its own process",
        instead: "run the task with `oncekey dev --tasks DIR`, or write it for a worker in Rust",
    },
    Absent {
        paths: &["/api/v1/concurrency-limits/**"],
        what: "limits that several queues share",
        instead: "give a queue its limit with queue({ name, concurrencyLimit }), and steer it with queues.overrideConcurrencyLimit",
    },
    Absent {
        paths: &["/api/v1/auth/public-tokens", "/api/v1/auth/oidc/**"],
        what: "tokens of its own making",
        instead: "sign them with your API key, as auth.createPublicToken does",
    },
    Absent {
        paths: &["/api/v1/projects/*/envvars/**"],
        what: "environment variables",
        instead: "set those of a worker in its deployment's template",
    },
    Absent {
        paths: &["/api/v1/projects/*/runs"],
        what: "projects to list by",
        instead: "call runs.list() without a project: the API key says which environment is meant",
    },
    Absent { paths: &["/api/v1/deployments/**"], what: "deployments", instead: "deploy a worker with `sam deploy`" },
    Absent {
        paths: &["/api/v1/query/**", "/api/v1/reports/**"],
        what: "queries and reports",
        instead: "list runs with runs.list(filter), or look at the metrics in CloudWatch",
    },
    Absent { paths: &["/api/v1/prompts/**"], what: "prompts", instead: "keep them with your code" },
    Absent {
        paths: &["/api/v1/webhooks/**"],
        what: "webhook endpoints",
        instead: "take the webhook yourself, and trigger a task with the event's id as its key",
    },
    Absent {
        paths: &[
            "/api/v1/runs/*/trace",
            "/api/v1/runs/*/events",
            "/api/v1/runs/*/spans/*",
            "/api/v1/runs/*/packets/*",
            "/api/v1/batches/*/results",
        ],
        what: "traces, and no results but those of a run or batch as a whole",
        instead: "see runs.retrieve(id), batch.retrieve(id), the dashboard's timeline, and X-Ray",
    },
    Absent {
        paths: &["/api/v2/tasks/batch", "/api/v1/tasks/batch", "/api/v1/tasks/*/batch"],
        what: "batches in one call",
        instead: "create one by POST /api/v3/batches, and send its items: clients from 4.3 on do",
    },
];

/// Sent by the client's realtime calls alone.
const REALTIME_VERSION: &str = "x-trigger-electric-version";

/// The answer to a request for what Oncekey does not have, if it is one.
pub(crate) fn answer(uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let asked: Vec<&str> = uri.path().split('/').skip(1).collect();
    let of = |absent: &&Absent| absent.paths.iter().any(|path| matches(path, &asked));
    let absent = ABSENT.iter().find(of)?;
    let text = format!("Oncekey has no {}: {}", absent.what, absent.instead);
    let is_live = uri.query().is_some_and(|query| query.contains("live=true"));
    if headers.contains_key(REALTIME_VERSION) && !is_live {
        return Some(refused_row(&text));
    }
    // Not 404: the client has words of its own for some of those.
    Some(refusal(StatusCode::UNPROCESSABLE_ENTITY, &text))
}

fn matches(path: &str, asked: &[&str]) -> bool {
    let mut asked = asked.iter();
    for part in path.split('/').skip(1) {
        match (part, asked.next()) {
            ("**", _) => return true,
            ("*", Some(_)) => {}
            (part, Some(given)) if part == *given => {}
            _ => return false,
        }
    }
    asked.next().is_none()
}

/// The one answer that ends a realtime call with an error. Whatever the status of a refusal, the client's iteration over the
/// updates of a run is not told of it, and never ends. A row whose metadata is said to lie in the store is an error to it, in
/// which stands where: the text. What the client asks next, for changes of that row, is refused as everything else is.
fn refused_row(text: &str) -> Response {
    let moment = "1970-01-01T00:00:00";
    let row = json!({ "id": "none", "friendlyId": "none", "taskIdentifier": "none", "status": "PENDING",
        "createdAt": moment, "updatedAt": moment, "metadata": text, "metadataType": "application/store" });
    let messages: Value = json!([
        { "key": "none", "value": row, "headers": { "operation": "insert" } },
        { "headers": { "control": "up-to-date" } },
    ]);
    let headers = [
        ("electric-handle", "none"),
        ("electric-offset", "0_0"),
        ("electric-schema", "{}"),
        ("x-should-retry", "false"),
    ];
    let mut response = Json(messages).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes;

    #[test]
    fn no_path_that_is_served_is_said_to_be_absent() {
        for route in routes::ALL {
            let uri = route.path.replace(['{', '}'], "").parse().expect("a path");
            assert!(answer(&uri, &HeaderMap::new()).is_none(), "{uri}");
        }
    }

    #[test]
    fn a_family_is_told_by_whole_segments() {
        let is_absent = |path: &str| answer(&path.parse().expect("a path"), &HeaderMap::new()).is_some();
        for path in [
            "/api/v1/concurrency-limits",
            "/api/v1/concurrency-limits/q/reset",
            "/realtime/v1/runs",
            "/api/v1/runs/run_a/trace",
        ] {
            assert!(is_absent(path), "{path}");
        }
        for path in
            ["/api/v1/queues", "/api/v1/concurrency-limitsx", "/api/v1/runs//", "/api/v1/runs/run_a/trace/x", "/api"]
        {
            assert!(!is_absent(path), "{path}");
        }
    }
}
