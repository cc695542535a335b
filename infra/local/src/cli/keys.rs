//! `oncekey keys`.

use clap::{Args, Subcommand, ValueEnum};
use oncekey_client::{Key, Scope};
use serde_json::json;

use super::failure::Failure;
use super::output;
use super::remote::Remote;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Show which run holds a key, and until when
    Get(KeyArgs),
    /// Free a key; the run that held it goes on
    Reset(KeyArgs),
}

#[derive(Args)]
pub(crate) struct KeyArgs {
    /// The key's text or its hash; several texts are its parts
    #[arg(required = true)]
    key: Vec<String>,
    /// The task in which it holds
    #[arg(long)]
    task: String,
    /// How far it reaches, if it was made inside a task
    #[arg(long, value_enum, default_value_t = KeyScope::Global)]
    scope: KeyScope,
    /// The run in which it was made, for the scopes run and attempt
    #[arg(long)]
    run: Option<String>,
    /// The attempt in which it was made, for the scope attempt
    #[arg(long)]
    attempt: Option<u32>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyScope {
    Global,
    Run,
    Attempt,
}

impl KeyArgs {
    fn key(&self) -> Key {
        let scope = match self.scope {
            KeyScope::Global => Scope::Global,
            KeyScope::Run => Scope::Run,
            KeyScope::Attempt => Scope::Attempt,
        };
        let key = match self.key.as_slice() {
            [text] => Key::from(text.as_str()),
            parts => Key::from(parts.to_vec()),
        };
        let key = self.run.iter().fold(key.scope(scope), |key, run| key.in_run(run));
        self.attempt.iter().fold(key, |key, attempt| key.in_attempt(*attempt))
    }

    fn free(&self) -> Failure {
        Failure::KeyIsFree { key: self.key.join("-"), task: self.task.clone() }
    }
}

pub(crate) async fn keys(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Get(args) => {
            let held = args.remote.client()?.key(&args.task, args.key()).await?.ok_or_else(|| args.free())?;
            if args.remote.json {
                output::print_json(&held);
                return Ok(());
            }
            let lines = [
                ("key", held.key),
                ("hash", held.hash.to_string()),
                ("run", held.run_id.to_string()),
                ("since", held.first_triggered_at.to_string()),
                ("until", held.window_ends_at.to_string()),
            ];
            for (name, value) in lines {
                output::print(format_args!("{name:<6} {value}"));
            }
            Ok(())
        }
        KeysCommand::Reset(args) => {
            let key = args.key();
            match args.remote.client()?.reset(&args.task, key.clone()).await {
                Err(error) if error.status() == Some(404) => return Err(args.free()),
                done => done?,
            }
            match args.remote.json {
                true => output::print_json(&json!({ "id": key.hash() })),
                false => output::print(format_args!("{:?} in {} is free", args.key.join("-"), args.task)),
            }
            Ok(())
        }
    }
}
