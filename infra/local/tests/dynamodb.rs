//! The DynamoDB endpoint refuses what DynamoDB refuses, so that it is found here and not on AWS. By the official SDK, over HTTP
//! and as the stack itself calls it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::HashMap;
use std::fmt::Debug;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue::{self, B, N, S};
use aws_sdk_dynamodb::types::{KeysAndAttributes, Put, PutRequest, TransactWriteItem, WriteRequest};
use oncekey::{Options, Stack};

/// Partition key `pk`.
const KEYS: &str = "oncekey-keys";
/// Partition key `run_id`, sort key `item`.
const RUNS: &str = "oncekey-runs";

type Item = HashMap<String, AttributeValue>;

/// A stack, and its clients: one that calls the endpoint over HTTP, and its own.
async fn stack() -> (Stack, [Client; 2]) {
    let stack = Stack::start(Options::in_memory()).await.unwrap();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(stack.dynamodb().0)
        .load()
        .await;
    let clients = [Client::new(&config), stack.dynamodb().1.clone()];
    (stack, clients)
}

fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(bytes: usize) -> AttributeValue {
    S("x".repeat(bytes))
}

fn key(number: usize) -> Item {
    item([("pk", S(format!("key-{number}")))])
}

/// The message of a refusal, which has to be a `ValidationException`.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(answer: Result<T, SdkError<E>>) -> String {
    let error = answer.unwrap_err();
    assert_eq!(error.code(), Some("ValidationException"), "{error:?}");
    error.message().unwrap().to_owned()
}

