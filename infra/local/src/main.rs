//! The `oncekey` command.

use std::process::ExitCode;

use clap::Parser;
use oncekey::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run().await
}
