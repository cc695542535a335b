//! R68: public tokens. What is signed with an API key opens what its scopes cover, and nothing else.

use std::time::Duration;

use oncekey_core::EnvironmentId;
use oncekey_core::environment::{create, revoke, rotate};
use oncekey_core::store::ApiKeyRecord;
use oncekey_http::routes::{self, Access};
use oncekey_tests_api::public_tokens::{HS256, Holder, refusal, signed};
use oncekey_tests_api::{Oncekey, PROD, Place, answer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::tokens::{created, shown};

const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const MINUTE: Duration = Duration::from_secs(60);

/// A run that stays where it is, with these options.
async fn delayed(oncekey: &Oncekey, task: &str, options: Value) -> String {
    let mut options = options;
    options["delay"] = json!("1h");
    oncekey.trigger(task, json!({ "payload": { "secret": 7 }, "options": options })).await.id
}

async fn sees(holder: &Holder<'_>, run: &str) -> bool {
    let (status, answer) = holder.get(&format!("/api/v3/runs/{run}")).await;
    if status == StatusCode::OK {
        assert_eq!(answer["payload"], json!({ "secret": 7 }));
        return true;
    }
    assert!(refusal((status, answer), FORBIDDEN).contains(&format!("needs read:runs:{run}")));
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_public_token_shows_the_runs_that_its_scopes_cover_and_no_others() {
    let oncekey = Oncekey::anywhere().await;
    let (_, batch) = answer(oncekey.post("/api/v3/batches", json!({ "runCount": 1 }).to_string())).await;
    let batch = batch["id"].as_str().unwrap();
    let line = json!({ "index": 0, "task": "echo", "payload": { "secret": 7 }, "options": { "delay": "1h" } });
    answer(oncekey.post(&format!("/api/v3/batches/{batch}/items"), line.to_string())).await;
    let (_, filled) = answer(oncekey.get(&format!("/api/v2/batches/{batch}"))).await;
    let in_batch = filled["runs"][0].as_str().unwrap();
    let tagged = delayed(&oncekey, "echo", json!({ "tags": ["file:1", "other"] })).await;
    let of_task = delayed(&oncekey, "slow", json!({})).await;
    let plain = delayed(&oncekey, "echo", json!({})).await;
    let all = [in_batch, &tagged, &of_task, &plain];
    for (scope, seen) in [
        (format!("read:runs:{plain}"), vec![&plain[..]]),
        ("read:tags:file:1".to_owned(), vec![&tagged]),
        ("read:tasks:slow".to_owned(), vec![&of_task]),
        (format!("read:batch:{batch}"), vec![in_batch]),
        ("read:runs".to_owned(), all.to_vec()),
        ("read:tags:file".to_owned(), vec![]),
        (format!("read:runs:{plain}x"), vec![]),
        (format!("trigger:tasks:echo write:runs:{plain}"), vec![]),
        ("read".to_owned(), vec![]),
        ("admin".to_owned(), vec![]),
    ] {
        let holder = oncekey.holder(&scope.split(' ').collect::<Vec<_>>()).await;
        for run in all {
            assert_eq!(sees(&holder, run).await, seen.contains(&run), "{scope}: {run}");
        }
    }
    assert!(!sees(&oncekey.holder(&[]).await, &plain).await);
    // Whether there is such a run is told to nobody who may not see it.
    let holder = oncekey.holder(&["read:tags:file:1"]).await;
    assert!(!sees(&holder, &format!("run_{}", "a".repeat(32))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_list_is_shown_whose_filter_leaves_only_what_a_token_covers() {
    let oncekey = Oncekey::anywhere().await;
    let tagged = delayed(&oncekey, "echo", json!({ "tags": ["a"] })).await;
    delayed(&oncekey, "echo", json!({ "tags": ["b"] })).await;
    let holder = oncekey.holder(&["read:tags:a", "read:tasks:none"]).await;
    for query in ["filter[tag]=a", "filter[tag]=a&filter[status]=DELAYED&page[size]=1"] {
        let (status, page) = holder.get(&format!("/api/v1/runs?{query}")).await;
        assert_eq!((status, &page["data"][0]["id"]), (StatusCode::OK, &json!(tagged)), "{page}");
        assert_eq!(page["data"].as_array().unwrap().len(), 1);
    }
    assert_eq!(holder.get("/api/v1/runs?filter[taskIdentifier]=none").await.1["data"], json!([]));
    for query in
        ["", "filter[tag]=", "filter[tag]=b", "filter[tag]=a,b", "filter[status]=DELAYED", "filter[isTest]=false"]
    {
        let words = refusal(holder.get(&format!("/api/v1/runs?{query}")).await, FORBIDDEN);
        assert!(words.contains("needs read:runs, or a filter"), "{query}: {words}");
    }
    let (status, page) = oncekey.holder(&["read:runs"]).await.get("/api/v1/runs").await;
    assert_eq!((status, page["data"].as_array().unwrap().len()), (StatusCode::OK, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_run_is_shown_without_relatives_that_its_token_does_not_cover() {
    let oncekey = Oncekey::anywhere().await;
    let parent = delayed(&oncekey, "echo", json!({ "metadata": { "of": "parent" } })).await;
    let child = delayed(&oncekey, "echo", json!({ "parentRunId": parent })).await;
    let path = format!("/api/v3/runs/{child}");
    assert_eq!(oncekey.run(&child).await["relatedRuns"]["parent"]["id"], json!(parent));
    let of_child = format!("read:runs:{child}");
    let (_, run) = oncekey.holder(&[&of_child]).await.get(&path).await;
    assert_eq!((&run["id"], &run["relatedRuns"]), (&json!(child), &json!({})));
    let (_, run) = oncekey.holder(&[&of_child, &format!("read:runs:{parent}")]).await.get(&path).await;
    assert_eq!(run["relatedRuns"]["parent"]["metadata"], json!({ "of": "parent" }));
    // How it ended is told to whoever may see it, and to nobody else.
    let done = oncekey.trigger("echo", json!({ "payload": 1 })).await.id;
    oncekey.finished(&done).await;
    let result = format!("/api/v1/runs/{done}/result");
    let (status, told) = oncekey.holder(&[&format!("read:runs:{done}")]).await.get(&result).await;
    assert_eq!((status, &told["ok"]), (StatusCode::OK, &json!(true)), "{told}");
    refusal(oncekey.holder(&[&of_child]).await.get(&result).await, FORBIDDEN);
}

/// What a client would sign with the claims of an answer's header.
fn token_of(oncekey: &Oncekey, answer: &reqwest::Response, scope: &str) -> String {
    let claims = answer.headers()["x-trigger-jwt-claims"].to_str().unwrap();
    let mut claims: Value = serde_json::from_str(claims).unwrap();
    claims["scopes"] = json!([scope]);
    claims["iss"] = json!("https://id.trigger.dev");
    claims["aud"] = json!("https://api.trigger.dev");
    claims["exp"] = json!(oncekey.clock.now().millis() / 1000 + 60);
    signed(HS256, &claims, oncekey.api_key())
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_handle_comes_with_what_its_token_must_say() {
    let oncekey = Oncekey::anywhere().await;
    let body = json!({ "payload": { "secret": 7 }, "options": { "delay": "1h" } }).to_string();
    let answered = oncekey.post("/api/v1/tasks/echo/trigger", body).send().await.unwrap();
    let headers = answered.headers().clone();
    let handle: Value = answered.json().await.unwrap();
    let run = handle["id"].as_str().unwrap();
    let claims = headers["x-trigger-jwt-claims"].to_str().unwrap();
    let claims: Value = serde_json::from_str(claims).unwrap();
    assert_eq!(claims["pub"], json!(true));
    assert!(!headers.contains_key("x-trigger-jwt"));
    // What says which key signed is not what verifies: whoever had that could sign.
    let hash = oncekey_core::environment::hash_api_key(oncekey.api_key());
    assert_ne!(claims["kid"].as_str().unwrap(), &hash[..32]);
    assert!(!claims.to_string().contains(&hash[..16]), "{claims}");

    let answered = oncekey.post("/api/v1/tasks/echo/trigger", "{}").send().await.unwrap();
    let holder = oncekey.holding(token_of(&oncekey, &answered, &format!("read:runs:{run}")));
    assert!(sees(&holder, run).await);
    let answered = oncekey.post("/api/v3/batches", json!({ "runCount": 0 }).to_string()).send().await.unwrap();
    let headers_of_batch = answered.headers().clone();
    let batch: Value = answered.json().await.unwrap();
    let batch = batch["id"].as_str().unwrap();
    assert_eq!(headers_of_batch["x-trigger-jwt-claims"], headers["x-trigger-jwt-claims"]);
    let scope = format!("read:batch:{batch}");
    let (status, _) = oncekey.holder(&[&scope]).await.get(&format!("/api/v2/batches/{batch}")).await;
    assert_eq!(status, StatusCode::OK);
    let words = refusal(holder.get(&format!("/api/v2/batches/{batch}")).await, FORBIDDEN);
    assert!(words.contains(&format!("needs {scope}")), "{words}");
    // A caller with a public token is given none of that.
    let given = holder.request(Method::GET, &format!("/api/v3/runs/{run}")).send().await.unwrap();
    assert!(!given.headers().contains_key("x-trigger-jwt-claims"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_the_token_of_a_wait_token_completes_that_one_and_no_other() {
    let oncekey = Oncekey::anywhere().await;
    let answered = oncekey.post("/api/v1/waitpoints/tokens", "{}").send().await.unwrap();
    let headers = answered.headers().clone();
    let token: Value = answered.json().await.unwrap();
    assert!(headers.contains_key("x-trigger-jwt-claims"));
    let other = created(&oncekey, json!({})).await;
    let holder = oncekey.holder(&[&format!("write:waitpoints:{}", token["id"].as_str().unwrap())]).await;
    let complete = |token: &Value| format!("/api/v1/waitpoints/tokens/{}/complete", token["id"].as_str().unwrap());
    let words = refusal(holder.post(&complete(&other), &json!({ "data": 1 })).await, FORBIDDEN);
    assert!(words.contains("needs write:waitpoints:waitpoint_"), "{words}");
    assert_eq!(shown(&oncekey, &other).await["status"], "WAITING");
    assert_eq!(holder.post(&complete(&token), &json!({ "data": { "approved": true } })).await.0, StatusCode::OK);
    assert_eq!(shown(&oncekey, &token).await["output"], json!({ "approved": true }).to_string());
    // It does not show what it completes, nor others.
    refusal(holder.get(&format!("/api/v1/waitpoints/tokens/{}", token["id"].as_str().unwrap())).await, FORBIDDEN);
    refusal(holder.get("/api/v1/waitpoints/tokens").await, FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_no_scope_opens_what_takes_an_api_key_alone() {
    let oncekey = Oncekey::anywhere().await;
    let run = delayed(&oncekey, "echo", json!({ "idempotencyKey": "k" })).await;
    let token = created(&oncekey, json!({})).await;
    let mut scopes: Vec<String> =
        ["admin", "read", "write", "read:all", "write:all", "read:runs", "write:runs", "*", "**", ""]
            .map(str::to_owned)
            .into();
    scopes.extend([format!("write:runs:{run}"), format!("cancel:runs:{run}"), format!("read:runs:{run}")]);
    let holder = oncekey.holder(&scopes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let alone = |route: &&routes::Route| route.access == Access::ApiKey && !route.takes_public_tokens();
    for route in routes::ALL.iter().filter(alone) {
        let id = if route.path.contains("waitpoints") { token["id"].as_str().unwrap() } else { &run };
        let path = route.path.replace("{id}", id).replace("{key}", "k").replace("{path}", "x");
        let words = refusal(answer(holder.request(route.method(), &path).body("{}")).await, FORBIDDEN);
        assert!(words.contains("a public token does not open"), "{path}: {words}");
    }
    assert_eq!(oncekey.run(&run).await["status"], "DELAYED");
    assert_eq!(oncekey.all_runs().await, [run]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_token_that_is_not_good_is_refused_in_words_that_say_what_is_wrong() {
    let oncekey = Oncekey::anywhere().await;
    let run = delayed(&oncekey, "echo", json!({})).await;
    let good = oncekey.claims(&["read:runs", "trigger:tasks:echo"]).await;
    let key = oncekey.api_key().to_owned();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let genuine = signed(HS256, &good, &key);
    let (head, signature) = genuine.rsplit_once('.').unwrap();
    let mut others = oncekey.claims(&[]).await;
    others["scopes"] = json!(["read:runs", "trigger:tasks:other"]);
    let widened = signed(HS256, &others, &key);
    let widened = format!("{}.{signature}", widened.rsplit_once('.').unwrap().0);
    let long = "x".repeat(6_200);
    let refused = [
        (format!("{head}."), "signed with another key"),
        (head.to_owned(), "cannot be read"),
        (format!("{genuine}{genuine}"), "cannot be read"),
        ("a.b.c".to_owned(), "cannot be read"),
        ("..".to_owned(), "cannot be read"),
        (widened, "it was changed"),
        (signed(HS256, &good, "another key"), "signed with another key"),
        (signed(HS256, &good, ""), "signed with another key"),
        (signed(r#"{"alg":"none"}"#, &good, &key), "not signed with HS256"),
        (signed(r#"{"alg":"RS256"}"#, &good, &key), "not signed with HS256"),
        (signed(HS256, &with("exp", json!(1_000)), &key), "has expired"),
        (signed(HS256, &with("exp", Value::Null), &key), "does not say when it expires"),
        (signed(HS256, &with("kid", Value::Null), &key), "does not say which API key"),
        (signed(HS256, &with("kid", json!("0".repeat(32))), &key), "no API key is known"),
        (signed(HS256, &with("kid", json!("sessions")), &key), "no API key is known"),
        (signed(HS256, &with("iss", json!("me")), &key), "not a public one"),
        (signed(HS256, &with("sub", json!("local/other")), &key), "another environment"),
        (signed(HS256, &with("long", json!(long)), &key), "longer than 8 KB"),
    ];
    for (token, why) in refused {
        let holder = oncekey.holding(token);
        let words = refusal(holder.get(&format!("/api/v3/runs/{run}")).await, UNAUTHORIZED);
        assert!(words.contains(why), "{why}: {words}");
        refusal(holder.post("/api/v1/tasks/echo/trigger", &json!({})).await, UNAUTHORIZED);
    }
    assert_eq!(oncekey.all_runs().await, [run]);
    assert_eq!(oncekey.holding(genuine).get("/api/v1/runs").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_a_token_opens_nothing_in_another_environment() {
    let oncekey = Oncekey::anywhere().await;
    let run = delayed(&oncekey, "echo", json!({})).await;
    let (dev, dev_key) = (oncekey.claims(&["read:runs"]).await, oncekey.api_key().to_owned());
    let oncekey = oncekey.as_key(PROD);
    let prod = oncekey.holder(&["read:runs", &format!("read:runs:{run}")]).await;
    let path = format!("/api/v3/runs/{run}");
    assert!(refusal(prod.get(&path).await, StatusCode::NOT_FOUND).contains("there is no run"));
    // Whoever names the key of one environment and signs with that of another.
    for (claims, key) in [(dev, oncekey.api_key()), (oncekey.claims(&["read:runs"]).await, &dev_key[..])] {
        let words = refusal(oncekey.holding(signed(HS256, &claims, key)).get(&path).await, UNAUTHORIZED);
        assert!(words.contains("signed with another key"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_tokens_end_with_the_api_key_that_signed_them() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (store, clock) = (oncekey.app().store.clone(), oncekey.clock.clone());
    let acme = EnvironmentId::parse("acme/prod").unwrap();
    let first = create(&store, &clock, &acme).await.unwrap();
    let oncekey = oncekey.as_key(first.reveal());
    let of_first = oncekey.holder(&["read:runs"]).await.token;
    let second = rotate(&store, &clock, &acme, MINUTE).await.unwrap();
    let oncekey = oncekey.as_key(second.reveal());
    let of_second = oncekey.holder(&["read:runs"]).await.token;
    let status = async |token: &str| oncekey.holding(token.to_owned()).get("/api/v1/runs").await;
    assert_eq!(status(&of_first).await.0, StatusCode::OK);
    assert_eq!(status(&of_second).await.0, StatusCode::OK);
    clock.advance(MINUTE);
    assert!(refusal(status(&of_first).await, UNAUTHORIZED).contains("was revoked or rotated"));
    assert_eq!(status(&of_second).await.0, StatusCode::OK);
    let keys = store.api_keys().await.unwrap();
    let present = keys.iter().find(|record| record.environment == acme && record.opens(clock.now())).unwrap();
    revoke(&store, &clock, &acme, present.name()).await.unwrap();
    clock.advance(MINUTE);
    assert!(refusal(status(&of_second).await, UNAUTHORIZED).contains("was revoked or rotated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r68_an_api_key_that_is_too_short_signs_none_and_says_so_wherever_it_matters() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let key = "tr_prod_made_before";
    let environment = EnvironmentId::parse("acme/prod").unwrap();
    let record = ApiKeyRecord::new(environment, key, oncekey.clock.now());
    oncekey.app().store.put_api_key(&record).await.unwrap();
    let oncekey = oncekey.as_key(key);
    let words = refusal(answer(oncekey.post("/api/v1/auth/jwt/claims", "")).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(words.ends_with("make another with `oncekey env rotate acme/prod`"), "{words}");
    // It is good for everything else; the token that its client makes is not, and says why.
    let answered = oncekey.post("/api/v1/tasks/echo/trigger", r#"{"options":{"delay":"1h"}}"#).send().await.unwrap();
    assert_eq!(answered.status(), StatusCode::OK);
    let token = token_of(&oncekey, &answered, "read:runs");
    let words = refusal(oncekey.holding(token).get("/api/v1/runs").await, UNAUTHORIZED);
    assert!(words.contains("oncekey env rotate"), "{words}");
}
