//! The functions may ask AWS for what they ask for, and for nothing else. Every test here runs under the policies of the
//! templates; this one makes use of every permission.

use std::collections::BTreeSet;
use std::time::Duration;

use oncekey::Options;
use oncekey::aws::iam::Function;
use oncekey_core::deployment::StoredDeployment;
use oncekey_core::queue::message::{CompletionEvent, Outcome};
use oncekey_core::queue::name::{Queue, QueueName};
use oncekey_core::run::RunError;
use oncekey_core::{RequestId, WorkerName};
use oncekey_tests_api::policy::{Permission, Policies, Tasks};
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, DEV, Oncekey, Place, answer, dev, run_id};
use oncekey_wire::Manifest;
use oncekey_worker::{Child, Context, RetryPolicy, Task, TaskError, Worker};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::dashboard::Visitor;
use crate::large::noise;
use crate::overdue::sweep;
use crate::tokens::created;

const DAY: Duration = Duration::from_secs(86_400);

/// What this test does not make use of, by the ends of function, action and resource, and why it is there.
const WITHOUT_A_CALL: [(&str, &str, &str, &str); 7] = [
    ("", "sqs:GetQueueAttributes", "", "Lambda asks for it when it makes an event source mapping"),
    ("", "sqs:ChangeMessageVisibility", "", "a handler says when a message that failed comes again: leases.rs"),
    ("", "s3:ListBucket", "", "what is not there is else said not to be readable: template.rs"),
    ("", "dynamodb:DeleteItem", "-runs", "an end that finds somebody waiting, as a cancellation does: wake_ups.rs"),
    ("complete", "dynamodb:GetItem", "-runs", "a dead-lettered message of an attempt that has not ended: hops.rs"),
    ("complete", "sqs:SendMessage", "-completions", "likewise: leases.rs"),
    ("dashboard", "Object", "", "a large payload is put and got as by the functions for trigger and runs: large.rs"),
];

/// Tasks that do whatever a task can.
fn worker() -> Worker {
    let quick = RetryPolicy { max_attempts: 2, first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
    let child = Task::new("child", |_: Context, length: usize| async move { Ok(noise(length + 2)) });
    let fail = Task::new("fail", |_: Context, _: Value| async move { Err::<(), _>(TaskError::new("always")) });
    let all = Task::new("all", |ctx: Context, _: Value| async move {
        let large: String = ctx.step("large", || async { Ok(noise(300_000)) }).await?;
        // The same text again is a duplicate, whose run may be looked at.
        let key = || ctx.idempotency_key("child");
        ctx.trigger(Child::new("child", 2).idempotency_key(key())).await?;
        ctx.trigger(Child::new("child", 2).idempotency_key(key())).await?;
        ctx.trigger(Child::new("child", noise(250_000).len()).idempotency_key("large")).await?;
        ctx.enqueue_trigger(Child::new("child", 2)).await?;
        ctx.trigger(Child::new("child", 2).queue(BESIDE)).await?;
        let replacing = || Child::new("child", 2).idempotency_key(ctx.idempotency_key("replaced")).delay("1d");
        ctx.trigger(replacing()).await?;
        ctx.trigger(replacing().replace_held_key()).await?;
        ctx.reset("child", ctx.idempotency_key("child")).await?;
        let many = (0..30).map(|_| Child::new("child", 2)).collect();
        let outputs = ctx.batch_trigger_and_wait::<String>(many).await?;
        let one: String = ctx.trigger_and_wait(Child::new("child", 200_000)).await?;
        let failed = ctx.trigger_and_wait::<Value>(Child::new("fail", 0)).await.is_err();
        ctx.wait_for(DAY * 100).await?;
        if ctx.attempt() == 1 {
            return Err(TaskError::new("once more"));
        }
        Ok(json!([large.len(), outputs.len(), one.len(), failed]))
    });
    let patient = RetryPolicy { max_attempts: 2, first_pause: DAY, max_pause: DAY, ..RetryPolicy::default() };
    let later = Task::new("later", |_: Context, _: Value| async move { Err::<(), _>(TaskError::new("not yet")) });
    Worker::new().task(child).task(fail.max_attempts(1)).task(all.retry(quick)).task(later.retry(patient))
}

async fn ok(request: reqwest::RequestBuilder) -> Value {
    let (status, told) = answer(request).await;
    assert!(status.is_success(), "{status}: {told}");
    told
}

/// A packet that holds 7, and what triggers with it; one that is not there.
async fn packets(oncekey: &Oncekey) -> (Value, Value) {
    let place = |name: &'static str| ok(oncekey.request(Method::PUT, &format!("/api/v2/packets/{name}")));
    let body =
        |place: &Value| json!({ "payload": place["storagePath"], "options": { "payloadType": "application/store" } });
    let (there, absent) = (place("there").await, place("absent").await);
    let put = reqwest::Client::new().put(there["presignedUrl"].as_str().unwrap()).body("7").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::OK);
    (body(&there), body(&absent))
}

