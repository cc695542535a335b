//! `docs/rules.md` and the tests that are named after its rules, held together.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    read_to_string(root().join("docs/rules.md")).expect("docs/rules.md")
}

/// The tests that the page links to: each with its file.
fn linked(page: &str) -> Vec<(&str, &str)> {
    let links = page.split("[`").skip(1).filter_map(|link| link.split_once("`]("));
    links.filter_map(|(name, rest)| Some((name, rest.split_once(')')?.0))).collect()
}

/// The number with which a text begins, as it is written: a rule's has two digits, or three.
fn number(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if (2..=3).contains(&end) { &text[..end] } else { "" }
}

/// The tests of the rules whose names begin with a rule's number.
fn named_after_rules() -> BTreeSet<String> {
    let files = root().join("tests/api/tests/rules").read_dir().expect("the rules");
    let mut names = BTreeSet::new();
    for file in files {
        let text = read_to_string(file.expect("a file").path()).expect("a file of tests");
        let tests = text.split("async fn r").skip(1).filter_map(|test| test.split_once('(').map(|(name, _)| name));
        let tests = tests.filter(|name| !number(name).is_empty());
        names.extend(tests.map(|name| format!("r{name}")));
    }
    names
}

#[test]
fn every_test_that_the_page_names_is_there_and_has_the_number_of_its_rule() {
    let page = page();
    let mut rule = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("- **R") {
            rule = format!("r{}_", number(rest));
        }
        for (name, file) in linked(line) {
            assert!(name.starts_with(&rule), "{name} stands under {rule}");
            let text = read_to_string(root().join("docs").join(file)).expect(file);
            assert!(text.contains(&format!("fn {name}(")), "{name} is not in {file}");
        }
    }
}

#[test]
fn every_rule_has_a_test() {
    let page = page();
    let rules: Vec<&str> = page.split("- **R").skip(1).collect();
    assert!(rules.len() > 30, "{}", rules.len());
    let numbers: BTreeSet<&str> = rules.iter().map(|rule| number(rule)).collect();
    assert_eq!(numbers.len(), rules.len(), "two rules have one number");
    for rule in rules {
        assert!(!linked(rule).is_empty(), "R{rule}");
    }
}

#[test]
fn every_test_of_a_rule_is_on_the_page() {
    let page = page();
    let linked: BTreeSet<String> = linked(&page).into_iter().map(|(name, _)| name.to_owned()).collect();
    let missing: Vec<String> = named_after_rules().difference(&linked).cloned().collect();
    assert!(missing.is_empty(), "docs/rules.md does not name {missing:?}");
    assert!(linked.len() > 40, "{}", linked.len());
}

#[test]
fn every_rule_that_the_code_cites_is_on_the_page() {
    let page = page();
    let mut folders = vec![root().join("shared"), root().join("functions"), root().join("infra/local")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = read_to_string(&entry).expect("a file");
                for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
                    if word.strip_prefix('R').is_some_and(|rest| !rest.is_empty() && number(rest) == rest) {
                        assert!(page.contains(&format!("**{word}**")), "{word}, cited in {}", entry.display());
                    }
                }
            }
        }
    }
}
