//! Parents whose keys one can watch hold: each triggers a child and then fails as often as its payload's `failTimes` says
//! (none by default), a tenth of a second apart.

use std::time::Duration;

use oncekey_worker::{Child, Context, Task, TaskError, TokenOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::basics::quickly;

pub(crate) fn tasks() -> [Task; 15] {
    [
        Task::new("my-task", my_task).retry(quickly(10)),
        Task::new("process-order", process_order).retry(quickly(10)),
        Task::new("sync-data", sync_data).retry(quickly(10)),
        Task::new("onboard-user", onboard_user).retry(quickly(10)),
        Task::new("wait-past-window", wait_past_window),
        Task::new("retry-failed-child", retry_failed_child),
        Task::new("reset-inside", reset_inside),
        Task::new("charge-payload", charge_payload).retry(quickly(10)),
        Task::new("wait-for-child", wait_for_child),
        Task::new("wait-for-time", wait_for_time),
        Task::new("wait-for-token", wait_for_token),
        Task::new("child-task", child),
        Task::new("send-email", child),
        Task::new("fetch-latest-data", fetch_latest_data),
        Task::new("send-welcome-email", child),
    ]
}

/// How often a parent fails after triggering its child.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Failing {
    fail_times: u32,
}

impl Failing {
    fn check(&self, ctx: &Context) -> Result<(), TaskError> {
        if ctx.attempt() <= self.fail_times {
            return Err(TaskError::new(format!("attempt {} of {} that fail", ctx.attempt(), self.fail_times)));
        }
        Ok(())
    }
}

/// The child that a parent triggered on its last attempt, and whether it was there already.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Triggered {
    child: String,
    is_cached: bool,
    attempts: u32,
}

impl Triggered {
    fn of(ctx: &Context, handle: &oncekey_worker::RunHandle) -> Self {
        Self { child: handle.id.to_string(), is_cached: handle.is_cached, attempts: ctx.attempt() }
    }
}

/// Triggers `child-task` once, however often it is retried.
async fn my_task(ctx: Context, payload: Option<Failing>) -> Result<Triggered, TaskError> {
    let key = ctx.idempotency_key("my-task-key");
    let handle = ctx.trigger(Child::new("child-task", json!({ "foo": "bar" })).idempotency_key(key)).await?;
    payload.unwrap_or_default().check(&ctx)?;
    Ok(Triggered::of(&ctx, &handle))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: String,
    email: String,
    #[serde(flatten)]
    failing: Failing,
}

