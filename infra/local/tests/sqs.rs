//! The SQS endpoint refuses what SQS refuses, under SQS's names, so that it is found here and not on AWS. By the official SDK.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::fmt::Debug;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry};
use oncekey::{Options, Stack};

/// The largest message, and the largest batch.
const MAX_BYTES: usize = 1_048_576;

/// A stack, a client that calls its endpoint over HTTP, and the URL of a queue that nobody reads.
async fn queue() -> (Stack, Client, String) {
    let stack = Stack::start(Options::in_memory()).await.unwrap();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(stack.sqs().0)
        .load()
        .await;
    let url = format!("{}/000000000000/oncekey-triggers-dead", stack.sqs().0);
    (stack, Client::new(&config), url)
}

/// The code of an error, as programs see it.
fn code<T: Debug, E: ProvideErrorMetadata + Debug>(answer: Result<T, SdkError<E>>) -> String {
    answer.unwrap_err().code().unwrap().to_owned()
}

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
}

fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
}

#[tokio::test]
async fn a_message_has_xmls_characters_and_no_others() {
    let (_stack, sqs, url) = queue().await;
    let send = |body: String| sqs.send_message().queue_url(&url).message_body(body).send();
    for allowed in ['\t', '\n', '\r', ' ', '\u{7F}', '\u{D7FF}', '\u{E000}', '\u{FFFD}', '\u{10000}', '\u{10FFFF}'] {
        send(format!("a{allowed}")).await.unwrap();
    }
    for refused in ['\0', '\u{1}', '\u{8}', '\u{B}', '\u{C}', '\u{E}', '\u{1F}', '\u{FFFE}', '\u{FFFF}'] {
        let error = send(format!("a{refused}")).await.unwrap_err().into_service_error();
        assert!(error.is_invalid_message_contents(), "{refused:?}: {error:?}");
        let attribute =
            sqs.send_message().queue_url(&url).message_body("a").message_attributes("a", text(&refused.to_string()));
        assert_eq!(code(attribute.send().await), "InvalidMessageContents", "{refused:?}");
    }
}

#[tokio::test]
async fn a_message_has_up_to_a_mebibyte_with_its_attributes_and_is_not_empty() {
    let (_stack, sqs, url) = queue().await;
    let send = |body: String| sqs.send_message().queue_url(&url).message_body(body);
    send("x".repeat(MAX_BYTES)).send().await.unwrap();
    assert_eq!(code(send("x".repeat(MAX_BYTES + 1)).send().await), "InvalidParameterValue");
    // Bytes, not characters.
    assert_eq!(code(send("é".repeat(MAX_BYTES / 2 + 1)).send().await), "InvalidParameterValue");
    // Name, type and value count.
    let attribute = "nameString".len() + 5;
    send("x".repeat(MAX_BYTES - attribute)).message_attributes("name", text("value")).send().await.unwrap();
    let over = send("x".repeat(MAX_BYTES - attribute + 1)).message_attributes("name", text("value"));
    assert_eq!(code(over.send().await), "InvalidParameterValue");
    assert_eq!(code(send(String::new()).send().await), "MissingParameter");
}

#[tokio::test]
async fn a_delay_has_up_to_900_seconds() {
    let (_stack, sqs, url) = queue().await;
    for (seconds, fits) in [(-1, false), (0, true), (900, true), (901, false)] {
        let sent = sqs.send_message().queue_url(&url).message_body("a").delay_seconds(seconds).send().await;
        assert_eq!(sent.is_ok(), fits, "{seconds}: {sent:?}");
        if !fits {
            assert_eq!(code(sent), "InvalidParameterValue");
        }
    }
}

#[tokio::test]
async fn a_message_has_up_to_ten_attributes_with_names_and_values() {
    let (_stack, sqs, url) = queue().await;
    let with = |count: usize| {
        let message = sqs.send_message().queue_url(&url).message_body("a");
        (0..count).fold(message, |message, index| message.message_attributes(format!("name-{index}"), text("value")))
    };
    with(10).send().await.unwrap();
    assert_eq!(code(with(11).send().await), "InvalidParameterValue");
    let long = "n".repeat(256);
    for name in ["a", "A_b-c.d", &long] {
        with(0).message_attributes(name, text("value")).send().await.unwrap();
    }
    let longer = "n".repeat(257);
    for name in ["", "a b", "é", ".a", "a.", "a..b", "AWS.a", "amazon.a", &longer] {
        let sent = with(0).message_attributes(name, text("value")).send().await;
        assert_eq!(code(sent), "InvalidParameterValue", "{name:?}");
    }
    assert_eq!(code(with(0).message_attributes("a", text("")).send().await), "InvalidParameterValue");
    let kind = MessageAttributeValue::builder().data_type("Text").string_value("value").build().unwrap();
    assert_eq!(code(with(0).message_attributes("a", kind).send().await), "InvalidParameterValue");
}

