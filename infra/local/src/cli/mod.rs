//! The command line: one file a command. Tables are for people; `--json` is for scripts.

mod batch;
mod bulk;
mod dev;
mod env;
mod failure;
mod input;
mod keys;
mod output;
mod queues;
mod remote;
mod runs;
mod schedules;
mod tokens;
mod trigger;
mod workers;

use std::fmt;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::cli::dev::{Dev, dev};
use failure::Failure;

const AFTER_HELP: &str = "\
Exit codes:
  0  it was done
  1  Oncekey refused it, or cannot be reached
  2  wrong usage
  3  a run that was waited for did not complete
  4  nobody holds the key

Commands that speak to an Oncekey find it by TRIGGER_API_URL and TRIGGER_SECRET_KEY, as the official client does, or on this
machine.";

/// Background tasks on your own AWS account in which every trigger is idempotent.
#[derive(Parser)]
#[command(name = "oncekey", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: Dev,
}

/// Not what it says: that has API keys.
impl fmt::Debug for Cli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cli").finish_non_exhaustive()
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run Oncekey whole on this machine; what `oncekey` alone does too
    Dev(Dev),
    /// Trigger a task
    Trigger(trigger::TriggerArgs),
    /// Trigger many tasks from lines of JSON; running it again sends only what is missing
    Batch(batch::BatchArgs),
    /// List, show, cancel, replay and watch runs
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Show who holds an idempotency key, and reset it
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Create, list, show, stop, start and delete cron schedules
    #[command(subcommand)]
    Schedules(schedules::SchedulesCommand),
    /// Create, list, show and complete wait tokens
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// List workers and what they declare; declare for one; remove one
    #[command(subcommand)]
    Workers(workers::WorkersCommand),
    /// List queues; pause them, let them go on; change how many of their runs execute at a time
    #[command(subcommand)]
    Queues(queues::QueuesCommand),
    /// Create environments; list, rotate and revoke their API keys
    #[command(subcommand)]
    Env(env::EnvCommand),
    /// Print the OpenAPI description of the HTTP API
    Openapi,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Cli {
    /// Does what was asked; an error is one line on standard error.
    pub async fn run(self) -> ExitCode {
        let done = match self.command.unwrap_or(Command::Dev(self.dev)) {
            Command::Dev(options) => dev(options).await.map_err(Failure::from),
            Command::Trigger(args) => trigger::trigger(args).await,
            Command::Batch(args) => batch::batch(args).await,
            Command::Runs(command) => runs::runs(command).await,
            Command::Keys(command) => keys::keys(command).await,
            Command::Schedules(command) => schedules::schedules(command).await,
            Command::Tokens(command) => tokens::tokens(command).await,
            Command::Workers(command) => workers::workers(command).await,
            Command::Queues(command) => queues::queues(command).await,
            Command::Env(command) => env::env(command).await,
            Command::Openapi => {
                output::print(crate::openapi());
                Ok(())
            }
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "oncekey", &mut script);
                output::print(String::from_utf8_lossy(&script));
                Ok(())
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("oncekey: {failure}");
                failure.exit_code()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