/// Has every function do all that it does.
async fn drive(oncekey: &Oncekey, queue: &str) {
    let in_queue = |body: Value| {
        let mut body = body;
        body["options"]["queue"] = json!({ "name": queue });
        body
    };
    let (there, absent) = packets(oncekey).await;
    // Triggers: new, again, large, in a batch, with a packet that is there, and with one that is not.
    let trigger = |task: &'static str, body: Value| oncekey.trigger(task, in_queue(body));
    let all = trigger("all", json!({ "payload": 0, "options": { "idempotencyKey": "all" } })).await;
    trigger("all", json!({ "payload": 0, "options": { "idempotencyKey": "all" } })).await;
    // Whether anybody has declared it is looked up.
    oncekey.trigger("nobodys", json!({ "options": { "delay": "1h" } })).await;
    let packet = trigger("child", there.clone()).await;
    let large = trigger("child", json!({ "payload": noise(250_000) })).await;
    assert_eq!(oncekey.try_trigger("child", absent.clone()).await.0, StatusCode::BAD_REQUEST);
    let batch = ok(oncekey.post("/api/v3/batches", json!({ "runCount": 1 }).to_string())).await["id"].clone();
    let batch = batch.as_str().unwrap();
    let line = in_queue(json!({ "index": 0, "task": "child", "payload": 1 })).to_string();
    ok(oncekey.post(&format!("/api/v3/batches/{batch}/items"), line)).await;
    ok(oncekey.get(&format!("/api/v2/batches/{batch}"))).await;
    // Messages that trigger, likewise.
    let message = |body: &Value| {
        let mut body = in_queue(body.clone());
        body["environment"] = json!("local/dev");
        body["task"] = json!("child");
        body.to_string()
    };
    for body in [json!({ "payload": noise(250_000) }), there, absent, json!({ "options": { "delay": "never" } })] {
        oncekey.send("oncekey-triggers", message(&body)).await;
    }
    let keyed = json!({ "payload": 1, "options": { "idempotencyKey": "by message", "delay": "1d" } });
    oncekey.send("oncekey-triggers", message(&keyed)).await;
    oncekey.drained("oncekey-triggers").await;
    oncekey.send("oncekey-triggers", message(&keyed)).await;
    oncekey.drained("oncekey-triggers").await;
    // Runs that are there: looked at, changed, cancelled, made again.
    let large = oncekey.finished(&large.id).await["payloadPresignedUrl"].clone();
    assert_eq!(reqwest::get(large.as_str().unwrap()).await.unwrap().status(), StatusCode::OK);
    for path in ["runs", "runs?page[size]=1", "idempotencyKeys/all?taskIdentifier=all", "packets/there"] {
        ok(oncekey.get(&format!("/api/v1/{path}"))).await;
    }
    oncekey.finished(&packet.id).await;
    ok(oncekey.get(&format!("/api/v1/runs/{}/result", packet.id))).await;
    let delayed = || trigger("child", json!({ "payload": 1, "options": { "delay": "1d" } }));
    let run = format!("/api/v1/runs/{}", delayed().await.id);
    let metadata = json!({ "metadata": { "text": "m".repeat(2_000) } }).to_string();
    ok(oncekey.request(Method::PUT, &format!("{run}/metadata")).body(metadata)).await;
    ok(oncekey.post(&format!("{run}/tags"), r#"{"tags": ["a"]}"#)).await;
    ok(oncekey.post(&format!("{run}/reschedule"), r#"{"delay": "2d"}"#)).await;
    ok(oncekey.post(&format!("/api/v2/runs/{}/cancel", delayed().await.id), "")).await;
    let released = json!({ "delay": "1d", "idempotencyKey": "released", "idempotencyKeyRelease": "on-end" });
    let released = trigger("child", json!({ "payload": 1, "options": released })).await;
    ok(oncekey.post(&format!("/api/v2/runs/{}/cancel", released.id), "")).await;
    let replacing =
        json!({ "payload": 1, "options": { "idempotencyKey": "by message", "onKeyHeld": "replace", "delay": "1d" } });
    trigger("child", replacing.clone()).await;
    oncekey.send("oncekey-triggers", message(&replacing)).await;
    oncekey.drained("oncekey-triggers").await;
    let large = json!({ "payload": noise(250_000), "idempotencyKey": "replayed" }).to_string();
    ok(oncekey.post(&format!("/api/v1/runs/{}/replay", packet.id), large)).await;
    // Its payload is in the bucket.
    ok(oncekey.post(&format!("/api/v1/runs/{}/replay", packet.id), "")).await;
    // Keys.
    let reset = |key: &'static str, task: &'static str| {
        oncekey.post(&format!("/api/v1/idempotencyKeys/{key}/reset"), json!({ "taskIdentifier": task }).to_string())
    };
    ok(reset("all", "all")).await;
    oncekey.trigger("child", json!({ "payload": 1, "options": { "idempotencyKey": "once" } })).await;
    ok(reset("once", "child").header("x-trigger-request-idempotency-key", "one-reset")).await;
    visit(oncekey, &packet.id).await;
    let later = trigger("later", json!({ "payload": 0 })).await;
    oncekey.run_until(&later.id, |run| run["attemptCount"] == 2).await;
    // Dead letters: of a worker's and of an event.
    oncekey.send("oncekey-runs-dead", "no message of ours").await;
    // One that comes late is done with.
    let stored = oncekey.app().store.run(&run_id(&packet.id)).await.unwrap().unwrap();
    let error = RunError::new("Crashed", "late");
    let event = CompletionEvent::unless_leased(&stored, Outcome::Crashed { error, retry_after_ms: None });
    oncekey.send("oncekey-completions-dead", serde_json::to_string(&event).unwrap()).await;
    oncekey.drained("oncekey-completions-dead").await;
    oncekey.drained("oncekey-runs-dead").await;
    tick(oncekey).await;
    deploy(oncekey).await;
    // Whatever takes days.
    oncekey.in_status(&all.id, "WAITING").await;
    overdue(oncekey).await;
}

/// The pages, and every button on them.
async fn visit(oncekey: &Oncekey, run: &str) {
    let visitor = Visitor::signed_in(oncekey, DEV).await;
    for page in ["/", "/runs", "/queues", "/schedules", "/tokens", "/keys", "/try"] {
        visitor.get(page).await;
    }
    let page = format!("/runs/{run}");
    visitor.get(&page).await;
    let tried = [("task", "child"), ("payload", "1"), ("key", "tried"), ("delay", "1d"), ("request", "one")];
    assert_eq!(visitor.send("/try", "/try", &tried).await.status(), StatusCode::OK);
    visitor.send(&page, &format!("{page}/replay"), &[("request", "two")]).await;
    let held = answer(oncekey.get("/api/v1/idempotencyKeys/tried?taskIdentifier=child")).await.1;
    let page = format!("/runs/{}", held["runId"].as_str().unwrap());
    visitor.send(&page, &format!("{page}/reset"), &[]).await;
    visitor.send(&page, &format!("{page}/cancel"), &[]).await;
    visitor.send("/keys", "/keys", &[("task", "child"), ("key", "tried")]).await;
    let token = created(oncekey, json!({})).await;
    let approve = [("approve", token["id"].as_str().unwrap()), ("back", "/tokens")];
    let pressed = visitor.send("/tokens", "/tokens", &approve).await;
    assert_eq!(pressed.status(), StatusCode::SEE_OTHER);
}

/// A cron schedule that ticks, one that is far away, and a tick that could not be sent.
async fn tick(oncekey: &Oncekey) {
    let mut paths = Vec::new();
    for (key, cron) in [("near", "* * * * *"), ("far", "0 0 1 1 *")] {
        let body = json!({ "task": "child", "cron": cron, "deduplicationKey": key, "onOverlap": "skip" });
        let schedule = ok(oncekey.post("/api/v1/schedules", body.to_string())).await;
        paths.push(format!("/api/v1/schedules/{}", schedule["id"].as_str().unwrap()));
    }
    oncekey.clock.advance(Duration::from_secs(60));
    while ok(oncekey.get(&paths[0])).await["lastRun"].is_null() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let dead = json!({
        "tick": {
            "environment": "local/dev",
            "schedule": paths[0].rsplit('/').next(),
            "generation": "an earlier one",
            "at": oncekey.app().clock.now(),
        }
    });
    oncekey.send("oncekey-runs-dead", dead.to_string()).await;
    oncekey.drained("oncekey-runs-dead").await;
    for path in paths {
        ok(oncekey.post(&format!("{path}/deactivate"), "")).await;
        ok(oncekey.request(Method::DELETE, &path)).await;
    }
    oncekey.purge("oncekey-triggers").await;
}

/// Workers that are deployed: by a call, by themselves, and by the sweep where somebody died over it.
async fn deploy(oncekey: &Oncekey) {
    let declare = |cron: &str| {
        let manifest = json!({ "tasks": [{ "id": "child", "cron": { "pattern": cron } }] });
        ok(oncekey.request(Method::PUT, "/api/v1/workers/called").body(manifest.to_string()))
    };
    declare("0 0 1 1 *").await;
    declare("0 0 2 1 *").await;
    ok(oncekey.request(Method::DELETE, "/api/v1/workers/called")).await;
    let (mine, name) = (Function::Worker(name(BESIDE)), WorkerName::parse("mine").unwrap());
    let mine = oncekey.app_of(&mine);
    let scheduled =
        |cron: &str| worker().task(Task::new("yearly", |_: Context, _: Value| async { Ok(()) }).cron(cron, "UTC"));
    for cron in ["0 0 1 1 *", "0 0 2 1 *"] {
        scheduled(cron).declare(mine, &dev(), &name, &RequestId::fresh()).await.unwrap();
    }
    worker().declare(mine, &dev(), &name, &RequestId::fresh()).await.unwrap();
    let app = oncekey.app();
    for manifest in
        [scheduled("0 0 1 1 *").manifest().unwrap(), scheduled("0 0 2 1 *").manifest().unwrap(), Manifest::default()]
    {
        let there = app.store.deployment(&dev(), &name).await.unwrap();
        let begun =
            StoredDeployment::after(there.as_ref(), &name, &manifest, &format!("{manifest:?}"), app.clock.now());
        assert!(app.store.put_deployment(&dev(), &begun).await.unwrap());
        sweep(oncekey).await;
    }
}

/// Whoever looks at a run whose message is gone ends it.
async fn overdue(oncekey: &Oncekey) {
    let options = json!({ "delay": "1d", "idempotencyKey": "late", "idempotencyKeyTTL": "300d" });
    for who in 0..5 {
        let run = oncekey.trigger("child", json!({ "payload": 1, "options": options })).await.id;
        oncekey.purge("oncekey-runs").await;
        // Where it is not to come first, the daily sweep does not look at runs of this age.
        oncekey.clock.advance(DAY * if who == 0 { 17 } else { 20 });
        match who {
            0 => sweep(oncekey).await,
            1 => drop(oncekey.run(&run).await),
            2 => drop(Visitor::signed_in(oncekey, DEV).await.get(&format!("/runs/{run}")).await),
            3 => drop(oncekey.trigger("child", json!({ "payload": 1, "options": options })).await),
            _ => {
                let message = json!({ "environment": "local/dev", "task": "child", "payload": 1, "options": options });
                oncekey.send("oncekey-triggers", message.to_string()).await;
                oncekey.drained("oncekey-triggers").await;
            }
        }
        oncekey.run_until(&run, |run| run["status"] == "EXPIRED").await;
        oncekey.drained("oncekey-completions").await;
    }
}

/// The permissions of these functions of which no call in these stacks made use.
fn unused(policies: &[&Policies], functions: &[Function]) -> BTreeSet<String> {
    let used: BTreeSet<_> = policies.iter().flat_map(|policies| policies.used()).collect();
    let Some(policies) = policies.first() else { return BTreeSet::new() };
    let mut unused = BTreeSet::new();
    for function in functions {
        for permission in policies.permissions(function) {
            let is_of = |(of, action, resource, _): &(&str, &str, &str, &str)| {
                function.to_string().ends_with(of)
                    && permission.action.ends_with(action)
                    && permission.resource.ends_with(resource)
            };
            let without_a_call = WITHOUT_A_CALL.iter().any(is_of);
            if !without_a_call && !used.contains(&(function.clone(), permission.clone())) {
                unused.insert(format!("{function}: {} on {}", permission.action, permission.resource));
            }
        }
    }
    unused
}

const OWN: &str = "default";
/// The queue of a worker beside it.
const BESIDE: &str = "mine";

fn name(queue: &str) -> QueueName {
    QueueName::parse(queue).unwrap()
}

async fn driven(place: Place, tasks: Tasks, queue: &str) -> Oncekey {
    let queues = vec![Queue { name: name(BESIDE), concurrency: None }];
    let oncekey = Oncekey::running_tasks(place, tasks, worker(), |options| Options { queues, ..options }).await;
    drive(&oncekey, queue).await;
    oncekey
}

#[tokio::test(flavor = "multi_thread")]
async fn every_permission_of_the_templates_is_made_use_of() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let (oncekey, beside) = tokio::join!(driven(place, Tasks::Rust, OWN), driven(place, Tasks::Rust, BESIDE));
    let functions = [
        Function::Trigger,
        Function::Ingest,
        Function::Reset,
        Function::Runs,
        Function::Dashboard,
        Function::Complete,
        Function::Worker(name(OWN)),
        Function::Worker(name(BESIDE)),
    ];
    let unused = unused(&[oncekey.policies(), beside.policies()], &functions);
    assert_eq!(unused, BTreeSet::new(), "take them out of the templates, or make use of them here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_permission_is_refused_and_a_permission_without_a_call_is_named() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = Oncekey::start(place).await;
    let policies = oncekey.policies();
    let claims = |one: &Permission| one.action == "dynamodb:PutItem" && one.resource.ends_with("table/oncekey-keys");
    let claiming = policies.permissions(&Function::Trigger).into_iter().find(claims).unwrap();
    policies.revoke(&Function::Trigger, &claiming);
    let (status, _) = oncekey.try_trigger("echo", json!({ "options": { "idempotencyKey": "k" } })).await;
    assert!(status.is_server_error(), "{status}");
    let said = format!("trigger is not authorized to perform: {} on resource: {}", claiming.action, claiming.resource);
    assert_eq!(policies.take_denied(), [said]);
    // What needs another permission is done.
    oncekey.trigger("echo", json!({})).await;
    let unused = unused(&[policies], &[Function::Trigger, Function::Reset]);
    assert!(unused.contains("trigger: s3:PutObject on arn:aws:s3:::oncekey/*"), "{unused:?}");
    assert!(
        !unused.contains("trigger: dynamodb:PutItem on arn:aws:dynamodb:us-east-1:000000000000:table/oncekey-runs")
    );
    assert_eq!(
        unused.iter().filter(|one| one.starts_with("reset: ")).count(),
        policies.permissions(&Function::Reset).len()
    );
}

#[test]
fn policies_are_read_as_aws_reads_them() {
    let policies = Policies::of("mine", Tasks::Rust);
    let may = |function: &Function, action: &str, resource: &str| {
        policies.permissions(function).iter().any(|one| one.action == action && one.resource == resource)
    };
    let place = "us-east-1:000000000000";
    let worker = Function::Worker(name("mail"));
    // By `GetAtt` and `Sub` in the stack itself, and by what it exports in one beside it.
    for (function, action, resource) in [
        (&Function::Runs, "dynamodb:Query", format!("arn:aws:dynamodb:{place}:table/mine-runs/index/newest")),
        (&Function::Runs, "sqs:SendMessage", format!("arn:aws:sqs:{place}:mine-runs-*")),
        (&Function::Runs, "s3:GetObject", "arn:aws:s3:::oncekey/*".to_owned()),
        (&worker, "dynamodb:PutItem", format!("arn:aws:dynamodb:{place}:table/mine-keys")),
        (&worker, "sqs:ReceiveMessage", format!("arn:aws:sqs:{place}:mine-runs-mail")),
        (&worker, "s3:ListBucket", "arn:aws:s3:::oncekey".to_owned()),
    ] {
        assert!(may(function, action, &resource), "{function}: {action} on {resource}");
    }
    let bound = policies.permissions(&Function::Dashboard);
    let bound: Vec<_> = bound.iter().filter_map(|one| Some((&one.action, one.leading_keys.as_ref()?))).collect();
    assert_eq!(bound, [(&"dynamodb:PutItem".to_owned(), &vec!["sessions".to_owned()])]);
}
