//! R121, R123, R124: bulk actions where it hurts. Whoever works on one may die between any two writes, any message about it may come
//! twice or late, and two may work on it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use oncekey::Options;
use oncekey::aws::iam::Function;
use oncekey_core::App;
use oncekey_core::bulk::{PAGE, StoredBulkAction};
use oncekey_core::protocol::bulk::{BulkWork, abort, go_on};
use oncekey_core::protocol::cancel::cancel;
use oncekey_core::queue::batch::Disposition;
use oncekey_core::request::KeyHeaders;
use oncekey_core::runs::replay::{ReplayRequest, replay};
use oncekey_core::{RequestId, RunId};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, Place, answer, dev, run_id};
use oncekey_wire::BulkActionStatus;
use serde_json::{Value, json};

use crate::bulk::{PATH, count, counts, created, delayed, ended, in_status, seen, unsent};
use crate::faults::{Fate, faulty_database};

const COMPLETIONS: &str = "oncekey-completions";
const TICK: Duration = Duration::from_millis(1);

/// A stack with so many delayed runs, and an action on them that nobody was sent for.
async fn stack_with(place: Place, runs: usize, action: &str) -> (Oncekey, StoredBulkAction) {
    let oncekey = Oncekey::frozen(place).await;
    delayed(&oncekey, runs, "mine").await;
    oncekey.clock.advance(TICK);
    let action = unsent(&oncekey, "r", &json!({ "action": action, "filter": { "tag": "mine" } })).await;
    (oncekey, action)
}

fn complete_function(oncekey: &Oncekey) -> &App {
    oncekey.app_of(&Function::Complete)
}

async fn worked_on(app: &App, action: &StoredBulkAction) {
    let work = BulkWork { action: action.id.clone(), watches: false };
    assert_eq!(go_on(app, work).await.unwrap(), Disposition::Done);
}

/// The same on whichever thread is free, so that several are at it at once.
async fn beside(app: &App, action: &StoredBulkAction) {
    let (app, action) = (app.clone(), action.clone());
    tokio::spawn(async move { worked_on(&app, &action).await }).await.unwrap();
}

async fn stored(oncekey: &Oncekey, action: &StoredBulkAction) -> StoredBulkAction {
    oncekey.app().store.bulk_action(&action.id).await.unwrap().unwrap()
}

/// The action with these runs in hand, as whoever took them and died leaves it.
async fn in_hand(oncekey: &Oncekey, action: &StoredBulkAction, hand: &[RunId]) -> StoredBulkAction {
    let mut next =
        StoredBulkAction { version: action.version + 1, written_by: "the dead".to_owned(), ..action.clone() };
    next.hand = hand.to_vec();
    if action.filter.is_some() {
        next.counts.total += hand.len() as u64;
        let page = oncekey.list(&format!("filter[tag]=mine&page[size]={}", hand.len())).await;
        next.after = page["pagination"]["next"].as_str().map(str::to_owned);
    } else {
        next.rest.retain(|id| !hand.contains(id));
    }
    assert!(oncekey.app().store.write_bulk_action(action, &next).await.unwrap());
    next
}

/// The newest runs, as the list has them.
async fn newest(oncekey: &Oncekey, count: usize) -> Vec<RunId> {
    let page = oncekey.list(&format!("filter[tag]=mine&page[size]={count}")).await;
    page["data"].as_array().unwrap().iter().map(|run| run_id(run["id"].as_str().unwrap())).collect()
}

async fn replayed(app: &App, action: &StoredBulkAction, run: &RunId) -> String {
    let asked = ReplayRequest {
        environment: dev(),
        request_id: RequestId::from_bulk_action(&action.id),
        key: KeyHeaders::default(),
        traceparent: None,
        by_hand: false,
    };
    replay(app, asked, run, b"").await.unwrap().handle.id.to_string()
}

async fn runs(oncekey: &Oncekey) -> usize {
    count(oncekey, "page[size]=100").await
}

#[tokio::test(flavor = "multi_thread")]
async fn r121_whoever_dies_over_a_page_has_its_runs_done_and_counted_once() {
    let Some(place) = Place::own_stack() else { return };
    let (oncekey, action) = stack_with(place, 70, "cancel").await;
    let hand = newest(&oncekey, PAGE).await;
    in_hand(&oncekey, &action, &hand).await;
    // Some of them are cancelled: they would not be found by a filter any more.
    for run in &hand[..20] {
        cancel(oncekey.app(), &dev(), run).await.unwrap();
    }
    worked_on(complete_function(&oncekey), &action).await;
    let done = stored(&oncekey, &action).await;
    assert_eq!((done.status, json!(done.counts)), (BulkActionStatus::Completed, counts(70, 70, 0)));
    assert_eq!(in_status(&oncekey, "CANCELED").await, 70);
    // A message that comes late finds nothing to do.
    worked_on(complete_function(&oncekey), &action).await;
    assert_eq!(stored(&oncekey, &action).await, done);
}

