//! A bucket that does not always answer, and what is made of what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_config::BehaviorVersion;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use oncekey_core::blobs::Blobs;
use oncekey_core::payload::path::BlobPath;
use oncekey_core::{Clock, Error};
use oncekey_tests_api::dev;
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
    blobs.put_output(&dev(), "1".to_owned()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_bucket_that_goes_on_failing_is_given_up_after_three_attempts() {
    let (blobs, asked) = bucket(&[Some(503)]).await;
    let error = blobs.put_output(&dev(), "1".to_owned()).await.unwrap_err();
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
