//! R131: a run says why it waits, over HTTP and on its page. What the command line says is in `infra/local/tests`.

use std::time::Duration;

use oncekey::Options;
use oncekey_core::flow::{self, Holder, Lane};
use oncekey_core::protocol::change::{change_queue, pause_environment};
use oncekey_tests_api::{DEV, Oncekey, Place, answer, dev, run_id};
use oncekey_wire::QueueLabel;
use oncekey_worker::{Context, Queue, Task, TaskError, Worker};
use serde_json::{Value, json};

use super::budget::{COSTS_UNTOLD, counted_with, take};
use super::dashboard::Visitor;
use super::protocol::until;

/// A task that holds its place for as long as anybody looks, in a queue with two of them.
fn worker() -> Worker {
    let hold = Task::new("hold", |_: Context, _: Value| async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok(())
    });
    let fail = Task::new("fail", |_: Context, _: Value| async {
        Err::<(), _>(TaskError::new("as told").retry_after(Duration::from_secs(3600)))
    });
    Worker::new().task(hold.queue(Queue::new("mail").concurrency(2))).task(fail)
}

/// Runs that have all places of a concurrency key, and one that is parked behind them.
async fn parked(oncekey: &Oncekey) -> String {
    let body = json!({ "options": { "concurrencyKey": "tenant", "priority": 60 } });
    for _ in 0..2 {
        let run = oncekey.trigger("hold", body.clone()).await.id;
        assert_eq!(oncekey.in_status(&run, "EXECUTING").await["waitingFor"], Value::Null);
    }
    let run = oncekey.trigger("hold", body).await.id;
    oncekey.run_until(&run, |run| run["waitingFor"]["place"] != Value::Null).await;
    run
}

/// What the page of a run says that it waits for, without its markup.
async fn told(visitor: &Visitor<'_>, run: &str) -> String {
    let page = visitor.get(&format!("/runs/{run}")).await;
    let note = page.split("id=\"waiting-for\">").nth(1).and_then(|rest| rest.split("</p>").next()).unwrap_or_default();
    note.split('<').filter_map(|part| part.split('>').next_back()).collect::<String>().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn r131_a_run_that_is_parked_says_in_which_queue_and_why_there_is_no_place() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(place, worker(), |options| options).await;
    let (app, mail) = (oncekey.app(), QueueLabel::parse("mail").unwrap());
    let run = parked(&oncekey).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;

    let shown = oncekey.run(&run).await;
    assert_eq!([&shown["status"], &shown["queue"], &shown["concurrencyKey"]], ["QUEUED", "mail", "tenant"]);
    assert_eq!(shown["priority"], 60);
    let mut place = json!({
        "queue": "mail", "concurrencyKey": "tenant", "running": 2, "concurrencyLimit": 2,
        "paused": false, "environmentPaused": false,
    });
    assert_eq!(shown["waitingFor"], json!({ "runCount": 0, "place": place }));
    let full = "Waits, parked: queue mail has 2 of 2 for the concurrency key tenant";
    assert_eq!(told(&visitor, &run).await, full);
    let page = visitor.get(&format!("/runs/{run}")).await;
    for detail in [
        "Queue</dt><dd><a href=\"/runs?queue=mail\" title=\"mail\">mail<",
        "Concurrency key</dt><dd>tenant<",
        "Priority</dt><dd>60 s<",
    ] {
        assert!(page.contains(detail), "{detail}: {page}");
    }

    change_queue(app, &dev(), &mail, |setting| setting.paused = true).await.unwrap();
    place["paused"] = json!(true);
    assert_eq!(oncekey.run(&run).await["waitingFor"]["place"], place);
    assert_eq!(told(&visitor, &run).await, "Waits, parked: queue mail is paused");
    pause_environment(app, &dev(), true).await.unwrap();
    place["environmentPaused"] = json!(true);
    assert_eq!(oncekey.run(&run).await["waitingFor"]["place"], place);
    change_queue(app, &dev(), &mail, |setting| setting.paused = false).await.unwrap();
    assert_eq!(told(&visitor, &run).await, "Waits, parked: the environment is paused");

    let stored = app.store.run(&run_id(&run)).await.unwrap().unwrap();
    let own = flow::Place { until: app.clock.now().plus(Duration::from_secs(60)), from: None, parked: None };
    let (lane, holder) = (Lane::of(&stored).unwrap(), Holder::of(&stored));
    assert!(app.store.take_place(&lane, &holder, &own, 3, app.clock.now()).await.unwrap().is_none());
    assert_eq!(oncekey.run(&run).await["waitingFor"]["place"]["running"], 2, "its own is in nobody's way");

    answer(oncekey.post(&format!("/api/v2/runs/{run}/cancel"), "")).await;
    let shown = oncekey.run(&run).await;
    assert_eq!((&shown["waitingFor"], &shown["queue"]), (&Value::Null, &json!("mail")));
}

#[tokio::test(flavor = "multi_thread")]
async fn r131_a_run_that_has_yet_to_start_says_when_or_that_it_waits_for_a_worker() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::running(place, worker(), |options| Options { worker_concurrency: 1, ..options }).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let start = |task: &'static str, options: Value| oncekey.trigger(task, json!({ "options": options }));

    let delayed = start("hold", json!({ "delay": "1h", "queue": { "name": "other" } })).await.id;
    let shown = oncekey.run(&delayed).await;
    assert_eq!((&shown["waitingFor"]["until"], &shown["queue"]), (&shown["delayedUntil"], &json!("other")));
    assert!(told(&visitor, &delayed).await.starts_with("Waits until 2"));

    let failed = start("fail", json!({})).await.id;
    let shown = oncekey.run_until(&failed, |run| run["attempts"][0]["error"] != Value::Null).await;
    assert!(shown["waitingFor"]["until"].as_str() > shown["attempts"][0]["completedAt"].as_str(), "{shown:#}");
    assert_eq!(shown["queue"], Value::Null, "nothing was said of its queue, and nothing limits it");

    // The only worker is at another.
    let first = start("hold", json!({})).await.id;
    oncekey.in_status(&first, "EXECUTING").await;
    let second = start("hold", json!({})).await.id;
    let shown = oncekey.run(&second).await;
    assert_eq!((&shown["status"], &shown["waitingFor"]["worker"]), (&json!("QUEUED"), &json!(true)), "{shown:#}");
    assert_eq!(told(&visitor, &second).await, "Waits for a worker to take it up");
}

/// What it takes to read a run.
const RUN: f64 = 1.0;

#[tokio::test(flavor = "multi_thread")]
async fn r131_nothing_more_is_read_of_a_run_that_is_not_parked_and_three_items_of_one_that_is() {
    let Some(place) = Place::here_alone(COSTS_UNTOLD) else { return };
    let (oncekey, units) = counted_with(place, worker()).await;
    let run = parked(&oncekey).await;
    let delayed = oncekey.trigger("hold", json!({ "options": { "delay": "1h" } })).await.id;
    // Who has parked it looks whether there is a place.
    until(async || oncekey.depth("oncekey-runs-mail").await == [0, 2, 0]).await;
    take(&units);
    oncekey.run(&delayed).await;
    assert_eq!(take(&units), (0.0, RUN), "one that waits for its time");
    oncekey.run(&run).await;
    assert_eq!(take(&units), (0.0, RUN + 3.0), "two settings, and the places that are taken");
}