#[tokio::test(flavor = "multi_thread")]
async fn r121_a_page_that_is_done_again_replays_each_of_its_runs_once() {
    let Some(place) = Place::own_stack() else { return };
    let (oncekey, action) = stack_with(place, 60, "replay").await;
    let hand = newest(&oncekey, PAGE).await;
    in_hand(&oncekey, &action, &hand).await;
    let mut before = Vec::new();
    for run in &hand[..20] {
        before.push(replayed(oncekey.app(), &action, run).await);
    }
    worked_on(complete_function(&oncekey), &action).await;
    assert_eq!(json!(stored(&oncekey, &action).await.counts), counts(60, 60, 0));
    assert_eq!(runs(&oncekey).await, 120);
    for (run, first) in hand[..20].iter().zip(before) {
        assert_eq!(replayed(oncekey.app(), &action, run).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r121_a_run_that_ends_otherwise_while_its_page_is_in_hand_is_a_failure_however_often_it_is_looked_at() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let ids = delayed(&oncekey, 2, "mine").await;
    oncekey.clock.advance(TICK);
    let action = unsent(&oncekey, "r", &json!({ "action": "cancel", "filter": { "tag": "mine" } })).await;
    let hand: Vec<RunId> = ids.iter().map(|id| run_id(id)).collect();
    in_hand(&oncekey, &action, &hand).await;
    // One of them gets its start, and returns, before its turn comes.
    let earlier = oncekey.post(&format!("/api/v1/runs/{}/reschedule", ids[0]), r#"{"delay": "1s"}"#);
    assert_eq!(answer(earlier).await.0, 200);
    oncekey.clock.advance(Duration::from_secs(2));
    oncekey.finished(&ids[0]).await;
    worked_on(complete_function(&oncekey), &action).await;
    assert_eq!(json!(stored(&oncekey, &action).await.counts), counts(2, 1, 1));
    assert_eq!(oncekey.run(&ids[0]).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn r121_many_who_work_on_one_action_at_once_double_nothing() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    for (kind, in_all) in [("replay", 240), ("cancel", 120)] {
        let (oncekey, action) = stack_with(place, 120, kind).await;
        // All of them find the same runs in hand, and do them.
        let hand = newest(&oncekey, PAGE).await;
        in_hand(&oncekey, &action, &hand).await;
        let app = complete_function(&oncekey);
        join_all((0..5).map(|_| beside(app, &action))).await;
        let done = stored(&oncekey, &action).await;
        assert_eq!((done.status, json!(done.counts)), (BulkActionStatus::Completed, counts(120, 120, 0)), "{kind}");
        assert_eq!(runs(&oncekey).await, in_all, "{kind}");
        // Those who met another have left somebody who looks whether that one has died, and finds it done.
        oncekey.clock.advance(Duration::from_secs(61));
        oncekey.drained(COMPLETIONS).await;
        assert_eq!(stored(&oncekey, &action).await, done);
        assert_eq!(runs(&oncekey).await, in_all, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r121_whoever_watches_another_goes_on_where_that_one_has_died() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, action) = stack_with(place, 60, "cancel").await;
    let hand = newest(&oncekey, PAGE).await;
    in_hand(&oncekey, &action, &hand).await;
    let watch = BulkWork { action: action.id.clone(), watches: true };
    assert_eq!(go_on(complete_function(&oncekey), watch).await.unwrap(), Disposition::Done);
    assert_eq!(in_status(&oncekey, "CANCELED").await, 0, "somebody was at work a moment ago");
    assert_eq!(oncekey.depth(COMPLETIONS).await, [0, 0, 1]);
    oncekey.clock.advance(Duration::from_secs(61));
    assert_eq!(ended(&oncekey, action.id.as_str()).await["counts"], counts(60, 60, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn r121_a_lost_answer_costs_neither_a_count_nor_time() {
    let Some(place) = Place::here_alone("it brings a database of its own") else { return };
    let lost = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&lost);
    let url = faulty_database(move |operation, body| {
        let of_action = operation == "PutItem" && body.contains("bulk#local/dev");
        match of_action && counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            true => Fate::LosesItsAnswer,
            false => Fate::Passes,
        }
    })
    .await;
    let oncekey = Oncekey::with(place, |options| Options { dynamodb_endpoint: Some(url), ..options }).await;
    delayed(&oncekey, 120, "mine").await;
    let id = created(&oncekey, json!({ "action": "replay", "filter": { "tag": "mine" } })).await;
    assert_eq!(ended(&oncekey, &id).await["counts"], counts(120, 120, 0));
    assert_eq!(runs(&oncekey).await, 240);
    assert!(lost.load(Ordering::SeqCst) > 8, "the answers of its writes were lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn r123_a_replay_meets_neither_its_own_replays_nor_what_was_triggered_after_it() {
    let Some(place) = Place::own_stack() else { return };
    let (oncekey, action) = stack_with(place, 60, "replay").await;
    // In its own millisecond, and after.
    delayed(&oncekey, 3, "mine").await;
    oncekey.clock.advance(TICK);
    delayed(&oncekey, 3, "mine").await;
    worked_on(complete_function(&oncekey), &action).await;
    assert_eq!(json!(stored(&oncekey, &action).await.counts), counts(60, 60, 0));
    assert_eq!(runs(&oncekey).await, 126);
}

#[tokio::test(flavor = "multi_thread")]
async fn r123_whose_clock_is_behind_an_action_leaves_it_until_its_time() {
    let Some(place) = Place::own_stack() else { return };
    let (oncekey, action) = stack_with(place, 2, "replay").await;
    let mut behind = complete_function(&oncekey).clone();
    behind.clock = behind.clock.ahead_by(-5_000);
    let work = BulkWork { action: action.id.clone(), watches: false };
    let left = go_on(&behind, work.clone()).await.unwrap();
    assert_eq!(left, Disposition::LeaveUntil(action.created_at));
    assert_eq!((runs(&oncekey).await, stored(&oncekey, &action).await), (2, action.clone()));
    oncekey.clock.advance(Duration::from_secs(5));
    assert_eq!(go_on(&behind, work).await.unwrap(), Disposition::Done);
    assert_eq!((runs(&oncekey).await, json!(stored(&oncekey, &action).await.counts)), (4, counts(2, 2, 0)));
}

async fn aborted(oncekey: &Oncekey, action: &StoredBulkAction) -> Value {
    let (status, answered) = answer(oncekey.post(&format!("{PATH}/{}/abort", action.id), "")).await;
    assert_eq!((status.as_u16(), &answered), (200, &json!({ "id": action.id })));
    seen(oncekey, action.id.as_str()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r124_an_action_that_is_stopped_begins_no_page_and_counts_the_one_in_hand() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let ids = delayed(&oncekey, 120, "mine").await;
    oncekey.clock.advance(TICK);
    let by_filter = json!({ "action": "cancel", "filter": { "tag": "mine" } });
    // Before anybody worked on it.
    let action = unsent(&oncekey, "untouched", &by_filter).await;
    let shown = aborted(&oncekey, &action).await;
    assert_eq!((&shown["status"], shown["completedAt"].is_string()), (&json!("ABORTED"), true));
    worked_on(complete_function(&oncekey), &action).await;
    assert_eq!(
        (json!(stored(&oncekey, &action).await.counts), in_status(&oncekey, "CANCELED").await),
        (counts(0, 0, 0), 0)
    );
    // With a page in hand, of which nobody can tell how much is done.
    let named = unsent(&oncekey, "named", &json!({ "action": "cancel", "runIds": ids })).await;
    let hand: Vec<RunId> = ids[..PAGE].iter().map(|id| run_id(id)).collect();
    in_hand(&oncekey, &named, &hand).await;
    cancel(oncekey.app(), &dev(), &hand[0]).await.unwrap();
    assert_eq!(aborted(&oncekey, &named).await["counts"], counts(120, 0, 0));
    for _ in 0..2 {
        worked_on(complete_function(&oncekey), &named).await;
        let stopped = aborted(&oncekey, &named).await;
        assert_eq!((&stopped["status"], &stopped["counts"]), (&json!("ABORTED"), &counts(120, PAGE, 0)));
        assert_eq!(in_status(&oncekey, "CANCELED").await, PAGE);
    }
    // One that has ended stays as it is.
    let rest = created(&oncekey, by_filter).await;
    let rest = ended(&oncekey, &rest).await;
    assert_eq!((&rest["status"], &rest["counts"]), (&json!("COMPLETED"), &counts(70, 70, 0)));
    let id = oncekey_wire::BulkActionId::parse(rest["id"].as_str().unwrap()).unwrap();
    let action = oncekey.app().store.bulk_action(&id).await.unwrap().unwrap();
    assert_eq!(aborted(&oncekey, &action).await, rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn r124_whoever_stops_an_action_while_many_work_on_it_finds_every_run_that_was_done_in_the_counts() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    for wait in [0, 20, 60, 150] {
        let (oncekey, action) = stack_with(place, 200, "cancel").await;
        let app = complete_function(&oncekey);
        let stop = async {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            abort(oncekey.app(), &dev(), &action.id).await.unwrap();
        };
        tokio::join!(join_all((0..3).map(|_| beside(app, &action))), stop);
        oncekey.clock.advance(Duration::from_secs(61));
        oncekey.drained(COMPLETIONS).await;
        let end = stored(&oncekey, &action).await;
        let done = in_status(&oncekey, "CANCELED").await;
        assert!(end.hand.is_empty() && end.status != BulkActionStatus::Pending, "{end:?}");
        assert_eq!(json!(end.counts), counts(done, done, 0), "after {wait} ms");
    }
}