#[tokio::test]
async fn a_batch_has_one_to_ten_entries_with_distinct_names() {
    let (_stack, sqs, url) = queue().await;
    let send = |entries: Vec<SendMessageBatchRequestEntry>| {
        sqs.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    let many = |count: usize| (0..count).map(|index| entry(&index.to_string(), "a")).collect::<Vec<_>>();
    send(many(1)).await.unwrap();
    send(many(10)).await.unwrap();
    assert!(send(many(0)).await.unwrap_err().into_service_error().is_empty_batch_request());
    assert!(send(many(11)).await.unwrap_err().into_service_error().is_too_many_entries_in_batch_request());
    let twice = vec![entry("a", "a"), entry("a", "b")];
    assert!(send(twice).await.unwrap_err().into_service_error().is_batch_entry_ids_not_distinct());
    send(vec![entry(&"a".repeat(80), "a"), entry("A-b_9", "a")]).await.unwrap();
    for id in ["", "a b", "é", "a.b", &"a".repeat(81)] {
        let error = send(vec![entry(id, "a")]).await.unwrap_err().into_service_error();
        assert!(error.is_invalid_batch_entry_id(), "{id:?}: {error:?}");
    }
    let delete = |ids: &[&str]| {
        let entry =
            |id: &&str| DeleteMessageBatchRequestEntry::builder().id(*id).receipt_handle("1-1").build().unwrap();
        let entries = ids.iter().map(entry).collect();
        sqs.delete_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    assert!(delete(&[]).await.unwrap_err().into_service_error().is_empty_batch_request());
    assert!(delete(&["a", "a"]).await.unwrap_err().into_service_error().is_batch_entry_ids_not_distinct());
}

#[tokio::test]
async fn a_batch_has_up_to_a_mebibyte_together() {
    let (_stack, sqs, url) = queue().await;
    let send = |sizes: [usize; 2]| {
        let entries = sizes.iter().enumerate().map(|(index, size)| entry(&index.to_string(), &"x".repeat(*size)));
        sqs.send_message_batch().queue_url(&url).set_entries(Some(entries.collect())).send()
    };
    send([MAX_BYTES / 2, MAX_BYTES / 2]).await.unwrap();
    assert!(
        send([MAX_BYTES / 2, MAX_BYTES / 2 + 1]).await.unwrap_err().into_service_error().is_batch_request_too_long()
    );
}

#[tokio::test]
async fn an_entry_that_is_refused_leaves_the_others_of_its_batch() {
    let (_stack, sqs, url) = queue().await;
    let late = SendMessageBatchRequestEntry::builder().id("late").message_body("a").delay_seconds(901).build().unwrap();
    let entries = vec![entry("good", "a"), entry("bad", "\u{FFFF}"), late];
    let answer = sqs.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await.unwrap();
    let SendMessageBatchOutput { successful, failed, .. } = answer;
    assert_eq!(successful.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["good"]);
    let failed: Vec<_> =
        failed.iter().map(|entry| (entry.id.as_str(), entry.code.as_str(), entry.sender_fault)).collect();
    assert_eq!(failed, [("bad", "InvalidMessageContents", true), ("late", "InvalidParameterValue", true)]);
    let depth = sqs.get_queue_attributes().queue_url(&url).attribute_names("All".into()).send().await.unwrap();
    assert_eq!(depth.attributes.unwrap()[&"ApproximateNumberOfMessages".into()], "1");
}

#[tokio::test]
async fn a_receive_asks_for_one_to_ten_messages_and_waits_and_hides_within_bounds() {
    let (_stack, sqs, url) = queue().await;
    // Something to receive, so that nobody waits.
    let fill = || sqs.send_message().queue_url(&url).message_body("a").send();
    let receive = || sqs.receive_message().queue_url(&url);
    for (most, fits) in [(0, false), (1, true), (10, true), (11, false), (-1, false)] {
        fill().await.unwrap();
        assert_eq!(receive().max_number_of_messages(most).send().await.is_ok(), fits, "{most}");
    }
    for (seconds, fits) in [(-1, false), (0, true), (20, true), (21, false)] {
        fill().await.unwrap();
        assert_eq!(receive().wait_time_seconds(seconds).send().await.is_ok(), fits, "{seconds}");
    }
    for (seconds, fits) in [(-1, false), (0, true), (43_200, true), (43_201, false)] {
        fill().await.unwrap();
        let received = receive().visibility_timeout(seconds).send().await;
        assert_eq!(received.is_ok(), fits, "{seconds}");
        if !fits {
            assert_eq!(code(received), "InvalidParameterValue");
        }
    }
}

#[tokio::test]
async fn a_visibility_has_up_to_twelve_hours_and_a_receipt_is_one_that_was_given() {
    let (_stack, sqs, url) = queue().await;
    sqs.send_message().queue_url(&url).message_body("a").send().await.unwrap();
    let received = sqs.receive_message().queue_url(&url).send().await.unwrap().messages.unwrap();
    let receipt = received[0].receipt_handle.clone().unwrap();
    let hide = |receipt: &str, seconds| {
        sqs.change_message_visibility().queue_url(&url).receipt_handle(receipt).visibility_timeout(seconds).send()
    };
    for (seconds, fits) in [(-1, false), (43_200, true), (43_201, false)] {
        assert_eq!(hide(&receipt, seconds).await.is_ok(), fits, "{seconds}");
    }
    assert!(hide("nobody's", 1).await.unwrap_err().into_service_error().is_receipt_handle_is_invalid());
    let deleted = sqs.delete_message().queue_url(&url).receipt_handle("nobody's").send().await;
    assert!(deleted.unwrap_err().into_service_error().is_receipt_handle_is_invalid());
    sqs.delete_message().queue_url(&url).receipt_handle(receipt).send().await.unwrap();
}

#[tokio::test]
async fn a_queue_that_there_is_not_is_named_so() {
    let (stack, sqs, url) = queue().await;
    let gone = format!("{url}-gone");
    // Over HTTP, and as the stack itself calls it.
    for client in [&sqs, stack.sqs().1] {
        let sent = client.send_message().queue_url(&gone).message_body("a").send().await;
        assert!(sent.unwrap_err().into_service_error().is_queue_does_not_exist());
    }
}
