//! The deployment template says what the code reads: settings, tables.

use std::collections::BTreeSet;

use oncekey_core::queue::QueueUrls;
use oncekey_core::queue::schedules::ScheduleGroup;
use oncekey_core::runs::sweep::SweepMessage;
use oncekey_core::settings::{MORE_RUNS_QUEUES, Settings};
use oncekey_core::store::TableNames;
use oncekey_core::store::schema::{ENVIRONMENTS, KEYS, RUNS, Schema};
use oncekey_core::telemetry::metrics::STACK;
use oncekey_http::ALLOWED_ORIGINS;

const TEMPLATE: &str = include_str!("../../../../infra/template.yaml");
const MY_WORKER: &str = include_str!("../../../../examples/my-worker/template.yaml");

/// The variables that a template sets.
fn set(template: &'static str) -> BTreeSet<&'static str> {
    let lines = template.lines().filter_map(|line| line.trim_start().split_once(": ").or(line.trim().split_once(':')));
    lines.map(|(name, _)| name).filter(|name| name.starts_with("ONCEKEY_")).collect()
}

#[test]
fn templates_set_every_variable_that_functions_read_and_no_other() {
    let text = String::new;
    let settings = Settings {
        tables: TableNames { keys: text(), runs: text(), environments: text() },
        queues: QueueUrls {
            runs: Default::default(),
            of_task: Default::default(),
            runs_dead_letter: text(),
            triggers: text(),
            triggers_dead_letter: text(),
            completions: text(),
            completions_dead_letter: text(),
        },
        schedules: Some(ScheduleGroup { name: text(), role_arn: text() }),
        bucket: text(),
        public_url: Some(text()),
    };
    let read: BTreeSet<&str> =
        settings.to_env().iter().map(|(name, _)| *name).chain([STACK, MORE_RUNS_QUEUES]).collect();
    let of_pages = BTreeSet::from([ALLOWED_ORIGINS]);
    assert_eq!(set(TEMPLATE), &read | &of_pages);
    // It has the queues it knows in one variable, and its tasks none of their own.
    let of_worker = set(MY_WORKER);
    let left_out: Vec<&str> = read.difference(&of_worker).copied().collect();
    assert_eq!(left_out, [MORE_RUNS_QUEUES, "ONCEKEY_TASK_QUEUES"]);
    assert!(of_worker.is_subset(&read), "{of_worker:?}");
}

/// The values of a property in a part of the template, in their order.
fn values<'a>(part: &'a str, property: &str) -> Vec<&'a str> {
    let property = format!("{property}: ");
    let value = |text: &'a str| text.split([',', ' ', '\n']).next().unwrap();
    part.split(&property).skip(1).map(value).collect()
}

#[test]
fn the_template_declares_the_tables_as_the_code_asks_for_them() {
    for (name, schema) in [("KeysTable", KEYS), ("RunsTable", RUNS), ("EnvironmentsTable", ENVIRONMENTS)] {
        let Schema { key, index, expires_at } = schema;
        let (_, table) = TEMPLATE.split_once(&format!("\n  {name}:\n")).unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let (declared, keys) = table.split_once("KeySchema:").unwrap();
        let (keys, rest) = keys.split_once("TimeToLive").unwrap_or((keys, ""));

        assert_eq!(values(declared, "AttributeName"), schema.attributes().collect::<Vec<_>>(), "{name}");
        assert!(values(declared, "AttributeType").iter().all(|kind| *kind == "S"), "{name}");
        assert_eq!(values(keys, "AttributeName"), schema.attributes().collect::<Vec<_>>(), "{name}");
        let kinds = |key: &[&str]| ["HASH", "RANGE"][..key.len()].to_vec();
        let of_index = index.map(|(_, key)| kinds(&key)).unwrap_or_default();
        assert_eq!(values(keys, "KeyType"), [kinds(key), of_index].concat(), "{name}");
        assert_eq!(values(keys, "IndexName").first().copied(), index.map(|(name, _)| name), "{name}");
        assert_eq!(values(keys, "ProjectionType").first().copied(), index.map(|_| "KEYS_ONLY"), "{name}");
        assert_eq!(values(rest, "AttributeName").first().copied(), expires_at, "{name}");
    }
}

#[test]
fn every_source_queue_allows_twenty_receives_and_its_function_may_say_when_the_next_is() {
    for template in [TEMPLATE, MY_WORKER] {
        let allowed = values(template, "maxReceiveCount");
        assert!(!allowed.is_empty() && allowed.iter().all(|most| *most == "20"), "{allowed:?}");
        for statement in template.split("Action: [sqs:ReceiveMessage").skip(1) {
            let (actions, _) = statement.split_once(']').unwrap();
            assert!(actions.contains("sqs:ChangeMessageVisibility"), "{actions}");
        }
    }
}

#[test]
fn whoever_may_read_objects_may_list_them_and_so_is_told_what_is_not_there() {
    for template in [TEMPLATE, MY_WORKER] {
        let (readers, listers) = (template.matches("s3:GetObject").count(), template.matches("s3:ListBucket").count());
        assert!(readers > 0);
        assert_eq!(readers, listers);
    }
}

#[test]
fn dead_letters_are_kept_four_days_longer_than_what_they_were() {
    const DAY: u64 = 86_400;
    for template in [TEMPLATE, MY_WORKER] {
        for queue in template.split("Type: AWS::SQS::Queue\n").skip(1) {
            let queue = queue.split("Type: ").next().unwrap();
            let days = values(queue, "MessageRetentionPeriod")[0].parse::<u64>().unwrap() / DAY;
            let is_source = queue.contains("RedrivePolicy");
            assert_eq!(days, if is_source { 10 } else { 14 }, "{queue}");
        }
    }
}

#[test]
fn the_template_asks_for_a_sweep_every_day_in_the_words_that_are_read() {
    let (_, sweep) = TEMPLATE.split_once("\n  DailySweep:\n").unwrap();
    let (sweep, _) = sweep.split_once("\n\n").unwrap();
    assert!(sweep.ends_with(&format!("Input: '{}'", SweepMessage::TEXT)), "{sweep}");
    assert!(sweep.contains("ScheduleExpression: rate(1 days)"), "{sweep}");
}
