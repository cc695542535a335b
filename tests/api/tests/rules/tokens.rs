//! R92–R96: wait tokens, which end once.

use std::time::Duration;

use futures_util::future::join_all;
use oncekey_core::store::{SHARDS, TokenWritten};
use oncekey_core::token::{StoredToken, TokenClaim};
use oncekey_core::{KeyHash, TokenId};
use oncekey_tests_api::{Oncekey, PROD, Place, answer, dev};
use oncekey_wire::TokenStatus;
use reqwest::StatusCode;
use serde_json::{Value, json};

const TOKENS: &str = "/api/v1/waitpoints/tokens";
const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn created(oncekey: &Oncekey, options: Value) -> Value {
    let (status, token) = answer(oncekey.post(TOKENS, options.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    token
}

pub(super) async fn shown(oncekey: &Oncekey, token: &Value) -> Value {
    let (status, shown) = answer(oncekey.get(&format!("{TOKENS}/{}", token["id"].as_str().unwrap()))).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    shown
}

pub(super) async fn completed(oncekey: &Oncekey, token: &Value, data: Value) {
    let path = format!("{TOKENS}/{}/complete", token["id"].as_str().unwrap());
    let answered = answer(oncekey.post(&path, json!({ "data": data }).to_string())).await;
    assert_eq!(answered, (StatusCode::OK, json!({ "success": true })));
}

async fn listed(oncekey: &Oncekey, query: &str) -> Value {
    let (status, page) = answer(oncekey.get(&format!("{TOKENS}?{query}"))).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap()).collect()
}

/// The URL of a token, at the address that we have: an emulator's own name for it is nobody's.
fn url_of(oncekey: &Oncekey, token: &Value) -> String {
    let url = token["url"].as_str().unwrap();
    oncekey.url(&url[url.find("/api/").unwrap()..])
}

/// What somebody without an API key is answered.
async fn called_back(url: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    answer(reqwest::Client::new().post(url).body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r92_a_token_waits_until_it_is_completed_or_its_time_is_over() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let first = created(&oncekey, json!({ "tags": ["a", "b"], "timeout": "1h" })).await;
    assert_eq!(first["isCached"], false);
    let waiting = shown(&oncekey, &first).await;
    assert_eq!((&waiting["status"], &waiting["tags"]), (&json!("WAITING"), &json!(["a", "b"])));
    assert_eq!(waiting["url"], first["url"]);
    assert!(waiting.get("completedAt").is_none() && waiting.get("output").is_none(), "{waiting}");
    completed(&oncekey, &first, json!({ "approved": true, "by": "ü" })).await;
    let done = shown(&oncekey, &first).await;
    let output: Value = serde_json::from_str(done["output"].as_str().unwrap()).unwrap();
    assert_eq!(output, json!({ "approved": true, "by": "ü" }));
    assert_eq!((&done["status"], &done["outputIsError"]), (&json!("COMPLETED"), &json!(false)));
    assert!(done["completedAt"].is_string(), "{done}");

    let second = created(&oncekey, json!({})).await;
    oncekey.clock.advance(10 * MINUTE - Duration::from_millis(1));
    assert_eq!(shown(&oncekey, &second).await["status"], "WAITING");
    oncekey.clock.advance(Duration::from_millis(1));
    let over = shown(&oncekey, &second).await;
    assert_eq!((&over["status"], &over["outputIsError"]), (&json!("TIMED_OUT"), &json!(true)));
    assert_eq!(over["completedAt"], over["timeoutAt"]);
    let error: Value = serde_json::from_str(over["output"].as_str().unwrap()).unwrap();
    assert_eq!(error["code"], "TRIGGER_WAITPOINT_TIMEOUT");
    assert!(error["message"].as_str().unwrap().contains(second["id"].as_str().unwrap()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r92_what_a_token_cannot_be_is_refused_by_name_and_nothing_is_written() {
    let oncekey = Oncekey::anywhere().await;
    let tag = format!("refused-{}", fastrand::u64(..));
    for (options, status, field) in [
        (json!({ "timeout": "soon" }), 400, "timeout: "),
        (json!({ "timeout": "366d" }), 400, "timeout: "),
        (json!({ "timeout": "2020-01-01T00:00:00Z" }), 400, "timeout: is over already"),
        (json!({ "timeout": 5 }), 400, "timeout: "),
        (json!({ "tags": ["x".repeat(200)] }), 400, "tags: "),
        (json!({ "idempotencyKey": "k".repeat(2_049) }), 400, "idempotencyKey: "),
        (json!({ "idempotencyKey": "k", "idempotencyKeyTTL": "1w" }), 400, "idempotencyKeyTTL: "),
        (json!({ "time": "1h" }), 422, "time: "),
    ] {
        let mut options = options;
        if options.get("tags").is_none() {
            options["tags"] = json!([tag]);
        }
        let (refused, error) = answer(oncekey.post(TOKENS, options.to_string())).await;
        assert_eq!(refused.as_u16(), status, "{options}: {error}");
        assert!(error["error"].as_str().unwrap().starts_with(field), "{error}");
    }
    for query in
        ["page[size]=0", "page[after]=x", "filter[status]=DONE", "filter[task]=x", "filter[createdAt][from]=soon"]
    {
        let (status, error) = answer(oncekey.get(&format!("{TOKENS}?{query}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(error["error"].as_str().unwrap().starts_with(query.split('=').next().unwrap()), "{error}");
    }
    assert_eq!(ids(&listed(&oncekey, &format!("filter[tags]={tag}")).await), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn r92_tokens_are_listed_newest_first_page_by_page_in_their_environment() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let mut made = Vec::new();
    for number in 0..7 {
        oncekey.clock.advance(Duration::from_secs(1));
        let tags = if number % 2 == 0 { json!(["even"]) } else { json!(["odd"]) };
        made.push(created(&oncekey, json!({ "tags": tags, "timeout": "1d" })).await);
    }
    let mut newest: Vec<&str> = made.iter().map(|token| token["id"].as_str().unwrap()).collect();
    newest.reverse();
    let first = listed(&oncekey, "page[size]=3").await;
    assert_eq!(ids(&first), newest[..3]);
    assert!(first["pagination"].get("previous").is_none(), "{first}");
    let next = first["pagination"]["next"].as_str().unwrap();
    let second = listed(&oncekey, &format!("page[size]=3&page[after]={next}")).await;
    assert_eq!(ids(&second), newest[3..6]);
    let next = second["pagination"]["next"].as_str().unwrap();
    let third = listed(&oncekey, &format!("page[size]=3&page[after]={next}")).await;
    assert_eq!((ids(&third), third["pagination"].get("next")), (newest[6..].to_vec(), None));
    let previous = second["pagination"]["previous"].as_str().unwrap();
    let back = listed(&oncekey, &format!("page[size]=3&page[before]={previous}")).await;
    assert_eq!(ids(&back), newest[..3]);

    completed(&oncekey, &made[0], json!(1)).await;
    assert_eq!(ids(&listed(&oncekey, "filter[status]=completed").await), [newest[6]]);
    // A page that finds too little tells where to go on, and those after it find the rest.
    let mut even = Vec::new();
    let mut query = "page[size]=1&filter[tags]=even".to_owned();
    loop {
        let page = listed(&oncekey, &query).await;
        even.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["pagination"].get("next").and_then(Value::as_str) else { break };
        query = format!("page[size]=1&filter[tags]=even&page[after]={next}");
    }
    assert_eq!(even, [newest[0], newest[2], newest[4], newest[6]]);
    let from = oncekey.clock.now().millis() - 2_000;
    assert_eq!(ids(&listed(&oncekey, &format!("filter[createdAt][from]={from}")).await), newest[..3]);
    let oncekey = oncekey.as_key(PROD);
    assert_eq!(ids(&listed(&oncekey, "").await), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn r92_no_token_is_left_out_of_a_list_for_the_size_of_the_others() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let (store, now) = (&oncekey.app().store, oncekey.clock.now());
    // In one shard, more than DynamoDB reads for one answer.
    let ids_of_one: Vec<TokenId> =
        std::iter::repeat_with(|| TokenId::fresh(now)).filter(|id| id.shard(SHARDS) == 0).take(12).collect();
    for id in &ids_of_one {
        let token = StoredToken {
            id: id.clone(),
            status: TokenStatus::Completed,
            created_at: now,
            timeout_at: now,
            code: "c".to_owned(),
            completed_at: Some(now),
            output: Some(format!("{:?}", "x".repeat(120_000))),
            key: None,
            key_ends_at: None,
            tags: Vec::new(),
        };
        assert_eq!(store.put_token(&dev(), &token, now.plus(60 * MINUTE)).await.unwrap(), None);
    }
    let page = listed(&oncekey, "").await;
    assert_eq!(ids(&page).len(), ids_of_one.len());
    assert!(page["data"][0].get("output").is_none(), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_the_first_end_stands_and_whoever_comes_later_is_answered_alike() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let token = created(&oncekey, json!({})).await;
    join_all((0..8).map(|number| completed(&oncekey, &token, json!(number)))).await;
    let won = shown(&oncekey, &token).await;
    completed(&oncekey, &token, json!("later")).await;
    oncekey.clock.advance(11 * MINUTE);
    completed(&oncekey, &token, json!("late")).await;
    assert_eq!(shown(&oncekey, &token).await, won);
    assert!(won["output"].as_str().unwrap().parse::<u8>().is_ok(), "{won}");

    let late = created(&oncekey, json!({ "timeout": "1m" })).await;
    oncekey.clock.advance(MINUTE);
    completed(&oncekey, &late, json!("late")).await;
    assert_eq!(shown(&oncekey, &late).await["status"], "TIMED_OUT");
    // By a clock that is behind: nothing was written.
    let id = TokenId::parse(late["id"].as_str().unwrap()).unwrap();
    let (store, now) = (&oncekey.app().store, oncekey.clock.now());
    assert!(matches!(store.complete_token(&dev(), &id, None, now).await.unwrap(), TokenWritten::Before(_)));
    assert_eq!(store.token(&dev(), &id).await.unwrap().unwrap().output, None);
    let nobody = TokenId::fresh(now);
    assert_eq!(store.complete_token(&dev(), &nobody, None, now).await.unwrap(), TokenWritten::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_a_token_that_was_shown_as_timed_out_is_completed_by_nobody_whose_clock_is_behind() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let token = created(&oncekey, json!({ "timeout": "1m" })).await;
    let before = oncekey.clock.now();
    oncekey.clock.advance(MINUTE);
    assert_eq!(shown(&oncekey, &token).await["status"], "TIMED_OUT");
    let id = TokenId::parse(token["id"].as_str().unwrap()).unwrap();
    let written = oncekey.app().store.complete_token(&dev(), &id, Some("1"), before).await.unwrap();
    assert!(matches!(written, TokenWritten::Before(_)), "{written:?}");
    assert_eq!(shown(&oncekey, &token).await["status"], "TIMED_OUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_a_completion_too_large_or_of_another_environment_is_refused_and_nothing_is_written() {
    let oncekey = Oncekey::anywhere().await;
    let token = created(&oncekey, json!({})).await;
    let path = format!("{TOKENS}/{}/complete", token["id"].as_str().unwrap());
    let (status, error) = answer(oncekey.post(&path, json!({ "data": "x".repeat(131_072) }).to_string())).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(error["error"].as_str().unwrap().starts_with("data: "), "{error}");
    let oncekey = oncekey.as_key(PROD);
    let (status, error) = answer(oncekey.post(&path, r#"{"data": 1}"#)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(error["error"].as_str().unwrap().starts_with("there is no wait token"), "{error}");
    let oncekey = oncekey.as_key(oncekey_tests_api::DEV);
    assert_eq!(shown(&oncekey, &token).await["status"], "WAITING");
}

#[tokio::test(flavor = "multi_thread")]
async fn r94_a_key_gives_one_token_while_its_window_lasts() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let keyed = || created(&oncekey, json!({ "idempotencyKey": "order", "idempotencyKeyTTL": "1h", "timeout": "30m" }));
    let all = join_all((0..8).map(|_| keyed())).await;
    assert!(all.iter().all(|token| token["id"] == all[0]["id"] && token["url"] == all[0]["url"]), "{all:?}");
    assert_eq!(all.iter().filter(|token| token["isCached"] == false).count(), 1, "{all:?}");
    completed(&oncekey, &all[0], json!("done")).await;
    oncekey.clock.advance(59 * MINUTE);
    assert_eq!(keyed().await["id"], all[0]["id"], "though it has ended");
    assert_eq!(ids(&listed(&oncekey, "filter[idempotencyKey]=order").await).len(), 1);
    oncekey.clock.advance(MINUTE);
    let anew = keyed().await;
    assert_ne!(anew["id"], all[0]["id"]);
    assert_eq!(anew["isCached"], false);
    let oncekey = oncekey.as_key(PROD);
    let other = created(&oncekey, json!({ "idempotencyKey": "order" })).await;
    assert_eq!(other["isCached"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn r94_whoever_claims_a_key_and_dies_is_helped() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let now = oncekey.clock.now();
    let claim = TokenClaim { token: TokenId::fresh(now), ends_at: now.plus(60 * MINUTE) };
    let store = &oncekey.app().store;
    assert_eq!(store.claim_token(&dev(), &KeyHash::of_text("k"), &claim, now).await.unwrap(), None);
    let helped = created(&oncekey, json!({ "idempotencyKey": "k" })).await;
    assert_eq!((&helped["id"], &helped["isCached"]), (&json!(claim.token.to_string()), &json!(true)));
    let shown = shown(&oncekey, &helped).await;
    assert_eq!((&shown["status"], &shown["idempotencyKey"]), (&json!("WAITING"), &json!("k")));
    assert_eq!(shown["idempotencyKeyExpiresAt"], claim.ends_at.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn r96_whoever_has_its_url_completes_a_token_without_an_api_key() {
    let oncekey = Oncekey::anywhere().await;
    for (body, output) in
        [(r#" {"ok": [1]} "#, Some(json!({ "ok": [1] }))), ("a=b&c=d", Some(json!("a=b&c=d"))), (" ", None)]
    {
        let token = created(&oncekey, json!({})).await;
        let answered = called_back(&url_of(&oncekey, &token), body).await;
        assert_eq!(answered, (StatusCode::OK, json!({ "success": true })));
        let shown = shown(&oncekey, &token).await;
        assert_eq!(shown["status"], "COMPLETED");
        let told = shown.get("output").map(|text| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap());
        assert_eq!(told, output);
        let again = called_back(&url_of(&oncekey, &token), "\"again\"").await;
        assert_eq!(again.0, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r96_a_url_that_is_not_the_tokens_completes_nothing() {
    let oncekey = Oncekey::anywhere().await;
    let (token, other) = (created(&oncekey, json!({})).await, created(&oncekey, json!({})).await);
    let (url, id) = (&url_of(&oncekey, &token), token["id"].as_str().unwrap());
    let of_other = url_of(&oncekey, &other).replace(other["id"].as_str().unwrap(), id);
    let (bare, _) = url.split_once('?').unwrap();
    let short = &url[..url.len() - 1];
    for forged in [
        &of_other,
        bare,
        short,
        &format!("{short}_"),
        &url.replace("environment=", "environment=a"),
        &url.replace(id, "x"),
    ] {
        let (status, error) = called_back(forged, "1").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{forged}");
        assert!(error["error"].as_str().unwrap().starts_with("code: "), "{error}");
    }
    let (status, error) = called_back(url, "x".repeat(131_072)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(error["error"].as_str().unwrap().starts_with("body: "), "{error}");
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for body in [nested.as_str(), "\"\\ud800\""] {
        let (status, error) = called_back(url, body.to_owned()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
        let path = format!("{TOKENS}/{id}/complete");
        assert_eq!(answer(oncekey.post(&path, format!("{{\"data\": {body}}}"))).await.0, StatusCode::BAD_REQUEST);
    }
    for kind in ["Application/JSON; charset=utf-8", "application/cloudevents+json"] {
        let cut_off = reqwest::Client::new().post(url).header("content-type", kind).body("{\"approved\": tr");
        assert_eq!(answer(cut_off).await.0, StatusCode::BAD_REQUEST, "{kind}");
    }
    // Cut off on its way.
    let cut_off = reqwest::Client::new().post(url).header("content-type", "application/json").body("{\"approved\": tr");
    let (status, error) = answer(cut_off).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error["error"].as_str().unwrap().starts_with("body: "), "{error}");
    let (status, error) = called_back(url, vec![0xff]).await;
    assert_eq!((status, &error["error"]), (StatusCode::BAD_REQUEST, &json!("body: it is not UTF-8")));
    for token in [&token, &other] {
        assert_eq!(shown(&oncekey, token).await["status"], "WAITING");
    }
}
