//! The `oncekey` command.

use std::process::ExitCode;

use clap::Parser;
use oncekey::cli::Cli;

/// Of each thread: all functions are polled on the same ones here, and those of a build without optimisation take much.
const STACK_BYTES: usize = 8 * 1024 * 1024;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build();
    match runtime {
        Ok(runtime) => runtime.block_on(Cli::parse().run()),
        Err(error) => {
            eprintln!("oncekey: {error}");
            ExitCode::FAILURE
        }
    }
}
