//! Calls that nobody answers.

use std::time::Duration;

use oncekey_core::blobs::Blobs;
use oncekey_core::queue::QueueUrls;
use oncekey_core::store::TableNames;
use oncekey_core::{App, Clock, RunId, aws_settings};
use oncekey_simulation::network::Network;
use serde_json::json;
use tokio::time::Instant;

/// How long an HTTP function may take.
const INVOCATION: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_is_made_three_times_and_ends_before_its_function_does() {
    let network = Network::default();
    let settings = aws_settings().http_client(network.clone()).region("us-east-1").test_credentials();
    let sdk = settings.endpoint_url("http://silence").load().await;
    let clock = Clock::system();
    let tables = TableNames { keys: "keys".into(), runs: "runs".into(), environments: "environments".into() };
    let url = || "http://silence/0/queue".to_owned();
    let urls = QueueUrls {
        runs: Default::default(),
        of_task: Default::default(),
        runs_dead_letter: url(),
        triggers: url(),
        triggers_dead_letter: url(),
        completions: url(),
        completions_dead_letter: url(),
    };
    let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk));
    let blobs = Blobs::new(&sdk, Some("http://silence"), "none", clock.clone()).expect("a bucket");
    let app = App::new(dynamodb, sqs, tables, urls, blobs, clock);
    let run = RunId::parse("run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").expect("an id");

    let begun = Instant::now();
    app.store.run(&run).await.expect_err("nobody answers");
    assert!(begun.elapsed() < INVOCATION, "{:?}", begun.elapsed());
    assert_eq!(network.take().len(), 3);

    let begun = Instant::now();
    app.queues.send_trigger(&json!({})).await.expect_err("nobody answers");
    assert!(begun.elapsed() < INVOCATION, "{:?}", begun.elapsed());
    assert_eq!(network.take().len(), 3);
}
