//! R97–R99: schedules that the code of a worker declares, by its deployments.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::put;
use oncekey::Options;
use oncekey::aws::iam::Function;
use oncekey_core::deployment::StoredDeployment;
use oncekey_core::queue::name::{Queue, QueueName};
use oncekey_core::store::{Declared, PutIf};
use oncekey_core::{App, Clock, Timestamp, WorkerName};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, DEV, Oncekey, PROD, Place, answer, dev};
use oncekey_worker::{Context, Task, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::dashboard::Visitor;
use super::overdue::sweep;
use super::protocol::until;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const TRIGGERS: &str = "oncekey-triggers";

/// Tasks that say what they were told.
fn worker() -> Worker {
    let told = |id| Task::new(id, |_: Context, payload: Value| async move { Ok(payload) });
    Worker::new().task(told("digest").cron("*/5 * * * *", "Europe/Berlin")).task(told("other")).task(told("third"))
}

/// A stack whose time stands still at 14:13:20, and whose worker declares one schedule.
async fn frozen(place: Place) -> Oncekey {
    let clock = Clock::frozen(Timestamp::from_millis(1_790_000_000_000));
    let queues = vec![Queue { name: beside(), concurrency: None }];
    Oncekey::running(place, worker(), |options| Options { clock, queues, ..options }).await
}

/// The queue of a worker with the permissions of the example.
fn beside() -> QueueName {
    QueueName::parse("mine").unwrap()
}

fn of(tasks: &[(&str, &str)]) -> Value {
    let task = |(id, cron): &(&str, &str)| json!({ "id": id, "cron": { "pattern": cron } });
    json!({ "tasks": tasks.iter().map(task).collect::<Vec<_>>() })
}

async fn declare(oncekey: &Oncekey, worker: &str, manifest: &Value, request: &str) -> (StatusCode, Value) {
    let asked = oncekey.request(Method::PUT, &format!("/api/v1/workers/{worker}")).body(manifest.to_string());
    answer(asked.header("x-trigger-request-idempotency-key", request)).await
}

async fn declared(oncekey: &Oncekey, worker: &str, manifest: &Value, request: &str) -> u64 {
    let (status, told) = declare(oncekey, worker, manifest, request).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    told["number"].as_u64().unwrap()
}

/// Each schedule's task, expression and worker.
async fn schedules(oncekey: &Oncekey) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = listed(oncekey).await;
    let mut shown: Vec<_> = all
        .iter()
        .map(|one| [text(&one["task"]), text(&one["generator"]["expression"]), text(&one["declaredBy"])])
        .collect();
    shown.sort();
    shown
}

async fn listed(oncekey: &Oncekey) -> Vec<Value> {
    answer(oncekey.get("/api/v1/schedules?perPage=100")).await.1["data"].as_array().unwrap().clone()
}

/// The schedule of this task.
async fn of_task(oncekey: &Oncekey, task: &str) -> Value {
    listed(oncekey).await.into_iter().find(|one| one["task"] == task).unwrap()
}

fn path(schedule: &Value) -> String {
    format!("/api/v1/schedules/{}", schedule["id"].as_str().unwrap())
}

