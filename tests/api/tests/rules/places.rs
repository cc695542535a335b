//! Where the rules run: a test that is not for a place ends there at once, and says so.

use std::env::current_exe;
use std::process::{Command, Output};

/// A test of this binary, run where these variables lead: to a port on which nothing answers.
fn run(test: &str, variables: &[&str]) -> Output {
    let mut command = Command::new(current_exe().unwrap());
    for variable in ["ONCEKEY_TEST_URL", "ONCEKEY_TEST_DYNAMODB", "ONCEKEY_TEST_SQS"] {
        command.env_remove(variable);
    }
    command.envs(variables.iter().map(|variable| (variable, "http://127.0.0.1:1")));
    command.args(["--exact", test]).output().unwrap()
}

fn assert_left_out(output: &Output, line: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(line), "{output:?}");
}

#[test]
fn a_rule_that_needs_a_stack_of_its_own_is_left_out_on_a_deployment_and_says_so() {
    let rule = "window::r22_a_duplicate_does_not_lengthen_the_window";
    let output = run(rule, &["ONCEKEY_TEST_URL"]);
    assert_left_out(&output, &format!("left out: {rule}: it needs a stack of its own"));
}

#[test]
fn a_rule_that_is_for_the_embedded_endpoints_alone_is_left_out_on_others_and_says_why() {
    let rule = "replays::a_delayed_run_can_be_given_a_later_start";
    let output = run(rule, &["ONCEKEY_TEST_DYNAMODB", "ONCEKEY_TEST_SQS"]);
    assert_left_out(&output, &format!("left out: {rule}: {}", oncekey_tests_api::COUNTS_IN_REAL_TIME));
}

#[test]
fn a_rule_that_is_for_everywhere_is_left_out_nowhere() {
    let rule = "reset::r42_resetting_nothing_is_404_and_is_not_retried";
    for variables in [&["ONCEKEY_TEST_URL"][..], &["ONCEKEY_TEST_DYNAMODB", "ONCEKEY_TEST_SQS"]] {
        assert!(!run(rule, variables).status.success(), "{variables:?}: nothing answers there");
    }
    assert!(run(rule, &[]).status.success());
}
