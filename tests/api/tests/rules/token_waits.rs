//! R95: runs that wait for tokens, and tokens that tasks make.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use oncekey_core::TokenId;
use oncekey_core::queue::token::TokenMessage;
use oncekey_core::store::TokenWritten;
use oncekey_tests_api::{COUNTS_IN_REAL_TIME, Oncekey, PROD, Place, answer, dev};
use oncekey_worker::{CallError, Context, Task, TokenOptions};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::tokens::{completed, created, shown};
use super::waits::with;

const MINUTE: Duration = Duration::from_secs(60);

/// `parent` waits for the tokens of its payload, one after another.
fn waits() -> Task {
    Task::new("parent", |ctx: Context, tokens: Vec<TokenId>| async move {
        let mut told = Vec::new();
        for token in tokens {
            told.push(match ctx.wait_for_token::<Value>(&token).await {
                Ok(output) => output,
                Err(CallError::TokenTimedOut { .. }) => json!("timed out"),
                Err(error) => return Err(error.into()),
            });
        }
        Ok(told)
    })
    .max_attempts(1)
}

async fn wait_for(oncekey: &Oncekey, tokens: &[&Value]) -> String {
    let ids: Vec<&Value> = tokens.iter().map(|token| &token["id"]).collect();
    oncekey.trigger("parent", json!({ "payload": ids })).await.id
}

async fn output(oncekey: &Oncekey, run: &str) -> Value {
    let run = oncekey.finished(run).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    run["output"].clone()
}