fn is(found: &[[String; 3]], wanted: &[[&str; 3]]) {
    let wanted: Vec<_> = wanted.iter().map(|one| one.map(str::to_owned)).collect();
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn r97_a_task_that_declares_when_it_runs_does_so_where_its_worker_is() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = of_task(&oncekey, "digest").await;
    assert_eq!((&schedule["type"], &schedule["timezone"]), (&json!("DECLARATIVE"), &json!("Europe/Berlin")));
    assert_eq!(schedule["nextRun"], "2026-09-21T14:15:00.000Z");
    assert_eq!(schedule.get("deduplicationKey"), None);
    oncekey.clock.advance(2 * MINUTE);
    until(|| async { oncekey.all_runs().await.len() == 1 }).await;
    let run = oncekey.finished(&oncekey.all_runs().await[0]).await;
    assert_eq!((&run["output"]["type"], &run["output"]["scheduleId"]), (&json!("DECLARATIVE"), &schedule["id"]));
    assert_eq!(run["schedule"]["id"], schedule["id"]);
    // The other environment has none: this is a laptop.
    assert!(schedules(&oncekey.as_key(PROD)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r97_what_a_deployment_declares_no_longer_goes_and_what_it_declares_anew_is_there() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    assert_eq!(declared(&oncekey, "mine", &of(&[("other", "0 * * * *"), ("third", "@daily")]), "1").await, 1);
    let before = of_task(&oncekey, "other").await;
    assert_eq!(declared(&oncekey, "mine", &of(&[("other", "0 * * * *")]), "2").await, 2);
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"], ["other", "0 * * * *", "mine"]]);
    // One that is declared as it was is as it was.
    assert_eq!(of_task(&oncekey, "other").await, before);
    assert_eq!(declared(&oncekey, "mine", &of(&[("other", "30 * * * *"), ("third", "@daily")]), "3").await, 3);
    let changed = of_task(&oncekey, "other").await;
    assert_eq!((&changed["id"], &changed["nextRun"]), (&before["id"], &json!("2026-09-21T14:30:00.000Z")));
    // Of what went, and of what was changed, nothing comes.
    oncekey.clock.advance(HOUR);
    until(|| async { of_task(&oncekey, "other").await["lastRun"] == "2026-09-21T14:30:00.000Z" }).await;
    until(|| async { oncekey.depth(TRIGGERS).await[..2] == [0, 0] }).await;
    let of_other = oncekey.list("filter[taskIdentifier]=other").await;
    assert_eq!(of_other["data"].as_array().unwrap().len(), 1, "{of_other}");
    // A worker that is removed takes them along, and no others.
    let removed = answer(oncekey.request(Method::DELETE, "/api/v1/workers/mine")).await;
    assert_eq!((removed.0, &removed.1["tasks"]), (StatusCode::OK, &json!([])));
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"]]);
    let workers = answer(oncekey.get("/api/v1/workers")).await.1;
    assert_eq!(workers["data"].as_array().unwrap().len(), 1, "{workers}");
    assert_eq!(workers["data"][0]["worker"], "dev");
    let absent = answer(oncekey.request(Method::DELETE, "/api/v1/workers/none")).await;
    assert_eq!(absent.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn r97_a_task_has_one_declared_schedule_whichever_worker_declares_it_last() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    declared(&oncekey, "old", &of(&[("other", "0 * * * *")]), "1").await;
    let before = of_task(&oncekey, "other").await;
    declared(&oncekey, "new", &of(&[("other", "0 * * * *")]), "2").await;
    // That of the one before is gone with its name, and takes nothing along that is another's.
    declared(&oncekey, "old", &of(&[]), "3").await;
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"], ["other", "0 * * * *", "new"]]);
    assert_eq!(of_task(&oncekey, "other").await["id"], before["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r97_what_the_later_worker_declares_no_longer_is_the_earlier_ones_again() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let dev = ["digest", "*/5 * * * *", "dev"];
    declared(&oncekey, "old", &of(&[("other", "0 * * * *")]), "1").await;
    oncekey.clock.advance(Duration::from_secs(1));
    declared(&oncekey, "new", &of(&[("other", "30 * * * *")]), "2").await;
    is(&schedules(&oncekey).await, &[dev, ["other", "30 * * * *", "new"]]);
    // Whoever looks at the earlier one leaves the later one's alone.
    sweep(&oncekey).await;
    oncekey.drained("oncekey-completions").await;
    is(&schedules(&oncekey).await, &[dev, ["other", "30 * * * *", "new"]]);
    declared(&oncekey, "new", &of(&[]), "3").await;
    is(&schedules(&oncekey).await, &[dev, ["other", "0 * * * *", "old"]]);
    declared(&oncekey, "old", &of(&[]), "4").await;
    is(&schedules(&oncekey).await, &[dev]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r97_a_time_that_is_due_is_not_lost_with_a_deployment() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    declared(&oncekey, "old", &of(&[("other", "* * * * *"), ("third", "* * * * *")]), "1").await;
    oncekey.purge(TRIGGERS).await;
    // Nobody has carried out 14:14 when other code is deployed: by another worker, and with another expression that has it as well.
    oncekey.clock.advance(MINUTE);
    declared(&oncekey, "new", &of(&[("other", "* * * * *")]), "2").await;
    declared(&oncekey, "old", &of(&[("third", "*/2 * * * *")]), "3").await;
    for task in ["other", "third"] {
        until(|| async { of_task(&oncekey, task).await["lastRun"] == "2026-09-21T14:14:00.000Z" }).await;
        let listed = oncekey.list(&format!("filter[taskIdentifier]={task}")).await;
        assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    }
    // One that it has not is not made up for.
    oncekey.purge(TRIGGERS).await;
    oncekey.clock.advance(MINUTE);
    declared(&oncekey, "new", &of(&[("other", "30 * * * *")]), "4").await;
    assert_eq!(of_task(&oncekey, "other").await["nextRun"], "2026-09-21T14:30:00.000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn r97_a_schedule_is_declared_in_the_environments_that_it_names() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let cron = json!({ "pattern": "@hourly", "environments": ["PRODUCTION", "STAGING"] });
    let manifest = json!({ "tasks": [{ "id": "other", "cron": cron }] });
    declared(&oncekey, "mine", &manifest, "1").await;
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"]]);
    let oncekey = oncekey.as_key(PROD);
    declared(&oncekey, "mine", &manifest, "1").await;
    is(&schedules(&oncekey).await, &[["other", "@hourly", "mine"]]);
}

/// A deployment as it stands.
async fn stored(app: &App, worker: &str) -> StoredDeployment {
    app.store.deployment(&dev(), &WorkerName::parse(worker).unwrap()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r98_a_deployment_that_comes_again_after_a_later_one_changes_nothing() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let (first, second) = (of(&[("other", "0 * * * *")]), of(&[("third", "@daily")]));
    declared(&oncekey, "mine", &first, "1").await;
    // Sent again it is the same deployment.
    assert_eq!(declared(&oncekey, "mine", &first, "1").await, 1);
    declared(&oncekey, "mine", &second, "2").await;
    let (status, told) = declare(&oncekey, "mine", &first, "1").await;
    assert_eq!((status, &told["number"], &told["tasks"][0]["id"]), (StatusCode::OK, &json!(2), &json!("third")));
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"], ["third", "@daily", "mine"]]);
    // Sent with something else it is refused.
    let (status, refused) = declare(&oncekey, "mine", &first, "2").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("this request has deployed something else"), "{refused}");
    // Taken back by a deployment of its own, it counts.
    assert_eq!(declared(&oncekey, "mine", &first, "3").await, 3);
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"], ["other", "0 * * * *", "mine"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r98_who_is_late_with_an_earlier_deployment_writes_and_deletes_nothing() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    declared(&oncekey, "mine", &of(&[("other", "0 * * * *")]), "1").await;
    let app = oncekey.app();
    let (late, dev) = (stored(app, "mine").await, dev());
    let all = app.store.current_cron_schedules(&dev).await.unwrap();
    let other = all.iter().find(|one| one.plan.task.as_str() == "other").unwrap();
    declared(&oncekey, "mine", &of(&[("third", "@daily")]), "2").await;
    // It had read that there was none, and has been slow to put it.
    let put = app.store.write_declared(&dev, &late, Declared::Put(other, PutIf::Absent)).await.unwrap();
    assert!(!put);
    let third = app.store.current_cron_schedules(&dev).await.unwrap();
    let third = third.iter().find(|one| one.plan.task.as_str() == "third").unwrap();
    assert!(!app.store.write_declared(&dev, &late, Declared::Gone(third)).await.unwrap());
    assert!(!app.store.put_deployment(&dev, &StoredDeployment { number: 2, ..late.clone() }).await.unwrap());
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"], ["third", "@daily", "mine"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r98_what_somebody_died_over_is_finished_by_the_next_request_or_by_the_sweep() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    declared(&oncekey, "mine", &of(&[("other", "0 * * * *")]), "1").await;
    let (app, dev) = (oncekey.app(), dev());
    // Its deployment was written, and nothing after that.
    let manifest = serde_json::from_value(of(&[("third", "@daily")])).unwrap();
    let name = WorkerName::parse("mine").unwrap();
    let begun = |before: &StoredDeployment, request: &str| {
        StoredDeployment::after(Some(before), &name, &manifest, &format!("caller:{request}"), app.clock.now())
    };
    let second = begun(&stored(app, "mine").await, "2");
    assert!(app.store.put_deployment(&dev, &second).await.unwrap());
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"], ["other", "0 * * * *", "mine"]]);
    assert_eq!(declared(&oncekey, "mine", &of(&[("third", "@daily")]), "2").await, 2);
    let wanted = [["digest", "*/5 * * * *", "dev"], ["third", "@daily", "mine"]];
    is(&schedules(&oncekey).await, &wanted);
    // The same once more, and nobody asks again.
    declared(&oncekey, "mine", &of(&[("other", "0 * * * *")]), "3").await;
    assert!(app.store.put_deployment(&dev, &begun(&stored(app, "mine").await, "4")).await.unwrap());
    sweep(&oncekey).await;
    until(|| async {
        schedules(&oncekey).await.len() == 2 && listed(&oncekey).await.iter().any(|one| one["task"] == "third")
    })
    .await;
    is(&schedules(&oncekey).await, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn r99_a_declared_schedule_is_stopped_and_started_by_a_call_and_changed_in_its_code_alone() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let schedule = of_task(&oncekey, "digest").await;
    let path = path(&schedule);
    let changed = json!({ "task": "digest", "cron": "@daily" }).to_string();
    for refused in [oncekey.request(Method::PUT, &path).body(changed), oncekey.request(Method::DELETE, &path)] {
        let (status, told) = answer(refused).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{told}");
        assert!(told["error"].as_str().unwrap().contains("is declared by the code of digest in worker dev"), "{told}");
    }
    assert_eq!(of_task(&oncekey, "digest").await, schedule);
    let stopped = answer(oncekey.post(&format!("{path}/deactivate"), "")).await.1;
    assert_eq!(stopped["active"], false);
    // A deployment that declares it as before, and one that declares another time, leave it stopped.
    for cron in ["*/5 * * * *", "*/10 * * * *"] {
        declared(&oncekey, "dev", &of(&[("digest", cron)]), cron).await;
        assert_eq!(of_task(&oncekey, "digest").await["active"], false);
    }
    oncekey.clock.advance(HOUR);
    until(|| async { oncekey.depth(TRIGGERS).await[..2] == [0, 0] }).await;
    assert_eq!(oncekey.all_runs().await.len(), 0);
    let started = answer(oncekey.post(&format!("{path}/activate"), "")).await.1;
    assert_eq!((&started["active"], &started["nextRun"]), (&json!(true), &json!("2026-09-21T15:20:00.000Z")));
}

#[tokio::test(flavor = "multi_thread")]
async fn r99_what_cannot_be_declared_is_named_and_nothing_is_written() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let wide: Vec<_> = (0..1_000).map(|n| json!({ "id": format!("{n:0>128}"), "queue": "q".repeat(120) })).collect();
    let many: Vec<_> = (0..1_001).map(|n| json!({ "id": format!("task-{n}") })).collect();
    for (manifest, status, told) in [
        (json!({}), 400, "tasks"),
        (json!({ "tasks": [{ "id": "a" }, { "id": "a" }] }), 400, "tasks: has a twice"),
        (json!({ "tasks": many }), 400, "tasks: has 1001 tasks; the limit is 1000"),
        (json!({ "tasks": [{ "id": "a b" }] }), 400, "use 1 to 128 characters"),
        (of(&[("a", "every day")]), 400, "cron: a: \"every day\" is no cron expression"),
        (of(&[("a", "0 0 31 2 *")]), 400, "cron: a: \"0 0 31 2 *\" names a time that never comes"),
        (json!({ "tasks": [{ "id": "a", "cron": "@daily" }] }), 400, "an object like {\"pattern\": \"0 9 * * 1-5\""),
        (json!({ "tasks": wide }), 400, "tasks: are 269 KB of JSON"),
        (json!({ "tasks": [{ "id": "a", "cron": { "pattern": "@daily", "window": {} } }] }), 422, "window"),
        (json!({ "tasks": [{ "id": "a", "cron": { "pattern": "@daily", "zone": "UTC" } }] }), 422, "zone"),
    ] {
        let (refused, answered) = declare(&oncekey, "mine", &manifest, told).await;
        assert_eq!(refused.as_u16(), status, "{answered}");
        assert!(answered["error"].as_str().unwrap().contains(told), "{told}: {answered}");
    }
    let (status, _) = declare(&oncekey, "a%20b", &of(&[]), "1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    is(&schedules(&oncekey).await, &[["digest", "*/5 * * * *", "dev"]]);
    assert_eq!(answer(oncekey.get("/api/v1/workers")).await.1["data"].as_array().unwrap().len(), 1);
}

/// What CloudFormation was answered.
type Answers = Arc<Mutex<Vec<Value>>>;

/// A worker in a stack of its own that CloudFormation asks.
struct Deployed<'a> {
    oncekey: &'a Oncekey,
    answers: Answers,
    url: String,
}

impl<'a> Deployed<'a> {
    async fn beside(oncekey: &'a Oncekey) -> Self {
        let answers = Answers::default();
        let take = |State(answers): State<Answers>, told: String| async move {
            answers.lock().unwrap().push(serde_json::from_str(&told).unwrap());
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/answer?signed", listener.local_addr().unwrap());
        let router = Router::new().route("/answer", put(take)).with_state(Arc::clone(&answers));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { oncekey, answers, url }
    }

    /// Asks, with the permissions of the example's worker. What CloudFormation was answered.
    async fn asked(&self, worker: &Worker, mut request: Value) -> Value {
        let all = request.as_object_mut().unwrap();
        all.insert("ResponseURL".to_owned(), json!(self.url));
        all.insert("StackId".to_owned(), json!("stack"));
        all.insert("LogicalResourceId".to_owned(), json!("Tasks"));
        let app = self.oncekey.app_of(&Function::Worker(beside()));
        let deadline = app.clock.now().plus(MINUTE);
        worker.invoke(app, &request.to_string(), deadline).await.unwrap();
        self.answers.lock().unwrap().pop().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r97_a_worker_that_is_deployed_by_cloudformation_declares_what_it_has() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let stack = Deployed::beside(&oncekey).await;
    let other =
        |cron: &str| Worker::new().task(Task::new("other", |_: Context, _: Value| async { Ok(()) }).cron(cron, "UTC"));
    let properties = |worker: &str, environments: &[&str]| json!({ "ServiceToken": "arn", "Worker": worker, "Environments": environments });
    let create =
        json!({ "RequestType": "Create", "RequestId": "1", "ResourceProperties": properties("mail", &["local/dev"]) });
    let told = stack.asked(&other("@daily"), create.clone()).await;
    assert_eq!((&told["Status"], &told["PhysicalResourceId"]), (&json!("SUCCESS"), &json!("oncekey-worker/mail")));
    assert_eq!(
        (&told["StackId"], &told["RequestId"], &told["LogicalResourceId"]),
        (&json!("stack"), &json!("1"), &json!("Tasks"))
    );
    let dev = ["digest", "*/5 * * * *", "dev"];
    is(&schedules(&oncekey).await, &[dev, ["other", "@daily", "mail"]]);
    // A new version, then the request of the first once more, as Lambda may deliver it.
    let update = json!({
        "RequestType": "Update", "RequestId": "2", "PhysicalResourceId": "oncekey-worker/mail",
        "ResourceProperties": properties("mail", &["local/dev", "local/prod"]),
        "OldResourceProperties": properties("mail", &["local/dev"]),
    });
    stack.asked(&other("@hourly"), update).await;
    assert_eq!(stack.asked(&other("@daily"), create).await["Status"], "SUCCESS");
    is(&schedules(&oncekey).await, &[dev, ["other", "@hourly", "mail"]]);
    // An environment that is left goes.
    let left = json!({
        "RequestType": "Update", "RequestId": "3", "PhysicalResourceId": "oncekey-worker/mail",
        "ResourceProperties": properties("mail", &["local/prod"]),
        "OldResourceProperties": properties("mail", &["local/dev", "local/prod"]),
    });
    stack.asked(&other("@hourly"), left).await;
    is(&schedules(&oncekey).await, &[dev]);
    // What cannot be declared fails the deployment, with the reason.
    let broken = Worker::new();
    broken.lose("no such file".to_owned());
    let mut create =
        json!({ "RequestType": "Create", "RequestId": "4", "ResourceProperties": properties("mail", &["local/prod"]) });
    let told = stack.asked(&broken, create.clone()).await;
    assert_eq!(
        (&told["Status"], &told["Reason"]),
        (&json!("FAILED"), &json!("this worker's tasks could not be loaded: no such file"))
    );
    create["ResourceProperties"]["Environments"] = json!(["prod"]);
    assert_eq!(stack.asked(&other("@daily"), create).await["Status"], "FAILED");
    let prod = oncekey.app().store.cron_schedules(&"local/prod".to_owned().try_into().unwrap()).await.unwrap();
    assert_eq!(prod.len(), 1);
    let delete = json!({
        "RequestType": "Delete", "RequestId": "5", "PhysicalResourceId": "oncekey-worker/mail",
        "ResourceProperties": properties("mail", &["local/prod", "no environment"]),
    });
    assert_eq!(stack.asked(&broken, delete).await["Status"], "SUCCESS");
    assert!(oncekey.app().store.cron_schedules(&"local/prod".to_owned().try_into().unwrap()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_know_the_tasks_of_workers_and_what_they_declare() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = frozen(place).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    declared(&oncekey, "mine", &of(&[("of-another-stack", "0 * * * *")]), "1").await;
    let shows = async |path: &str, text: &str| {
        let page = visitor.get(path).await;
        assert!(page.contains(text), "{path}: {page}");
    };
    shows("/try", r#"<option value="of-another-stack">"#).await;
    shows("/", "of-another-stack").await;
    shows("/schedules", "declared by mine").await;
    declared(&oncekey, "mine", &of(&[]), "2").await;
    assert!(!visitor.get("/try").await.contains("of-another-stack"));
}
