//! The data folder of `oncekey dev` is its owner's alone, and nothing outside it is touched through it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![cfg(unix)]

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;

use crate::common::{Running, oncekey, start};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A run whose payload is large enough to become an object.
async fn run_with_large_payload(running: &Running) {
    let body = json!({ "payload": "x".repeat(300_000) }).to_string();
    let url = format!("{}/api/v1/tasks/echo/trigger", running.url);
    let answer = reqwest::Client::new().post(url).bearer_auth("tr_dev_local").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Every file below.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn assert_closed(folder: &Path) {
    let files = files(folder);
    for name in ["lock", "dynamodb.sqlite", "dynamodb.sqlite-wal", "queues.sqlite", "functions.env", "endpoints.json"] {
        assert!(files.contains(&folder.join(name)), "{name} in {files:?}");
    }
    assert!(files.iter().any(|file| file.starts_with(folder.join("objects"))), "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn what_the_stack_makes_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("made/by/us");
    let running = start(&data);
    run_with_large_payload(&running).await;
    assert_eq!((mode(&data), mode(&data.join("objects"))), (0o700, 0o700));
    assert_closed(&data);
}

#[tokio::test]
async fn in_a_folder_that_was_open_to_others_the_files_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    // As an earlier version, or somebody's umask, left it.
    drop(start(data));
    set_mode(data, 0o755);
    for file in files(data) {
        set_mode(&file, 0o644);
    }
    let running = start(data);
    run_with_large_payload(&running).await;
    // The folder is not ours to close: others may have something in it.
    assert_eq!(mode(data), 0o755);
    assert_closed(data);
}

#[test]
fn a_link_in_the_data_folder_is_not_followed() {
    for name in ["lock", "dynamodb.sqlite", "queues.sqlite", "dynamodb.sqlite-wal", "objects"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let precious = folder.path().join("precious");
        match name {
            "objects" => std::fs::create_dir(&precious).unwrap(),
            _ => std::fs::write(&precious, "precious").unwrap(),
        }
        symlink(&precious, data.join(name)).unwrap();
        let output = oncekey(&["--port", "0", "--data", data.to_str().unwrap()]).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(line.contains(&format!("{name} is a link")) && line.lines().count() == 1, "{line}");
        match name {
            "objects" => assert_eq!(files(&precious).len(), 0),
            _ => assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious"),
        }
    }
}

#[test]
fn a_link_in_the_place_of_a_file_that_is_written_anew_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for name in ["functions.env", "endpoints.json"] {
        std::fs::write(folder.path().join(name), "precious").unwrap();
        symlink(folder.path().join(name), data.join(name)).unwrap();
    }
    let _running = start(&data);
    for name in ["functions.env", "endpoints.json"] {
        assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), "precious");
        assert!(!data.join(name).is_symlink(), "{name}");
    }
}

#[test]
fn nothing_that_was_in_a_file_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lock"), "somebody's").unwrap();
    let _running = start(folder.path());
    assert_eq!(std::fs::read_to_string(folder.path().join("lock")).unwrap(), "somebody's");
}
