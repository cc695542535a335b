//! A bucket that does not always answer, and what is made of what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use oncekey_core::blobs::Blobs;
use oncekey_core::payload::PayloadType;
use oncekey_core::payload::path::BlobPath;
use oncekey_core::protocol::complete::complete;
use oncekey_core::queue::message::{CompletionEvent, Outcome, Output, RunMessage};
use oncekey_core::run::turn::Turn;
use oncekey_core::store::{Move, Moved};
use oncekey_core::{App, Clock, Error};
use oncekey_tests_api::{Oncekey, Place, dev, run_id};
use oncekey_worker::{Child, Context, Task, Worker};
use serde_json::json;
use tokio::net::TcpListener;

/// A bucket that answers so, one request after the other, and from then on as it did last. `None` is no answer at all.
async fn bucket(answers: &[Option<u16>]) -> (Blobs, Arc<AtomicU32>) {
    type Shared = (Arc<[Option<u16>]>, Arc<AtomicU32>);
    async fn answer(State((answers, asked)): State<Shared>) -> (StatusCode, &'static str) {
        let index = asked.fetch_add(1, Ordering::SeqCst) as usize;
        match answers[index.min(answers.len() - 1)] {
            Some(status) => (StatusCode::from_u16(status).unwrap(), "1"),
            None => std::future::pending().await,
        }
    }
    let asked = Arc::new(AtomicU32::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state((answers.into(), Arc::clone(&asked)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let sdk = aws_config::defaults(BehaviorVersion::latest()).region("us-east-1").test_credentials().load().await;
    (Blobs::new(&sdk, Some(&url), "bucket", Clock::system()).unwrap(), asked)
}

fn path() -> BlobPath {
    BlobPath::parse("path", "payloads/of-ada").unwrap()
}

#[tokio::test]
async fn what_a_bucket_does_not_answer_or_fails_is_asked_again() {
    let (blobs, asked) = bucket(&[None, Some(503), Some(200)]).await;
    let payload = blobs.get(&dev(), &path()).await.unwrap().unwrap();
    assert_eq!((payload.text.as_deref(), asked.load(Ordering::SeqCst)), (Some("1"), 3));

    let (blobs, asked) = bucket(&[Some(500), Some(429), Some(200)]).await;
    blobs.put_output(&dev(), PayloadType::Json, "1".to_owned()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_bucket_that_goes_on_failing_is_given_up_after_three_attempts() {
    let (blobs, asked) = bucket(&[Some(503)]).await;
    let error = blobs.put_output(&dev(), PayloadType::Json, "1".to_owned()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_object_that_may_not_be_read_is_not_taken_for_one_that_is_not_there() {
    let (blobs, _) = bucket(&[Some(404)]).await;
    assert_eq!(blobs.get(&dev(), &path()).await.unwrap(), None);
    let (blobs, asked) = bucket(&[Some(403)]).await;
    let refused = blobs.get(&dev(), &path()).await.unwrap_err();
    assert!(matches!(refused, Error::Aws { .. }), "{refused}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "a refusal is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_the_bucket_does_not_give_yet_is_no_failure_of_the_child() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    // As often as nobody asks in one go.
    let (blobs, asked) = bucket(&[[Some(503); 7].as_slice(), &[Some(200)]].concat()).await;
    // Delayed, so that the stack's own worker leaves them alone: by the clock of this one, it is time.
    let app = App { blobs, clock: oncekey.clock.ahead_by(7_200_000), ..oncekey.app().clone() };
    let minute = app.clock.now().plus(Duration::from_secs(60));

    let held = json!({ "options": { "delay": "1h", "idempotencyKey": "k" } });
    let child = run_id(&oncekey.trigger("child", held).await.id);
    let (turn, lease_name) = (Turn::FIRST, "a test's");
    let take_up =
        Move::Start { turn, lease_until: minute, lease_name, max_attempts: None, absent: None, lane: None, slot: None };
    let Moved::To(child) = app.store.move_run(&child, take_up, app.clock.now()).await.unwrap() else {
        panic!("it is there")
    };
    let outcome =
        Outcome::Succeeded { output: Some(Output::Stored(path())), output_type: PayloadType::Json, lost: None };
    complete(&app, &CompletionEvent::new(&child, outcome)).await.unwrap();

    let worker = Worker::new().task(Task::new("parent", |ctx: Context, (): ()| async move {
        let key = ctx.idempotency_key(["k"]).global();
        Ok(ctx.trigger_and_wait::<u32>(Child::new("child", ()).idempotency_key(key)).await?)
    }));
    let parent = oncekey.trigger("parent", json!({ "options": { "delay": "1h", "maxAttempts": 1 } })).await;
    let run = app.store.run(&run_id(&parent.id)).await.unwrap().unwrap();
    let mut message = SqsMessage::default();
    message.body = Some(serde_json::to_string(&RunMessage::of(&run)).unwrap());
    let mut event = SqsEvent::default();
    event.records = vec![message];
    assert!(worker.handle(&app, event, minute).await.batch_item_failures.is_empty());
    let parent = oncekey.finished(&parent.id).await;
    assert_eq!((&parent["status"], &parent["output"]), (&json!("COMPLETED"), &json!(1)), "{parent}");
    assert_eq!(asked.load(Ordering::SeqCst), 8);
}