#[tokio::test]
async fn no_query_asks_for_an_empty_key_or_from_one_on() {
    let (_stack, clients) = stack().await;
    for client in clients {
        for (condition, low) in
            [("run_id = :a AND item BETWEEN :low AND :high", ""), ("run_id = :low AND item < :high", "")]
        {
            let query = client.query().table_name(RUNS).key_condition_expression(condition);
            let query = query.expression_attribute_values(":low", S(low.to_owned()));
            let query = query.expression_attribute_values(":high", S("z".to_owned()));
            let with_a = condition.contains(":a");
            let query = if with_a { query.expression_attribute_values(":a", S("a".to_owned())) } else { query };
            let refused = query.send().await.unwrap_err().into_service_error();
            assert_eq!(refused.code(), Some("ValidationException"), "{condition}");
            assert!(refused.message().unwrap().contains("cannot contain an empty string value"), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn an_item_has_up_to_400_kilobytes_with_its_names() {
    let (_stack, clients) = stack().await;
    for dynamodb in &clients {
        let put =
            |bytes| dynamodb.put_item().table_name(KEYS).set_item(Some(item([("pk", text(1)), ("a", text(bytes))])));
        let most = 400 * 1024 - "pk".len() - 1 - "a".len();
        put(most).send().await.unwrap();
        assert_eq!(refusal(put(most + 1).send().await), "Item size has exceeded the maximum allowed size");
        // An update, too.
        let update = dynamodb.update_item().table_name(KEYS).set_key(Some(item([("pk", text(1))])));
        let update = update.update_expression("SET b = :b").expression_attribute_values(":b", text(10));
        assert_eq!(refusal(update.send().await), "Item size to update has exceeded the maximum allowed size");
    }
}

#[tokio::test]
async fn a_partition_key_has_1_to_2048_bytes_and_a_sort_key_1_to_1024() {
    let (_stack, clients) = stack().await;
    for dynamodb in &clients {
        for (hash, range, fits) in
            [(1, 1, true), (2048, 1024, true), (2049, 1, false), (1, 1025, false), (0, 1, false), (1, 0, false)]
        {
            let key = item([("run_id", text(hash)), ("item", text(range))]);
            let put = dynamodb.put_item().table_name(RUNS).set_item(Some(key.clone())).send().await;
            let get = dynamodb.get_item().table_name(RUNS).set_key(Some(key.clone())).send().await;
            let update = dynamodb.update_item().table_name(RUNS).set_key(Some(key)).send().await;
            if fits {
                put.unwrap();
                get.unwrap();
                update.unwrap();
            } else {
                for message in [refusal(put), refusal(get), refusal(update)] {
                    assert!(message.starts_with("One or more parameter"), "{hash} {range}: {message}");
                }
            }
        }
        let binary = item([("pk", B(Blob::new("x")))]);
        refusal(dynamodb.put_item().table_name(KEYS).set_item(Some(binary)).send().await);
    }
}

#[tokio::test]
async fn a_number_has_up_to_38_digits_and_is_within_dynamodbs_range() {
    let (_stack, clients) = stack().await;
    for dynamodb in &clients {
        let put = |number: &str| {
            let item = item([("pk", text(1)), ("n", N(number.to_owned()))]);
            dynamodb.put_item().table_name(KEYS).set_item(Some(item)).send()
        };
        for fits in [&"9".repeat(38), "-1e-130", "9.9e125", "0", &format!("1{}", "0".repeat(60))] {
            put(fits).await.unwrap();
        }
        for refused in [&"9".repeat(39), "1e126", "1e-131", "", "nine", "NaN", &format!("0.{}", "1".repeat(39))] {
            refusal(put(refused).await);
        }
        // Nested, and in a condition.
        let list = AttributeValue::L(vec![N("9".repeat(39))]);
        let item = item([("pk", text(1)), ("l", list)]);
        refusal(dynamodb.put_item().table_name(KEYS).set_item(Some(item)).send().await);
        let delete = dynamodb.delete_item().table_name(KEYS).set_key(Some(key(1))).condition_expression("n = :n");
        refusal(delete.expression_attribute_values(":n", N("9".repeat(39))).send().await);
    }
}

#[tokio::test]
async fn a_batch_gets_up_to_100_items_and_writes_up_to_25() {
    let (_stack, clients) = stack().await;
    for dynamodb in &clients {
        let get = |keys: Vec<Item>| {
            let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build().unwrap();
            dynamodb.batch_get_item().request_items(KEYS, keys).send()
        };
        get((0..100).map(key).collect()).await.unwrap();
        refusal(get((0..101).map(key).collect()).await);
        refusal(get(Vec::new()).await);
        refusal(get(vec![key(1), key(1)]).await);
        let write = |items: Vec<Item>| {
            let put = |item| PutRequest::builder().set_item(Some(item)).build().unwrap();
            let requests = items.into_iter().map(|item| WriteRequest::builder().put_request(put(item)).build());
            dynamodb.batch_write_item().request_items(KEYS, requests.collect()).send()
        };
        write((0..25).map(key).collect()).await.unwrap();
        refusal(write((0..26).map(key).collect()).await);
        refusal(write(vec![key(1), key(1)]).await);
        refusal(write(Vec::new()).await);
        refusal(write(vec![item([("pk", text(1)), ("a", text(400 * 1024))])]).await);
    }
}

#[tokio::test]
async fn a_transaction_writes_up_to_100_items_each_once_and_4_megabytes() {
    let (_stack, clients) = stack().await;
    for dynamodb in &clients {
        let write = |items: Vec<Item>| {
            let put = |item| Put::builder().table_name(KEYS).set_item(Some(item)).build().unwrap();
            let items = items.into_iter().map(|item| TransactWriteItem::builder().put(put(item)).build());
            dynamodb.transact_write_items().set_transact_items(Some(items.collect())).send()
        };
        write((0..100).map(key).collect()).await.unwrap();
        refusal(write((0..101).map(key).collect()).await);
        refusal(write(Vec::new()).await);
        refusal(write(vec![key(1), key(1)]).await);
        let large = |number| item([("pk", S(format!("large-{number}"))), ("a", text(390 * 1024))]);
        write((0..10).map(large).collect()).await.unwrap();
        refusal(write((0..11).map(large).collect()).await);
    }
}

#[tokio::test]
async fn an_expression_has_up_to_4_kilobytes_and_names_nothing_that_it_does_not_use() {
    let (_stack, clients) = stack().await;
    for dynamodb in &clients {
        let get = |expression: String| {
            let get = dynamodb.get_item().table_name(KEYS).set_key(Some(key(1)));
            get.projection_expression(expression).send()
        };
        get("x".repeat(255)).await.unwrap();
        let names = |bytes: usize| {
            let names: String = (0..).map(|index| format!("a{index:0>9},")).take(bytes / 11).collect();
            format!("{names}{}", "b".repeat(bytes - names.len()))
        };
        get(names(4096)).await.unwrap();
        let message = refusal(get(names(4097)).await);
        assert!(message.contains("Expression size has exceeded the maximum allowed size"), "{message}");
        let unused = dynamodb.get_item().table_name(KEYS).set_key(Some(key(1))).projection_expression("a");
        refusal(unused.expression_attribute_names("#b", "b").send().await);
        let empty = dynamodb.delete_item().table_name(KEYS).set_key(Some(key(1))).condition_expression("");
        refusal(empty.send().await);
    }
}

#[tokio::test]
async fn a_query_and_a_scan_give_up_to_a_megabyte_and_a_batch_16_megabytes() {
    let (_stack, clients) = stack().await;
    let large =
        |number: usize| item([("run_id", text(1)), ("item", S(format!("{number:03}"))), ("a", text(390 * 1024))]);
    for number in 0..45 {
        clients[1].put_item().table_name(RUNS).set_item(Some(large(number))).send().await.unwrap();
    }
    for dynamodb in &clients {
        let query = dynamodb.query().table_name(RUNS).key_condition_expression("run_id = :run");
        let page = query.expression_attribute_values(":run", text(1)).send().await.unwrap();
        // The item that goes past the megabyte is the last one, or the one after the last.
        assert!((2..=3).contains(&page.count) && page.last_evaluated_key.is_some(), "{}", page.count);
        let page = dynamodb.scan().table_name(RUNS).send().await.unwrap();
        assert!((2..=3).contains(&page.count) && page.last_evaluated_key.is_some(), "{}", page.count);

        let key = |number: usize| item([("run_id", text(1)), ("item", S(format!("{number:03}")))]);
        let keys = KeysAndAttributes::builder().set_keys(Some((0..45).map(key).collect())).build().unwrap();
        let answer = dynamodb.batch_get_item().request_items(RUNS, keys).send().await.unwrap();
        let got = answer.responses.unwrap()[RUNS].len();
        let left = answer.unprocessed_keys.unwrap()[RUNS].keys.len();
        assert!((41..=43).contains(&got) && got + left == 45, "{got} and {left}");
    }
}
