//! Who gets in at the endpoints of `oncekey dev`: programs of this machine, and no web page from elsewhere. And nobody locks
//! the others out.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Running, start};

/// What a request that holds these lines is answered, on a connection of its own.
fn ask(address: &str, lines: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{}\r\nconnection: close\r\n\r\n", lines.join("\r\n")).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The addresses of the API, DynamoDB, SQS and S3.
fn endpoints(running: &Running, data: &Path) -> Vec<String> {
    let told = std::fs::read_to_string(data.join("functions.env")).unwrap();
    let of = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("AWS_ENDPOINT_URL_{name}=")));
        line.unwrap().trim_matches('\'').to_owned()
    };
    let urls = [running.url.clone(), of("DYNAMODB"), of("SQS"), of("S3")];
    urls.iter().map(|url| url.strip_prefix("http://").unwrap().to_owned()).collect()
}

#[test]
fn a_host_that_is_not_this_machine_is_refused_at_every_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path());
    for address in endpoints(&running, folder.path()) {
        let port = address.rsplit_once(':').unwrap().1.to_owned();
        for host in ["evil.example", "evil.example:3030", "localhost.evil.example", "127.0.0.1@evil.example", ""] {
            let answer = ask(&address, &["GET / HTTP/1.1", &format!("host: {host}")]);
            assert!(answer.starts_with("HTTP/1.1 403 "), "{address} {host:?}: {answer}");
        }
        let answer = ask(&address, &["GET / HTTP/1.1", "host: evil.example"]);
        assert!(answer.contains("is not this machine") && answer.contains("evil.example"), "{answer}");
        // Neither by a second name, nor by none, nor by that in the first line.
        for lines in [
            &["GET / HTTP/1.1", "host: localhost", "host: evil.example"][..],
            &["GET / HTTP/1.0"],
            &["GET http://evil.example/ HTTP/1.1", "host: localhost"],
        ] {
            let answer = ask(&address, lines);
            assert!(!answer.starts_with("HTTP/1.1 2") && !answer.starts_with("HTTP/1.0 2"), "{lines:?}: {answer}");
            assert!(answer.contains(" 403 ") || answer.contains(" 400 "), "{lines:?}: {answer}");
        }
        for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
            let answer = ask(&address, &["GET / HTTP/1.1", &format!("host: {host}:{port}")]);
            let refused = answer.contains("is not this machine");
            assert!(answer.starts_with("HTTP/1.1 ") && !refused, "{address} {host}: {answer}");
        }
    }
}

#[test]
fn a_page_from_elsewhere_is_refused_at_every_endpoint_and_no_page_is_let_read() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path());
    for address in endpoints(&running, folder.path()) {
        for origin in ["https://evil.example", "http://localhost.evil.example:3030", "null", "file://", "localhost"] {
            for method in ["GET", "POST", "OPTIONS"] {
                let lines = [&format!("{method} / HTTP/1.1"), "host: localhost", &format!("origin: {origin}")];
                let answer = ask(&address, &[lines[0], lines[1], lines[2], "content-length: 0"]);
                assert!(answer.starts_with("HTTP/1.1 403 "), "{address} {method} {origin}: {answer}");
                assert!(answer.contains("Origin"), "{answer}");
            }
        }
        for method in ["GET", "POST", "OPTIONS"] {
            let preflight = "access-control-request-method: POST";
            let first = format!("{method} / HTTP/1.1");
            let origin = "origin: http://localhost:8000";
            let answer = ask(&address, &[&first, "host: localhost", origin, preflight, "content-length: 0"]);
            assert!(!answer.contains("is not this machine"), "{address} {method}: {answer}");
            assert!(!answer.to_lowercase().contains("access-control-"), "{address} {method}: {answer}");
        }
    }
}

#[test]
fn the_dynamodb_endpoint_asks_for_a_signature_and_knows_its_operations() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path());
    let address = &endpoints(&running, folder.path())[1];
    let post = |target: &str, authorization: &str| {
        let target = format!("x-amz-target: DynamoDB_20120810.{target}");
        let lines =
            ["POST / HTTP/1.1", "host: localhost", "content-type: application/x-amz-json-1.0", "content-length: 2"];
        ask(
            address,
            &[&lines[..], &[&target, "x-amz-date: 20261125T200000Z", authorization, "connection: close\r\n\r\n{}"]]
                .concat(),
        )
    };
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=local/20261125/us-east-1/dynamodb/aws4_request, \
                  SignedHeaders=host, Signature=0";
    assert!(post("ListTables", "x-none: 1").contains("MissingAuthenticationTokenException"));
    let listed = post("ListTables", signed);
    assert!(listed.starts_with("HTTP/1.1 200 ") && listed.contains("oncekey-runs"), "{listed}");
    assert!(post("NoSuchThing", signed).contains("UnknownOperationException"));
}

/// A stack whose process may have as many files open.
fn start_with_files(files: u32) -> Running {
    let command = format!("ulimit -n {files} && exec {} dev --port 0 --memory", env!("CARGO_BIN_EXE_oncekey"));
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", &command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let url = first.trim().strip_prefix("Oncekey is listening on ").unwrap().to_owned();
    Running { child, url }
}

#[test]
fn half_sent_requests_do_not_lock_others_out_however_few_files_there_are() {
    let running = start_with_files(64);
    let address = running.url.strip_prefix("http://").unwrap();
    let halves =
        ["GET / HTTP/1.1\r\nhost: loc", "", "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"];
    let open = |half: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        stream
    };
    // As many as a listener has accepted or queued: none of them is finished, and none given up.
    let halves: Vec<TcpStream> = halves.iter().cycle().take(100).map(|half| open(half)).collect();
    for _ in 0..3 {
        let answer = ask(address, &["GET /openapi.json HTTP/1.1", "host: localhost"]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    drop(halves);
}