/// Run scope, the default: one confirmation a run, over all its attempts.
async fn process_order(ctx: Context, order: Order) -> Result<Triggered, TaskError> {
    let key = ctx.idempotency_key(["confirm-order", order.order_id.as_str()]);
    let email = json!({ "to": order.email, "subject": format!("Order {} confirmed", order.order_id) });
    let handle = ctx.trigger(Child::new("send-email", email).idempotency_key(key)).await?;
    order.failing.check(&ctx)?;
    Ok(Triggered::of(&ctx, &handle))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sync {
    user_id: String,
    #[serde(flatten)]
    failing: Failing,
}

/// Attempt scope: each attempt fetches anew, and a resumed attempt does not.
async fn sync_data(ctx: Context, sync: Sync) -> Result<Value, TaskError> {
    let key = ctx.idempotency_key(["fetch", sync.user_id.as_str()]).attempt();
    let fetch = Child::new("fetch-latest-data", json!({ "userId": sync.user_id })).idempotency_key(key);
    let latest: Value = ctx.trigger_and_wait(fetch).await?;
    sync.failing.check(&ctx)?;
    Ok(json!({ "latest": latest, "attempts": ctx.attempt() }))
}

/// Returns which of its runs fetched.
async fn fetch_latest_data(ctx: Context, user: Value) -> Result<Value, TaskError> {
    Ok(json!({ "user": user["userId"], "fetchedBy": ctx.run_id() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    user_id: String,
    email: String,
    #[serde(flatten)]
    failing: Failing,
}

/// Global scope, for a week: one welcome a user, whichever run triggers it.
async fn onboard_user(ctx: Context, user: User) -> Result<Triggered, TaskError> {
    let key = ctx.idempotency_key(["welcome", user.user_id.as_str()]).global();
    let email = Child::new("send-welcome-email", json!({ "to": user.email }));
    let handle = ctx.trigger(email.idempotency_key(key).key_ttl("7d")).await?;
    user.failing.check(&ctx)?;
    Ok(Triggered::of(&ctx, &handle))
}

/// Triggers with a window of a minute, waits a second longer, and triggers again: two children.
async fn wait_past_window(ctx: Context, _: Value) -> Result<Value, TaskError> {
    let key = ctx.idempotency_key("my-key");
    let child = Child::new("child-task", json!({ "foo": "bar" })).idempotency_key(key).key_ttl("60s");
    let first = ctx.trigger(child.clone()).await?;
    ctx.wait_for(Duration::from_secs(61)).await?;
    let second = ctx.trigger(child).await?;
    Ok(json!({ "first": first.id, "second": second.id }))
}

/// A child that failed gives its key up: the same key makes another.
async fn retry_failed_child(ctx: Context, _: Value) -> Result<Value, TaskError> {
    let key = ctx.idempotency_key("risky");
    let child = Child::new("fail", json!({})).idempotency_key(key);
    let mut runs = Vec::new();
    for _ in 0..2 {
        match ctx.trigger_and_wait::<Value>(child.clone()).await {
            Err(oncekey_worker::CallError::Child { id, .. }) => runs.push(id),
            other => return other.map_err(Into::into),
        }
    }
    Ok(json!({ "failed": runs }))
}

/// Resets a key that it triggered with, and triggers again: two children.
async fn reset_inside(ctx: Context, _: Value) -> Result<Value, TaskError> {
    let child = Child::new("child-task", json!({ "foo": "bar" })).idempotency_key("my-key");
    let first = ctx.trigger(child.clone()).await?;
    ctx.reset("child-task", "my-key").await?;
    let second = ctx.trigger(child).await?;
    Ok(json!({ "first": first.id, "second": second.id }))
}

/// A key made of the payload: two orders that say the same are one charge, whoever sends them.
async fn charge_payload(ctx: Context, payload: Value) -> Result<Triggered, TaskError> {
    let key = ctx.idempotency_key(["charge", payload["order"].to_string().as_str()]).global();
    let handle = ctx.trigger(Child::new("child-task", &payload["order"]).idempotency_key(key)).await?;
    let failing: Failing = serde_json::from_value(payload)?;
    failing.check(&ctx)?;
    Ok(Triggered::of(&ctx, &handle))
}

/// Triggers `sleep` with its own payload and waits for it, holding no worker meanwhile.
async fn wait_for_child(ctx: Context, payload: Value) -> Result<Value, TaskError> {
    Ok(ctx.trigger_and_wait(Child::new("sleep", payload)).await?)
}

/// How long `wait-for-time` waits.
#[derive(Deserialize)]
struct Pause {
    seconds: u64,
}

/// Waits, holding no worker meanwhile.
async fn wait_for_time(ctx: Context, pause: Pause) -> Result<Value, TaskError> {
    ctx.wait_for(Duration::from_secs(pause.seconds)).await?;
    Ok(json!({ "waitedSeconds": pause.seconds }))
}

/// Makes a wait token, whose page in the dashboard has buttons to complete it, and returns what it is completed with.
async fn wait_for_token(ctx: Context, _: Value) -> Result<Value, TaskError> {
    let token = ctx.create_token(&TokenOptions::new().timeout("1h").tag("approval")).await?;
    Ok(ctx.wait_for_token(&token.id).await?)
}

/// Stands for work: returns what it was given.
async fn child(_: Context, payload: Value) -> Result<Value, TaskError> {
    Ok(payload)
}
