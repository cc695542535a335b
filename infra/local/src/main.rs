//! The `oncekey` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use oncekey::dev::{Dev, dev};

/// Background tasks on your own AWS account in which every trigger is idempotent.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: Dev,
}

#[derive(Subcommand)]
enum Command {
    /// Run Oncekey whole on this machine; what `oncekey` alone does too
    Dev(Dev),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let Command::Dev(options) = cli.command.unwrap_or(Command::Dev(cli.dev));
    match dev(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oncekey: {error}");
            ExitCode::FAILURE
        }
    }
}
