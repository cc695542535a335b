//! Every parser that reads what others wrote, with whatever they may have written: none panics, none takes what it refuses to
//! write, and what is taken reads back.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use axum::http::{HeaderMap, HeaderValue};
use oncekey_core::bulk::{MAX_RUNS, Selection};
use oncekey_core::key::{KeyGroup, KeyHash};
use oncekey_core::payload::path::BlobPath;
use oncekey_core::protocol::bulk::BulkMessage;
use oncekey_core::protocol::bulk::list::BulkCursor;
use oncekey_core::public_token::{SigningKey, Unverified};
use oncekey_core::queue::message::{CompletionEvent, Remains, RunMessage};
use oncekey_core::request::bulk::BulkActionBody;
use oncekey_core::request::{BatchLine, Envelope, KeyHeaders, TriggerBody, TriggerMessage, parse_json};
use oncekey_core::run::waiter::Waiter;
use oncekey_core::runs::list::{Cursor, Filter};
use oncekey_core::{BatchId, EnvironmentId, Error, RequestId, RunId, TaskId, Timestamp, Window, span};
use oncekey_http::key_headers;
use oncekey_tests_api::public_tokens::{HS256, signed};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Any JSON, of the sizes and depths that people send.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["", "k", "30d", "0s", "1h30m", "2026-01-31T09:30:00Z", "default", "run"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(field(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The names that our bodies have, and others.
fn field() -> impl Strategy<Value = String> {
    let known = [
        "payload",
        "options",
        "idempotencyKey",
        "idempotencyKeyTTL",
        "idempotencyKeyOptions",
        "idempotencyKeyFrom",
        "idempotencyKeyGroup",
        "key",
        "scope",
        "delay",
        "ttl",
        "tags",
        "metadata",
        "maxAttempts",
        "maxDuration",
        "queue",
        "name",
        "payloadType",
        "parentRunId",
        "test",
        "index",
        "task",
        "environment",
        "requestId",
        "v",
        "run_id",
        "attempt",
        "resume",
        "outcome",
        "kind",
        "first",
        "spec",
        "due_at",
        "wakes",
        "error",
        "output",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// What is said of the runs of a bulk action: fields of a filter, with values that some of them take, or none.
fn bulk_filter() -> impl Strategy<Value = Value> {
    let names =
        ["status", "taskIdentifier", "tag", "queue", "batch", "schedule", "isTest", "from", "to", "period", "version"];
    let said =
        [json!("FAILED"), json!(["QUEUED", "FAILED"]), json!("echo"), json!([]), json!(true), json!("7d"), json!(5)];
    let value = prop_oneof![2 => prop::sample::select(said.to_vec()), 1 => any_json()];
    let fields = prop::collection::hash_map(prop::sample::select(names.to_vec()).prop_map(str::to_owned), value, 0..4);
    fields.prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn envelope(key: Option<String>) -> Envelope {
    Envelope {
        key: KeyHeaders { key, ..KeyHeaders::default() },
        ..Envelope::new(
            EnvironmentId::parse("a/b").unwrap(),
            TaskId::parse("t").unwrap(),
            RequestId::fresh(),
            Timestamp::from_millis(1_790_000_000_000),
        )
    }
}

/// Whether an error says something to whoever caused it.
fn helps(error: &oncekey_core::Error) -> bool {
    let text = error.to_string();
    text.len() > 8 && text.len() < 2_000
}

/// Bytes that are nearly JSON.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    (any_json(), any::<prop::sample::Index>(), any::<u8>(), 0..3u8).prop_map(|(value, place, byte, what)| {
        let mut text = value.to_string().into_bytes();
        let place = place.index(text.len());
        match what {
            0 => text[place] = byte,
            1 => text.truncate(place),
            _ => {}
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_trigger_s_body_is_taken_or_refused_in_words(body in nearly_json(), key in any::<Option<String>>()) {
        match parse_json::<TriggerBody<'_>>(&body).and_then(|body| body.check(envelope(key))) {
            Ok(request) => {
                prop_assert!(request.window.end(Timestamp::default()).millis() >= 1_000);
                prop_assert!(request.options.tags.len() <= 10);
                prop_assert!(request.payload.value().is_ok());
            }
            Err(error) => prop_assert!(helps(&error), "{error}"),
        }
    }

    #[test]
    fn a_body_of_our_fields_is_taken_or_refused_in_words(payload in any_json(), options in any_json()) {
        let body = json!({ "payload": payload, "options": options }).to_string();
        if let Err(error) = parse_json::<TriggerBody<'_>>(body.as_bytes()).and_then(|body| body.check(envelope(None))) {
            prop_assert!(helps(&error), "{error}");
        }
    }

    #[test]
    fn a_batch_s_line_is_taken_or_refused_in_words(line in nearly_json(), item in any_json()) {
        for line in [line, json!({ "index": 1, "task": "t", "payload": item.clone(), "options": item }).to_string().into_bytes()] {
            let parsed = parse_json::<BatchLine<'_>>(&line).and_then(|line| line.body_and_ignored()?.0.check(envelope(None)));
            if let Err(error) = parsed {
                prop_assert!(helps(&error), "{error}");
            }
        }
    }

    #[test]
    fn messages_are_read_or_refused(body in nearly_json(), text in any::<String>()) {
        for body in [String::from_utf8_lossy(&body).into_owned(), text] {
            let _ = parse_json::<TriggerMessage<'_>>(body.as_bytes()).map(|message| message.into_body().check(envelope(None)));
            let _ = Remains::of(&body);
            if let Ok(message) = RunMessage::parse(&body) {
                let again = serde_json::to_string(&message).unwrap();
                prop_assert!(RunMessage::parse(&again).is_ok());
            }
            if let Ok(event) = CompletionEvent::parse(&body) {
                let again = serde_json::to_string(&event).unwrap();
                prop_assert!(CompletionEvent::parse(&again).is_ok());
            }
        }
    }

    #[test]
    fn spans_windows_and_moments_are_read_or_refused(text in "[0-9smhdwx.: TZ-]{0,24}", other in any::<String>()) {
        for text in [text.as_str(), other.as_str()] {
            let _ = (span::parse(text), span::parse_single(text));
            if let Ok(window) = Window::from_wire("idempotencyKeyTTL", text) {
                let end = window.end(Timestamp::default()).millis();
                prop_assert!((1_000..=365 * 86_400_000).contains(&end));
            }
            if let Ok(moment) = Timestamp::parse(text) {
                prop_assert_eq!(Timestamp::parse(&moment.to_string()).unwrap(), moment);
            }
        }
    }

    #[test]
    fn names_are_read_back_or_refused(text in any::<String>(), near in "(run|batch)_[a-z2-7]{30,33}", path in "[a-zA-Z0-9_./-]{0,40}") {
        for text in [&text, &near, &path] {
            prop_assert!(RunId::parse(text).map_or(true, |id| id.as_str() == text));
            prop_assert!(BatchId::parse(text).map_or(true, |id| id.as_str() == text));
            prop_assert!(TaskId::parse(text).map_or(true, |id| !id.as_str().contains(['#', '@', '\0', ' '])));
            prop_assert!(EnvironmentId::parse(text).map_or(true, |id| !id.as_str().contains('#')));
            prop_assert!(KeyGroup::parse(text).map_or(true, |group| group.to_string() == **text));
            let leads_away = |path: &BlobPath| path.as_str().split('/').any(|name| name.is_empty() || name == ".." || name == ".");
            prop_assert!(BlobPath::parse("path", text).map_or(true, |path| !leads_away(&path)));
            if let Ok(hash) = KeyHash::from_wire("key", text) {
                prop_assert!(hash.as_str().len() == 64 && hash.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
    }

    #[test]
    fn a_bulk_action_s_body_is_never_about_all_runs_for_want_of_a_word(
        action in prop::sample::select(vec!["cancel", "replay", "delete"]), filter in bulk_filter(), ids in any_json(), which in 0..4u8, near in nearly_json(),
    ) {
        let body = match which {
            0 => json!({ "action": action, "filter": filter }).to_string().into_bytes(),
            1 => json!({ "action": action, "runIds": ids }).to_string().into_bytes(),
            2 => json!({ "action": action, "runIds": ids, "filter": filter }).to_string().into_bytes(),
            _ => near,
        };
        match BulkActionBody::parse(&body, Timestamp::from_millis(1_790_000_000_000)).map(|request| (request.kind, request.selection)) {
            Ok((_, Selection::Runs(runs))) => prop_assert!((1..=MAX_RUNS).contains(&runs.len())),
            Ok((kind, Selection::Filter(filter))) => {
                prop_assert!(*filter != Filter::default());
                let final_ones = filter.statuses.iter().flatten().filter(|status| status.is_final()).count();
                prop_assert!(kind.verb() == "replay" || (filter.statuses.is_some() && final_ones == 0));
            }
            Err(error) => prop_assert!(helps(&error), "{error}"),
        }
        prop_assert_eq!(BulkMessage::parse(&String::from_utf8_lossy(&body)), None);
    }

    #[test]
    fn cursors_and_waiters_are_read_back_or_refused(text in any::<String>(), near in "[0-9]{13,17}[.#](run|bulk)_[a-z2-7]{32}", waiter in "run_[a-z2-7]{32}(#[0-9]{1,12}){1,3}") {
        for text in [&text, &near] {
            if let Ok(cursor) = Cursor::parse("page[after]", text) {
                prop_assert_eq!(Cursor::parse("page[after]", &cursor.to_string()).unwrap(), cursor);
            }
            if let Ok(cursor) = BulkCursor::parse("page[after]", text) {
                prop_assert_eq!(BulkCursor::parse("page[after]", &cursor.to_string()).unwrap(), cursor);
            }
        }
        if let Some(read) = Waiter::parse(&waiter) {
            prop_assert_eq!(Waiter::parse(&read.to_string()), Some(read));
        }
    }

    #[test]
    fn a_key_s_header_is_what_was_quoted(text in "[^\\p{Cc}]{0,40}", sent in any::<Vec<u8>>()) {
        let read = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(value).ok()?);
            Some(key_headers(&headers))
        };
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        let quoted = read(format!("\"{escaped}\"").as_bytes()).unwrap().unwrap();
        prop_assert_eq!(quoted.key, Some(text));
        if let Some(Err(error)) = read(&sent) {
            prop_assert!(helps(&error), "{error}");
        }
    }

    #[test]
    fn a_public_token_is_taken_if_its_key_signed_it_whatever_else_it_says(
        text in "[a-zA-Z0-9_.=-]{0,80}", header in any_json(), more in any_json(), scopes in prop::collection::vec(any::<String>(), 0..4),
    ) {
        let (key, environment) = ("any key", EnvironmentId::parse("a/b").unwrap());
        let taken = |token: &str| {
            let now = Timestamp::from_millis(1_000_000);
            let token = Unverified::parse(token)?;
            token.signer()?;
            token.verify(&SigningKey::of_text(key), &environment, now)
        };
        let claims = |more: Value| {
            json!({ "iss": "https://id.trigger.dev", "aud": "https://api.trigger.dev", "sub": "a/b", "pub": true, "kid": "k",
                    "exp": 2_000, "scopes": scopes, "realtime": more })
        };
        prop_assert!(taken(&signed(HS256, &claims(more.clone()), key)).is_ok());
        for wrong in [
            text,
            signed(HS256, &claims(more.clone()), "another key"),
            signed(&header.to_string(), &claims(more.clone()), key),
            signed(HS256, &more, key),
        ] {
            prop_assert!(matches!(taken(&wrong), Err(Error::Unauthorized(_))), "{wrong}");
        }
    }
}

/// Cookies, forms and queries of the dashboard, through its own door.
#[tokio::test(flavor = "multi_thread")]
async fn no_cookie_form_or_query_breaks_a_page() {
    let oncekey = oncekey_tests_api::Oncekey::anywhere().await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut noise = |most: usize| -> String {
        let characters: Vec<char> = "=;,.%{}\"\\/?&+#\u{e9}\u{1f511}aZ0 ".chars().collect();
        (0..random.usize(..most)).map(|_| characters[random.usize(..characters.len())]).collect()
    };
    for _ in 0..300 {
        let (query, body) = (noise(60), noise(200));
        let cookie: String = noise(80).chars().filter(char::is_ascii).collect();
        for path in ["/", "/runs", "/tokens", "/keys", "/try", "/sign-in", "/runs/x", "/bulk", "/bulk/x"] {
            let url = format!("{}?{}", oncekey.url(path), query.replace(['#', ' '], ""));
            for request in [http.get(&url), http.post(&url).body(body.clone())] {
                let answer = request.header("cookie", format!("oncekey_session={cookie}")).send().await.unwrap();
                assert!(answer.status().as_u16() < 500, "{path}: {query:?} {body:?} {cookie:?}");
            }
        }
    }
}
