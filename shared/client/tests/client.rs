//! The client against a local stack, and against a server that answers badly.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::{Json, Router};
use futures_util::TryStreamExt;
use oncekey::{Options, Stack};
use oncekey_client::{
    BatchItem, BatchStatus, BulkActionStatus, BulkActionType, BulkSelection, Client, Error, Key, KeyStatus, OnMissed,
    OnOverlap, RunStatus, ScheduleId, SchedulePlan, Scope,
};
use serde_json::{Value, json};

async fn start() -> (Stack, Client) {
    let stack = Stack::start(Options::in_memory()).await.unwrap();
    let client = Client::new(&stack.url(), "tr_dev_local").unwrap();
    (stack, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_a_key_gives_the_first_triggers_run_until_it_is_reset() {
    let (_stack, client) = start().await;
    let trigger = || client.trigger("echo", &json!({ "n": 1 })).idempotency_key(["order", "42"]).key_ttl("1h");
    let first = trigger().await.unwrap();
    let again = trigger().await.unwrap();
    assert_eq!((first.is_cached, again.is_cached, &again.id), (false, true, &first.id));
    let told = first.idempotency.unwrap();
    assert_eq!((told.key.as_str(), told.status.known()), ("order-42", Some(KeyStatus::Created)));

    let key = || Key::from(["order", "42"]).global();
    assert_eq!(client.key("echo", key()).await.unwrap().unwrap().run_id, first.id);
    client.reset("echo", key()).await.unwrap();
    assert_eq!(client.key("echo", key()).await.unwrap(), None);
    assert_ne!(trigger().await.unwrap().id, first.id);
    let missing = client.reset("echo", Key::from("other").global()).await.unwrap_err();
    assert_eq!(missing.status(), Some(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_key_from_inside_a_task_is_reset_with_its_run() {
    let (_stack, client) = start().await;
    let order = json!({ "orderId": "7", "email": "a@example.com" });
    let parent = client.trigger("process-order", &order).await.unwrap();
    let child = client.runs().poll(&parent.id).await.unwrap().output.unwrap().value()["child"].clone();
    let key = Key::from("confirm-order-7");
    let error = client.reset("send-email", key.clone()).await.unwrap_err();
    assert!(matches!(error, Error::KeyNeeds { scope: Scope::Run, .. }), "{error}");
    let error = client.reset("send-email", key.clone().scope(Scope::Attempt).in_run(&parent.id)).await.unwrap_err();
    assert!(matches!(error, Error::KeyNeeds { scope: Scope::Attempt, .. }), "{error}");
    let held = client.key("send-email", key.clone().in_run(&parent.id)).await.unwrap().unwrap();
    assert_eq!(child, held.run_id.as_str());
    client.reset("send-email", key.in_run(&parent.id)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_payload_and_output_come_back_whole() {
    let (_stack, client) = start().await;
    let text = "x".repeat(1_000_000);
    let run = client.trigger("echo", &text).await.unwrap();
    let run = client.runs().poll(&run.id).await.unwrap();
    assert_eq!((run.payload.unwrap().value(), run.output.unwrap().value()), (json!(text), json!(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_retrieved_cancelled_replayed_and_rescheduled() {
    let (_stack, client) = start().await;
    let runs = client.runs();
    let delayed = client.trigger("echo", &1).delay("1h").tags(["a"]).metadata(json!({ "m": 1 })).await.unwrap();
    let run = runs.retrieve(&delayed.id).await.unwrap();
    assert_eq!(run.status, RunStatus::Delayed);
    assert_eq!((run.payload.as_ref().unwrap().value(), &run.tags), (json!(1), &vec!["a".to_owned()]));
    let moved = runs.reschedule(&delayed.id, "2h").await.unwrap();
    assert!(moved.delayed_until > run.delayed_until);
    runs.cancel(&delayed.id).await.unwrap();
    let run = runs.poll(&delayed.id).await.unwrap();
    assert_eq!((run.status.to_string(), run.is_success), ("CANCELED".to_owned(), false));
    assert_eq!(runs.reschedule(&delayed.id, "2h").await.unwrap_err().status(), Some(422));

    let again = runs.poll(&runs.replay(&delayed.id).await.unwrap()).await.unwrap();
    assert_eq!((again.status.known(), again.output.unwrap().value()), (Some(RunStatus::Completed), json!(1)));
    let unknown = runs.retrieve("run_nothing").await.unwrap_err();
    assert!(
        matches!(&unknown, Error::Refused { status: 404, message } if message.contains("run_nothing")),
        "{unknown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_paged_both_ways() {
    let (_stack, client) = start().await;
    for n in 0..7 {
        client.trigger(if n % 2 == 0 { "echo" } else { "child-task" }, &n).await.unwrap();
    }
    let list = || client.runs().list().task("echo").page_size(2);
    let all: Vec<_> = list().stream().try_collect().await.unwrap();
    assert_eq!(all.len(), 4);
    let first = list().page().await.unwrap();
    let second = list().after(first.next().unwrap()).page().await.unwrap();
    let back = list().before(second.previous().unwrap()).page().await.unwrap();
    assert_eq!(back.data.iter().map(|run| &run.id).collect::<Vec<_>>(), [&all[0].id, &all[1].id]);
    assert_eq!(client.runs().list().status("FAILED").page().await.unwrap().data, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_r51_a_batch_goes_in_pieces_and_tells_what_became_of_each_item() {
    let (_stack, client) = start().await;
    let mut items: Vec<_> =
        (0..500).map(|n| BatchItem::new("echo", &n).idempotency_key(format!("{}", n % 250))).collect();
    items[3] = BatchItem::new("no such task!", &3);
    let report = client.batch(items).await.unwrap();
    assert_eq!(report.status, BatchStatus::PartialFailed);
    assert_eq!((report.run_count, report.runs.len()), (500, 499));
    assert_eq!(BTreeSet::from_iter(&report.runs).len(), 250);
    let [error] = report.processing.errors.as_slice() else { panic!("{report:?}") };
    assert_eq!((error.index, error.task_identifier.as_str()), (3, "no such task!"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_a_batch_with_a_key_finds_the_runs_of_another_that_was_cut_off() {
    let (_stack, client) = start().await;
    let key = Key::from("import-1").global();
    let items = || (0..10).map(|n| BatchItem::new("echo", &n)).enumerate();
    let batch = client.create_batch(10, Some(&key)).await.unwrap();
    client.send_items(&batch.id, items().take(4), |_| ()).await.unwrap();
    let begun = client.batch_report(&batch.id).await.unwrap();
    assert_eq!(begun.missing_indexes, (4..10).collect());
    // The process died here; the next one begins anew.
    let again = client.create_batch(10, Some(&key)).await.unwrap();
    assert_ne!(again.id, batch.id);
    client.send_items(&again.id, items(), |_| ()).await.unwrap();
    let report = client.batch_report(&again.id).await.unwrap();
    assert_eq!((report.status.known(), report.missing_indexes.len()), (Some(BatchStatus::Completed), 0));
    assert_eq!((&report.runs[..4], report.runs.len()), (&begun.runs[..], 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_key_of_any_length_holds_alone_in_a_batch_and_of_a_batch() {
    let (_stack, client) = start().await;
    let long = "é".repeat(5_000);
    let first = client.trigger("echo", &1).idempotency_key(long.as_str()).await.unwrap();
    let told = first.idempotency.unwrap();
    assert!(told.key.chars().count() < 5_000 && long.starts_with(told.key.trim_end_matches('…')), "{}", told.key);
    let other = format!("{long}!");
    let keys = [long.as_str(), other.as_str(), other.as_str()];
    let report = client.batch(keys.map(|key| BatchItem::new("echo", &1).idempotency_key(key))).await.unwrap();
    assert_eq!((&report.runs[0], &report.runs[1]), (&first.id, &report.runs[2]));
    assert_ne!(report.runs[0], report.runs[1]);

    let key = Key::from(long.as_str()).global();
    assert_eq!(client.key("echo", key.clone()).await.unwrap().unwrap().run_id, first.id);
    client.reset("echo", key.clone()).await.unwrap();
    assert_eq!(client.key("echo", key.clone()).await.unwrap(), None);

    let mut runs = Vec::new();
    for key in [key, Key::from(long.as_str()).global(), Key::from(other.as_str()).global()] {
        let batch = client.create_batch(1, Some(&key)).await.unwrap();
        client.send_items(&batch.id, [(0, BatchItem::new("echo", &1))], |_| ()).await.unwrap();
        runs.extend(client.batch_report(&batch.id).await.unwrap().runs);
    }
    assert_eq!((runs.len(), &runs[0]), (3, &runs[1]));
    assert_ne!(runs[0], runs[2]);
}

/// A schedule that ticks next on the first of January.
fn yearly() -> SchedulePlan {
    SchedulePlan::new("echo", "0 0 1 1 *")
}

#[tokio::test(flavor = "multi_thread")]
async fn r80_a_schedule_is_one_of_its_key_and_does_what_was_said_last() {
    let (_stack, client) = start().await;
    let schedules = client.schedules();
    let told = yearly().timezone("America/New_York").external_id("customer-7");
    let told = told.on_overlap(OnOverlap::Skip).on_missed(OnMissed::Skip);
    let first = schedules.create("k", &told).await.unwrap();
    assert_eq!((first.task.as_str(), first.deduplication_key.as_deref(), first.active), ("echo", Some("k"), true));
    assert_eq!((first.timezone.as_str(), first.external_id.as_deref()), ("America/New_York", Some("customer-7")));
    assert!(first.on_overlap == OnOverlap::Skip && first.on_missed == OnMissed::Skip, "{first:?}");
    assert!(first.next_run.unwrap().to_string().ends_with("-01-01T05:00:00.000Z"), "{first:?}");
    assert_eq!(schedules.create("k", &told).await.unwrap(), first);
    assert_eq!(schedules.retrieve(&first.id).await.unwrap(), first);

    let plain = schedules.create("k", &yearly()).await.unwrap();
    assert_eq!((&plain.id, plain.timezone.as_str(), plain.external_id), (&first.id, "UTC", None));
    assert!(plain.on_overlap == OnOverlap::Run && plain.on_missed == OnMissed::RunOnce);
    let updated = schedules.update(&first.id, &SchedulePlan::new("echo", "@daily")).await.unwrap();
    assert_eq!((&updated.id, updated.generator.expression.as_str()), (&first.id, "@daily"));
    assert_ne!(schedules.create("other", &yearly()).await.unwrap().id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn r83_a_schedule_is_stopped_started_and_deleted() {
    let (_stack, client) = start().await;
    let schedules = client.schedules();
    let id = schedules.create("k", &yearly()).await.unwrap().id;
    let stopped = schedules.deactivate(&id).await.unwrap();
    assert_eq!((stopped.active, stopped.next_run), (false, None));
    assert!(!schedules.update(&id, &SchedulePlan::new("echo", "@daily")).await.unwrap().active);
    let started = schedules.activate(&id).await.unwrap();
    assert!(started.active && started.next_run.is_some());
    schedules.delete(&id).await.unwrap();
    for gone in [schedules.retrieve(&id).await.map(drop), schedules.delete(&id).await] {
        assert_eq!(gone.unwrap_err().status(), Some(404));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r81_a_tick_makes_a_run_that_is_found_by_its_schedule() {
    let options = Options::in_memory();
    let clock = options.clock.clone();
    let stack = Stack::start(options).await.unwrap();
    let client = Client::new(&stack.url(), "tr_dev_local").unwrap();
    let plan = SchedulePlan::new("echo", "@hourly").external_id("customer-7");
    let schedule = client.schedules().create("k", &plan).await.unwrap();
    let other = client.schedules().create("other", &yearly()).await.unwrap();
    let next = schedule.next_run.unwrap();
    clock.advance(next.since(clock.now()));
    let runs_of = |id: ScheduleId| client.runs().list().schedule(id).stream().try_collect::<Vec<_>>();
    let runs = loop {
        match runs_of(schedule.id.clone()).await.unwrap() {
            none if none.is_empty() => tokio::time::sleep(Duration::from_millis(20)).await,
            runs => break runs,
        }
    };
    assert_eq!((runs.len(), runs_of(other.id).await.unwrap().len()), (1, 0));
    let run = client.runs().poll(&runs[0].id).await.unwrap();
    let told = run.output.clone().unwrap().value();
    assert_eq!((&told["timestamp"], &told["externalId"]), (&json!(next.to_string()), &json!("customer-7")));
    let of = run.schedule.unwrap();
    assert_eq!((of.id, of.deduplication_key.as_deref()), (schedule.id, Some("k")));
    assert_eq!(of.external_id.as_deref(), Some("customer-7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_listed_page_by_page() {
    let (_stack, client) = start().await;
    let schedules = client.schedules();
    let none = schedules.list().page().await.unwrap();
    assert_eq!((none.data.len(), none.pagination.total_pages, none.pagination.count), (0, 1, 0));
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(schedules.create(&format!("k{n}"), &yearly()).await.unwrap().id);
    }
    ids.sort();
    let list = || schedules.list().page_size(2);
    let all: Vec<_> = list().stream().map_ok(|schedule| schedule.id).try_collect().await.unwrap();
    assert_eq!(all, ids);
    let last = list().page_number(3).page().await.unwrap();
    assert_eq!(last.data.iter().map(|schedule| &schedule.id).collect::<Vec<_>>(), [&ids[4]]);
    let pages = last.pagination;
    assert_eq!((pages.current_page, pages.total_pages, pages.count), (3, 3, 5));
    let rest: Vec<_> = list().page_number(2).stream().map_ok(|schedule| schedule.id).try_collect().await.unwrap();
    assert_eq!(rest, ids[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_schedule_is_refused_in_words_that_name_the_field() {
    let (_stack, client) = start().await;
    let schedules = client.schedules();
    let timezones = schedules.timezones().await.unwrap();
    assert!(["UTC", "Europe/Berlin"].iter().all(|name| timezones.iter().any(|known| known == name)));
    for (key, plan, words) in [
        ("", yearly(), "deduplicationKey: is missing"),
        ("k", SchedulePlan::new("echo", "every day"), "cron: "),
        ("k", SchedulePlan::new("", "@daily"), "task id: "),
        ("k", yearly().timezone("Mars/Olympus"), "timezone: "),
    ] {
        let refused = schedules.create(key, &plan).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Refused { status: 400, message } if message.contains(words)),
            "{words}: {refused}"
        );
    }
    assert_eq!(schedules.list().page().await.unwrap().data, []);
}

/// An id that a run may have.
const A_RUN: &str = "run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_a_newer_server_is_read_and_waited_through() {
    let run = |status, is_completed| {
        let flags = ["isQueued", "isExecuting", "isWaiting", "isSuccess", "isFailed", "isCancelled", "isTest"];
        let mut run = json!({
            "id": A_RUN, "status": status, "taskIdentifier": "t", "isCompleted": is_completed, "durationMs": 0,
            "createdAt": "2026-01-31T09:30:00.000Z", "updatedAt": "2026-01-31T09:30:00.000Z", "tags": [],
        });
        flags.iter().for_each(|flag| run[*flag] = json!(false));
        (StatusCode::OK, None, run)
    };
    let (client, seen) = answering(vec![run("HIBERNATING", false), run("EVAPORATED", true)]).await;
    let end = client.runs().poll(A_RUN).await.unwrap();
    assert_eq!((end.status.known(), end.status.to_string().as_str()), (None, "EVAPORATED"));
    assert_eq!((end.created_at.to_string().as_str(), seen.lock().unwrap().len()), ("2026-01-31T09:30:00.000Z", 2));
}

/// What a server saw of each request: its id.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server that gives these answers one after the other, and the last one for ever.
async fn answering(answers: Vec<(StatusCode, Option<&'static str>, Value)>) -> (Client, Seen) {
    let seen = Seen::default();
    let answers = Arc::new(Mutex::new(answers));
    let handler = {
        let seen = Arc::clone(&seen);
        move |headers: HeaderMap| async move {
            seen.lock().unwrap().push(headers["x-trigger-request-idempotency-key"].to_str().unwrap().to_owned());
            let mut answers = answers.lock().unwrap();
            let (status, retry, body) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            let mut answer = (status, Json(body)).into_response();
            if let Some(retry) = retry {
                answer.headers_mut().insert("x-should-retry", retry.parse().unwrap());
            }
            answer
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    (Client::new(&url, "key").unwrap(), seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_call_that_fails_on_the_way_is_sent_again_as_the_same_request() {
    let broken = (StatusCode::BAD_GATEWAY, None, json!({ "message": "gateway" }));
    let busy = (StatusCode::TOO_MANY_REQUESTS, None, json!({ "error": "slow down" }));
    let good = (StatusCode::OK, None, json!({ "id": A_RUN, "isCached": false }));
    let (client, seen) = answering(vec![broken, busy, good]).await;
    assert_eq!(client.trigger("echo", &1).await.unwrap().id.as_str(), A_RUN);
    let ids = seen.lock().unwrap().clone();
    assert_eq!((ids.len(), BTreeSet::from_iter(&ids).len()), (3, 1));
    client.trigger("echo", &1).await.unwrap();
    assert_ne!(seen.lock().unwrap()[3], ids[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_try_cannot_mend_is_not_tried_again() {
    for (status, retry) in [(StatusCode::BAD_REQUEST, None), (StatusCode::INTERNAL_SERVER_ERROR, Some("false"))] {
        let (client, seen) = answering(vec![(status, retry, json!({ "error": "what is wrong" }))]).await;
        let error = client.trigger("echo", &1).await.unwrap_err();
        assert_eq!(error.to_string(), format!("what is wrong (HTTP {})", status.as_u16()));
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_for_good_says_why() {
    let (client, seen) = answering(vec![(StatusCode::SERVICE_UNAVAILABLE, None, json!({ "error": "busy" }))]).await;
    let error = client.trigger("echo", &1).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), seen.lock().unwrap().len()), ("busy (HTTP 503)", 5));

    let nobody = Client::new("http://127.0.0.1:1", "key").unwrap();
    let error = tokio::time::timeout(Duration::from_secs(30), async { nobody.trigger("echo", &1).await });
    assert!(matches!(error.await.unwrap().unwrap_err(), Error::Unreachable(_)));
    assert!(matches!(Client::new("localhost", "key").unwrap_err(), Error::Configuration(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r120_many_runs_are_cancelled_and_replayed_and_their_actions_listed() {
    let (_stack, client) = start().await;
    let run = client.trigger("echo", &1).delay("1h").tags(["mine"]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let bulk = client.bulk_actions();
    let cancel = bulk.cancel(&BulkSelection::filter().tag("mine").status("DELAYED").called("stop")).await.unwrap();
    let end = bulk.poll(&cancel).await.unwrap();
    assert_eq!((end.status.known(), end.counts.success), (Some(BulkActionStatus::Completed), 1));
    assert_eq!(client.runs().retrieve(&run.id).await.unwrap().status, RunStatus::Canceled);
    let replay = bulk.replay(&BulkSelection::runs([&run.id])).await.unwrap();
    assert_eq!(bulk.poll(&replay).await.unwrap().counts.success, 1);
    bulk.abort(&replay).await.unwrap();
    let all: Vec<_> = bulk.list().page_size(1).stream().try_collect().await.unwrap();
    let seen: Vec<_> = all.iter().map(|action| (&action.id, action.kind.known(), action.name.as_deref())).collect();
    let wanted = [(&replay, Some(BulkActionType::Replay), None), (&cancel, Some(BulkActionType::Cancel), Some("stop"))];
    assert_eq!(seen, wanted);
    let nothing = bulk.cancel(&BulkSelection::filter()).await.unwrap_err();
    assert!(nothing.to_string().contains("filter: says nothing"), "{nothing}");
}