fn id(token: &Value) -> TokenId {
    TokenId::parse(token["id"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_run_waits_for_a_token_without_a_worker_and_is_told_what_it_was_completed_with() {
    let Some(place) = Place::own_stack() else { return };
    let invocations = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&invocations);
    let task = Task::new("parent", move |ctx: Context, tokens: [TokenId; 2]| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let first: Value = ctx.wait_for_token(&tokens[0]).await?;
            let second: u8 = ctx.wait_for_token(&tokens[1]).await?;
            Ok(json!([first, second]))
        }
    });
    let oncekey = with(place, task).await;
    let (early, late) = (created(&oncekey, json!({})).await, created(&oncekey, json!({ "timeout": "1h" })).await);
    completed(&oncekey, &early, json!({ "is": "ü" })).await;
    let run = wait_for(&oncekey, &[&early, &late]).await;
    let waiting = oncekey.in_status(&run, "WAITING").await;
    assert_eq!(waiting["waitingFor"]["tokens"], json!([late["id"]]));
    assert_eq!(waiting["waitingFor"]["until"], shown(&oncekey, &late).await["timeoutAt"]);
    completed(&oncekey, &late, json!(7)).await;
    assert_eq!(output(&oncekey, &run).await, json!([{ "is": "ü" }, 7]));
    assert_eq!(invocations.load(Ordering::SeqCst), 2, "for one that has ended nobody is suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_run_is_told_when_nobody_completes_its_token_in_time() {
    let Some(place) = Place::here_alone(COUNTS_IN_REAL_TIME) else { return };
    let oncekey = with(place, waits()).await;
    let token = created(&oncekey, json!({ "timeout": "30d" })).await;
    let run = wait_for(&oncekey, &[&token, &token]).await;
    oncekey.in_status(&run, "WAITING").await;
    oncekey.clock.advance(30 * 24 * 60 * MINUTE);
    assert_eq!(output(&oncekey, &run).await, json!(["timed out", "timed out"]));
    let stored = oncekey.app().store.token(&dev(), &id(&token)).await.unwrap().unwrap();
    assert_eq!(stored.status.as_str(), "TIMED_OUT", "written, and not told by the clock alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_run_that_does_not_catch_it_fails_with_the_name_of_the_token() {
    let Some(place) = Place::own_stack() else { return };
    let task = Task::new("parent", |ctx: Context, tokens: Vec<TokenId>| async move {
        Ok(ctx.wait_for_token::<Value>(&tokens[0]).await?)
    });
    let oncekey = with(place, task.max_attempts(1)).await;
    let token = created(&oncekey, json!({ "timeout": "1s" })).await;
    let run = wait_for(&oncekey, &[&token]).await;
    let failed = oncekey.finished(&run).await;
    let message = format!("nobody completed the wait token {} before its time was over", id(&token));
    assert_eq!((&failed["status"], &failed["error"]["message"]), (&json!("FAILED"), &json!(message)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_token_that_a_task_makes_is_the_same_on_a_resume_and_is_completed_by_its_url() {
    let Some(place) = Place::own_stack() else { return };
    let task = Task::new("parent", |ctx: Context, _: Value| async move {
        let token = ctx.create_token(&TokenOptions::new().timeout("1h").tag("a")).await?;
        let keyed = ctx.create_token(&TokenOptions::new().key("k")).await?;
        let again = ctx.create_token(&TokenOptions::new().key("k")).await?;
        let refused = ctx.create_token(&TokenOptions::new().timeout("soon")).await.unwrap_err().to_string();
        let output: Value = ctx.wait_for_token(&token.id).await?;
        Ok(json!([output, token.id, keyed.id == again.id, keyed.is_cached, again.is_cached, refused]))
    });
    let oncekey = with(place, task).await;
    let run = oncekey.trigger("parent", json!({})).await.id;
    let waiting = oncekey.in_status(&run, "WAITING").await;
    let made = json!({ "id": waiting["waitingFor"]["tokens"][0] });
    let token = shown(&oncekey, &made).await;
    assert_eq!(token["tags"], json!(["a"]));
    let answered = answer(reqwest::Client::new().post(token["url"].as_str().unwrap()).body("\"paid\"")).await;
    assert_eq!(answered, (StatusCode::OK, json!({ "success": true })));
    let output = output(&oncekey, &run).await;
    assert_eq!(output[0], "paid");
    assert_eq!(
        (&output[1], &output[2], &output[3], &output[4]),
        (&made["id"], &json!(true), &json!(false), &json!(true))
    );
    assert!(output[5].as_str().unwrap().starts_with("timeout: "), "{output}");
    let (_, page) = answer(oncekey.get("/api/v1/waitpoints/tokens")).await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2, "none is made again on the resume");
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_all_who_wait_for_a_token_are_told_however_many_they_are() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits()).await;
    let token = created(&oncekey, json!({})).await;
    // More than one delivery of its message tells.
    let tokens = [&token];
    let runs = join_all((0..320).map(|_| wait_for(&oncekey, &tokens))).await;
    for run in &runs {
        oncekey.in_status(run, "WAITING").await;
    }
    completed(&oncekey, &token, json!(1)).await;
    for run in &runs {
        assert_eq!(output(&oncekey, run).await, json!([1]));
    }
    assert!(oncekey.app().store.registrations(id(&token).as_str(), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_completion_whose_caller_died_before_it_was_written_wakes_those_who_wait() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits()).await;
    let token = created(&oncekey, json!({})).await;
    let run = wait_for(&oncekey, &[&token]).await;
    oncekey.in_status(&run, "WAITING").await;
    let message = TokenMessage::new(&dev(), &id(&token), Some("\"dead\""));
    for _ in 0..2 {
        oncekey.app().queues.send_token(&message).await.unwrap();
    }
    assert_eq!(output(&oncekey, &run).await, json!(["dead"]));
    assert_eq!(shown(&oncekey, &token).await["output"], "\"dead\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_completion_whose_message_comes_too_late_decides_the_token_all_the_same() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let token = created(&oncekey, json!({ "timeout": "1m" })).await;
    let (app, before) = (oncekey.app(), oncekey.clock.now());
    oncekey.clock.advance(MINUTE);
    app.queues.send_token(&TokenMessage::new(&dev(), &id(&token), Some("1"))).await.unwrap();
    oncekey.drained("oncekey-completions").await;
    // By the clock of its caller, which is behind, the time is not over; by now nobody would be told.
    let written = app.store.complete_token(&dev(), &id(&token), Some("1"), before).await.unwrap();
    assert!(matches!(written, TokenWritten::Before(_)), "{written:?}");
    assert_eq!(shown(&oncekey, &token).await["status"], "TIMED_OUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_run_whose_message_is_lost_is_found_by_the_sweep() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits()).await;
    let token = created(&oncekey, json!({ "timeout": "300d" })).await;
    let run = wait_for(&oncekey, &[&token]).await;
    oncekey.in_status(&run, "WAITING").await;
    // Without its message.
    let app = oncekey.app();
    app.store.complete_token(&dev(), &id(&token), Some("1"), oncekey.clock.now()).await.unwrap();
    let stored = app.store.run(&oncekey_tests_api::run_id(&run)).await.unwrap().unwrap();
    oncekey_core::protocol::token::look_for_ends(app, &stored).await.unwrap();
    assert_eq!(output(&oncekey, &run).await, json!([1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_token_of_another_environment_and_one_that_is_not_there_cannot_be_waited_for() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = with(place, waits()).await.as_key(PROD);
    let token = created(&oncekey, json!({})).await;
    let oncekey = oncekey.as_key(oncekey_tests_api::DEV);
    let run = oncekey.finished(&wait_for(&oncekey, &[&token]).await).await;
    assert_eq!(run["status"], "FAILED", "{run:#}");
    assert!(run["error"]["message"].as_str().unwrap().starts_with("there is no wait token"), "{run:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r95_a_token_and_a_time_that_are_raced_end_with_whichever_comes_first() {
    let Some(place) = Place::own_stack() else { return };
    let task = Task::new("parent", |ctx: Context, token: TokenId| async move {
        let by = tokio::select! {
            output = ctx.wait_for_token::<Value>(&token) => output?,
            waited = ctx.wait_for(Duration::from_secs(6)) => { waited?; json!("the time") }
        };
        // What comes after has its own calls.
        let last: Value = ctx.wait_for_token(&token).await?;
        Ok(json!([by, last]))
    });
    let oncekey = with(place, task).await;
    let (first, second) = (created(&oncekey, json!({})).await, created(&oncekey, json!({})).await);
    let race = |token: &Value| json!({ "payload": token["id"] });
    let won = oncekey.trigger("parent", race(&first)).await.id;
    let lost = oncekey.trigger("parent", race(&second)).await.id;
    oncekey.in_status(&won, "WAITING").await;
    oncekey.in_status(&lost, "WAITING").await;
    completed(&oncekey, &first, json!("token")).await;
    assert_eq!(output(&oncekey, &won).await, json!(["token", "token"]));
    let timeout = shown(&oncekey, &second).await["timeoutAt"].clone();
    oncekey.run_until(&lost, |run| run["waitingFor"]["until"] == timeout).await;
    completed(&oncekey, &second, json!("late")).await;
    assert_eq!(output(&oncekey, &lost).await, json!(["the time", "late"]));
}
