//! Throughput, latency and CPU of the local stack in memory: `cargo run --release -p oncekey-bench`; and the cost of the
//! Lambda functions: `cargo run --release -p oncekey-bench cold`.
//!
//! The stack is a process of its own, so its CPU is counted apart from the load's; both share the machine's cores.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

mod cold;
mod function;
mod limits;
mod load;
mod measure;
mod meter;
mod peers;
mod plot;
mod process;
mod runtime;
mod server;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use oncekey::{Options, Stack, Storage};

use crate::load::Load;
use crate::measure::Row;
use crate::server::Server;

/// Measures the local stack in memory.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Runs with a key of their own
    #[arg(long, default_value_t = 5_000)]
    runs: usize,
    /// Triggers of a hundred keys that are taken
    #[arg(long, default_value_t = 20_000)]
    duplicates: usize,
    /// Parents that each trigger a child and wait for it
    #[arg(long, default_value_t = 1_000)]
    parents: usize,
    /// Requests at a time
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the Lambda functions, built by `sam build` or `cargo lambda build`, against a stub of Lambda's runtime API
    Cold {
        /// A folder of folders with a `bootstrap` each
        #[arg(default_value = ".aws-sam/build")]
        built: PathBuf,
    },
    /// Measure Oncekey beside its peers, in one run; see tests/bench/peers/run
    Peers {
        /// Where tests/bench/peers/run has installed them
        installed: PathBuf,
        /// The Lambda functions, as for `cold`
        #[arg(default_value = ".aws-sam/build")]
        built: PathBuf,
        /// The plot to draw
        #[arg(long, default_value = "docs/benchmarks.svg")]
        plot: PathBuf,
    },
    /// Measure limits of queues: what they cost, what tenants wait for beside a busy one, and how parked runs drain
    Limits {
        /// Tenants, each with a place
        #[arg(long, default_value_t = 1_000)]
        tenants: usize,
        /// Runs that one of them has queued
        #[arg(long, default_value_t = 10_000)]
        busy: usize,
        /// Runs that are parked, and then drained one after the other
        #[arg(long, default_value_t = 10_000)]
        parked: usize,
    },
    /// Queue many runs, then let them drain; then keep on for a while, to see memory stay flat
    Storm {
        /// Runs to queue
        #[arg(long, default_value_t = 100_000)]
        queued: usize,
        /// Minutes to go on
        #[arg(long, default_value_t = 0)]
        minutes: u64,
        /// Triggers a second meanwhile, half of them duplicates
        #[arg(long, default_value_t = 100)]
        rate: u64,
        /// Keep everything in this folder instead of memory, where runs stay for thirty days
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Serve a stack, for the measuring process to speak to
    #[command(hide = true)]
    Serve {
        /// Where things are kept; in memory if absent
        data: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Serve { data }) => serve(data).await,
        Some(Command::Cold { built }) => cold::cold(&built).await,
        Some(Command::Peers { installed, built, plot }) => peers::peers(&installed, &built, &plot).await,
        Some(Command::Limits { tenants, busy, parked }) => limits::limits(tenants, busy, parked).await,
        Some(Command::Storm { queued, minutes, rate, data }) => storm(queued, minutes, rate, data).await,
        None => measure(cli).await,
    }
}

async fn measure(cli: Cli) {
    let server = Server::start();
    let load = Load::new(&server, cli.concurrency);
    load.warm_up().await;
    println!("{}", Row::header());
    println!("{}", load.unique_runs(&server, cli.runs).await);
    println!("{}", load.duplicates(&server, cli.duplicates).await);
    println!("{}", load.parents(&server, cli.parents).await);
    println!("\n{} at a time, on {} cores, memory of the stack {} MB", cli.concurrency, cores(), server.memory_mb());
}

async fn storm(queued: usize, minutes: u64, rate: u64, data: Option<PathBuf>) {
    let server = Server::start_on(data);
    let load = Load::new(&server, 64);
    load.warm_up().await;
    println!("{}", load.queue_and_drain(&server, queued).await);
    println!("memory {} MB", server.memory_mb());
    load.soak(&server, minutes, rate).await;
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn serve(data: Option<PathBuf>) {
    let storage = data.map_or(Storage::Memory, Storage::Folder);
    let stack = Stack::start(Options { port: 0, storage, ..Options::default() }).await.unwrap();
    println!("{} {} {}", stack.url(), stack.sqs().0, stack.dynamodb().0);
    std::future::pending::<()>().await;
}
