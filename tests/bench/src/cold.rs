//! The Lambda functions' own cost, as built for Lambda: from the start of the process to its first request for work, memory,
//! and the CPU of a trigger.

use std::path::{Path, PathBuf};

use crate::function::{BATCH, EVENTS, Function, batch_cost, start_times, trigger_cost};
use crate::server::Server;

/// The memory with which a Lambda function has one CPU for itself; with less, it has its share of one.
const WHOLE_CPU_MB: f64 = 1769.0;

/// Measures every function in `built`, a folder of folders with a `bootstrap` each.
pub(crate) async fn cold(built: &Path) {
    println!("| {:<12} | {:>8} | {:>11} | {:>11} | {:>8} |", "function", "size", "start, p50", "start, p95", "memory");
    println!("|{:-<14}|{:->10}|{:->13}|{:->13}|{:->10}|", "", ":", ":", ":", ":");
    let functions = functions(built);
    for function in &functions {
        let (times, memory) = start_times(function).await;
        let size = function.size() as f64 / 1e6;
        let ms = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
        let (name, p50, p95) = (&function.name, ms(50), ms(95));
        println!("| {name:<12} | {size:>5.2} MB | {p50:>8.2} ms | {p95:>8.2} ms | {memory:>5.1} MB |");
    }
    let Some(trigger) = functions.iter().find(|function| function.name == "trigger") else { return };
    let server = Server::start();
    let cost = trigger_cost(trigger, &server).await;
    println!("\n| {:<18} | {:>7} | {:>9} |\n|{:-<20}|{:->9}|{:->11}|", "trigger", "count", "CPU, each", "", ":", ":");
    for (name, (cpu, _)) in [("unique", cost.unique), ("duplicate", cost.duplicate)] {
        println!("| {name:<18} | {EVENTS:>7} | {cpu:>6.2} ms |");
    }
    let batch = batch_cost(trigger, &server).await.as_secs_f64();
    println!(
        "\na batch of {BATCH} items: {batch:.2} s of CPU, which take {:.1} s at 256 MB",
        batch * WHOLE_CPU_MB / 256.0
    );
    println!("memory of the trigger function after {} events: {:.1} MB", EVENTS * 3, cost.memory_mb);
}

/// The trigger function among those in `built`.
pub(crate) fn trigger_function(built: &Path) -> Function {
    let found = functions(built).into_iter().find(|function| function.name == "trigger");
    found.unwrap_or_else(|| panic!("{} has no trigger function", built.display()))
}

fn functions(built: &Path) -> Vec<Function> {
    let built = built.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    let entries = std::fs::read_dir(&built).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|folder| folder.join("bootstrap").is_file()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "{} holds no functions: build them first", built.display());
    let function = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.trim_start_matches("oncekey-function-").trim_end_matches("function");
        Function::bootstrap(name, folder)
    };
    folders.iter().map(function).collect()
}
