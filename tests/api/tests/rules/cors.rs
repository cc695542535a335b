//! R68: which pages may call. Those of origins that are known, with a public token, what takes one; with an API key none.

use axum::Router;
use axum::routing::get;
use oncekey_http::Origins;
use oncekey_http::routes::{self, Route};
use oncekey_tests_api::public_tokens::Holder;
use oncekey_tests_api::{Oncekey, Place};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

const HERE: &str = "http://localhost:5173";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";

/// What a browser asks before a page may send this.
fn preflight(oncekey: &Oncekey, path: &str, method: &Method) -> RequestBuilder {
    let request = reqwest::Client::new().request(Method::OPTIONS, oncekey.url(path)).header("origin", HERE);
    let request = request.header("access-control-request-method", method.as_str());
    request.header("access-control-request-headers", "authorization,content-type,x-trigger-source")
}

fn path(route: &Route) -> String {
    route.path.replace(['{', '}'], "")
}

async fn headers(request: RequestBuilder) -> (StatusCode, HeaderMap) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.headers().clone())
}

fn is_told_nothing(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| name.as_str().starts_with("access-control-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_browser_is_told_that_pages_may_call_what_takes_public_tokens_and_nothing_else() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let mut taken = 0;
    for route in &routes::ALL {
        let (path, method) = (path(route), route.method());
        let (status, told) = headers(preflight(&oncekey, &path, &method)).await;
        if !route.takes_public_tokens() {
            assert!(is_told_nothing(&told) && !status.is_success(), "{method} {path}: {status} {told:?}");
            continue;
        }
        taken += 1;
        assert_eq!(status, StatusCode::NO_CONTENT, "{method} {path}");
        assert_eq!(
            (&told[ALLOW_ORIGIN], &told["access-control-allow-methods"]),
            (&HERE.parse().unwrap(), &method.as_str().parse().unwrap())
        );
        assert_eq!(told["access-control-allow-headers"], "authorization,content-type,x-trigger-source");
        assert!(told["vary"].to_str().unwrap().contains("origin"));
        // The same path by another method, unless that takes them too.
        for other in [Method::DELETE, Method::PATCH, Method::OPTIONS] {
            assert!(is_told_nothing(&headers(preflight(&oncekey, &path, &other)).await.1), "{other} {path}");
        }
    }
    assert_eq!(taken, 8);
    // A preflight of no method is none, and one that names nonsense neither.
    let bare = reqwest::Client::new().request(Method::OPTIONS, oncekey.url("/api/v1/runs")).header("origin", HERE);
    assert!(is_told_nothing(&headers(bare.try_clone().unwrap()).await.1));
    let nonsense = bare.header("access-control-request-method", "a b");
    assert!(is_told_nothing(&headers(nonsense).await.1));
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_function_that_does_not_have_a_path_says_which_pages_may_call_it() {
    // API Gateway leads what a browser asks to the function for runs, whichever function has the path.
    let router = Router::new().route("/health", get(|| async { "ok" }));
    let router = oncekey_http::finish(router, Origins::judged(|origin| origin == HERE));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    let ask = |path: &str, origin: &str| {
        let request = reqwest::Client::new().request(Method::OPTIONS, format!("{url}{path}")).header("origin", origin);
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
    };
    for path in ["/api/v1/tasks/mail%2Fsend%20now/trigger", "/api/v3/batches", "/api/v3/batches/batch_x/items"] {
        let (status, told) = headers(ask(path, HERE)).await;
        assert_eq!((status, &told[ALLOW_ORIGIN]), (StatusCode::NO_CONTENT, &HERE.parse().unwrap()), "{path}");
        assert!(is_told_nothing(&headers(ask(path, "https://evil.example")).await.1), "{path}");
    }
    for path in ["/api/v1/schedules", "/api/v1/tasks/a/b/trigger", "/health", "/none"] {
        assert!(is_told_nothing(&headers(ask(path, HERE)).await.1), "{path}");
    }
}

/// The same request from a page.
fn from_page(request: RequestBuilder) -> RequestBuilder {
    request.header("origin", HERE)
}

async fn asks(holder: &Holder<'_>, method: Method, path: &str) -> (StatusCode, HeaderMap) {
    headers(from_page(holder.request(method, path).body("{}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_page_may_read_what_is_answered_to_a_public_token_and_never_to_an_api_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "delay": "1h" } })).await.id;
    let (run, runs) = (format!("/api/v3/runs/{run}"), "/api/v1/runs");
    let good = oncekey.holder(&["read:runs", "trigger:tasks:echo"]).await;
    let bad = oncekey.holding("a.b.c".to_owned());
    let trigger = "/api/v1/tasks/echo/trigger";
    for (holder, method, path, status) in [
        (&good, Method::GET, &run[..], StatusCode::OK),
        (&good, Method::GET, runs, StatusCode::OK),
        (&good, Method::POST, trigger, StatusCode::OK),
        // A page reads why it was refused, too.
        (&good, Method::POST, "/api/v1/tasks/slow/trigger", StatusCode::FORBIDDEN),
        (&good, Method::GET, "/api/v3/runs/none", StatusCode::NOT_FOUND),
        (&bad, Method::GET, runs, StatusCode::UNAUTHORIZED),
    ] {
        let (answered, told) = asks(holder, method, path).await;
        assert_eq!((answered, &told[ALLOW_ORIGIN]), (status, &HERE.parse().unwrap()), "{path}");
        assert!(told["access-control-expose-headers"].to_str().unwrap().contains("x-trigger-jwt"));
        assert!(!told.contains_key("access-control-allow-credentials"));
    }
    // What takes an API key alone is not told even to a token's page; and no page is told what an API key is answered.
    for path in ["/api/v1/schedules", "/api/v1/waitpoints/tokens", "/openapi.json", "/health", "/none"] {
        assert!(is_told_nothing(&asks(&good, Method::GET, path).await.1), "{path}");
    }
    for request in [oncekey.get(runs), oncekey.get(&run), oncekey.post(trigger, "{}")] {
        let (status, told) = headers(from_page(request)).await;
        assert!(status == StatusCode::OK && is_told_nothing(&told), "{told:?}");
    }
    let nobody = reqwest::Client::new().get(oncekey.url(runs));
    assert!(is_told_nothing(&headers(from_page(nobody)).await.1));
    // Who is no page is told nothing of it either.
    assert!(is_told_nothing(&headers(good.request(Method::GET, runs)).await.1));
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_page_from_elsewhere_is_told_nothing() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let good = oncekey.holder(&["read:runs"]).await;
    for origin in ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost@evil.example"] {
        let request = good.request(Method::GET, "/api/v1/runs").header("origin", origin);
        let (status, told) = headers(request).await;
        assert!(status == StatusCode::FORBIDDEN && is_told_nothing(&told), "{origin}");
    }
    let twice = good.request(Method::GET, "/api/v1/runs").header("origin", HERE).header("origin", "http://localhost:1");
    assert!(is_told_nothing(&headers(twice).await.1));
}
