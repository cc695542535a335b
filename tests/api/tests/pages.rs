//! The pages for people: what they link to is there, the first is short, and none tells what another has told.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// As much as somebody reads before they try it.
const MAX_README_BYTES: usize = 9 * 1024;
/// A shorter sentence may well be the same on two pages.
const MIN_SENTENCE: usize = 45;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root")
}

/// Every page, by its path.
fn pages() -> BTreeMap<PathBuf, String> {
    let folders = ["", "docs", "examples/my-worker", "examples/my-ts-worker"];
    let files = folders.iter().flat_map(|folder| root().join(folder).read_dir().expect("a folder"));
    let paths = files.map(|file| file.expect("a file").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|path| (path.clone(), read_to_string(path).expect("a page"))).collect()
}

/// A page without its programs.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// Whether a text says something, and is no line of a table.
fn is_sentence(text: &str) -> bool {
    text.len() >= MIN_SENTENCE && text.contains(char::is_alphabetic)
}

/// Where its links lead that do not leave the repository.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let links = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    links.map(|(link, _)| link).filter(|link| !link.contains("://"))
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn what_a_page_links_to_is_there() {
    let mut wrong = Vec::new();
    for (path, page) in pages() {
        let prose = prose(&page);
        for link in links(&prose) {
            let (file, place) = link.split_once('#').map_or((link, None), |(file, place)| (file, Some(place)));
            let to = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            let is_there = match place {
                None => to.exists(),
                Some(place) => read_to_string(&to)
                    .is_ok_and(|page| page.lines().any(|line| line.starts_with('#') && anchor(line) == place)),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_first_page_is_read_in_a_few_minutes() {
    let size = read_to_string(root().join("README.md")).expect("the README").len();
    assert!(
        size <= MAX_README_BYTES,
        "README.md has {size} bytes: what is more than {MAX_README_BYTES} belongs in docs/"
    );
}

#[test]
fn no_sentence_is_told_on_two_pages() {
    let mut told = BTreeMap::new();
    let mut twice = Vec::new();
    for (path, page) in pages() {
        let prose = prose(&page).split_whitespace().collect::<Vec<_>>().join(" ");
        for sentence in
            prose.split(". ").flat_map(|part| part.split('|')).map(str::trim).filter(|text| is_sentence(text))
        {
            if let Some(before) = told.insert(sentence.to_owned(), path.clone()) {
                twice.push(format!("{} and {}: {sentence}", before.display(), path.display()));
            }
        }
    }
    assert!(twice.is_empty(), "{twice:#?}");
}
