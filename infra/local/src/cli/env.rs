//! `oncekey env`: environments and their API keys. It writes to the tables themselves, with AWS's own permissions: no API
//! key can make another.

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_dynamodb::error::DisplayErrorContext;
use clap::{Args, Subcommand};
use oncekey_core::environment::{ApiKey, create, revoke, rotate};
use oncekey_core::settings::ENVIRONMENTS_TABLE;
use oncekey_core::store::{ApiKeyRecord, Store, TableNames};
use oncekey_core::{Clock, EnvironmentId, aws_settings, span};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output;
use crate::stack::data::Endpoints;
use crate::stack::sdk_config;
use crate::stack::tables;

#[derive(Subcommand)]
pub(crate) enum EnvCommand {
    /// Create an environment, and print its API key: this once
    Create(OneArgs),
    /// List environments and their API keys, masked
    List(Tables),
    /// Make a new API key, and end the present ones a while later
    Rotate(RotateArgs),
    /// End an API key now; it may still work for a minute
    Revoke(RevokeArgs),
}

/// Which tables: those of a stack on AWS, or that ONCEKEY_ENVIRONMENTS_TABLE names, with AWS's own settings and permissions; or
/// those of the stack that runs on this machine.
#[derive(Args)]
pub(crate) struct Tables {
    /// The data folder of the stack that runs on this machine
    #[arg(long, value_name = "DIR", default_value = ".oncekey")]
    data: PathBuf,
    /// The CloudFormation stack on AWS, like oncekey
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    stack: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct OneArgs {
    /// The environment: project/name, of a-z, 0-9 and -
    #[arg(value_parser = EnvironmentId::parse)]
    environment: EnvironmentId,
    #[command(flatten)]
    tables: Tables,
}

#[derive(Args)]
pub(crate) struct RotateArgs {
    /// How long the present keys still work
    #[arg(long, default_value = "1d", value_parser = overlap)]
    overlap: Duration,
    #[command(flatten)]
    of: OneArgs,
}

#[derive(Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    of: OneArgs,
    /// The key's name, as `list` shows it
    key: String,
}

fn overlap(text: &str) -> Result<Duration, &'static str> {
    span::parse(text).ok_or("give a span like 30m, 12h or 7d; 0s for none")
}

pub(crate) async fn env(command: EnvCommand) -> Result<(), Failure> {
    let clock = Clock::system();
    match command {
        EnvCommand::Create(OneArgs { environment, tables }) => {
            let (store, place) = tables.store().await?;
            let key = create(&store, &clock, &environment).await?;
            show_new(&environment, &key, &place, tables.json);
        }
        EnvCommand::List(tables) => {
            let records = tables.store().await?.0.api_keys().await?;
            list(&records, &clock, tables.json);
        }
        EnvCommand::Rotate(RotateArgs { overlap, of: OneArgs { environment, tables } }) => {
            let (store, place) = tables.store().await?;
            let key = rotate(&store, &clock, &environment, overlap).await?;
            show_new(&environment, &key, &place, tables.json);
        }
        EnvCommand::Revoke(RevokeArgs { of: OneArgs { environment, tables }, key }) => {
            let record = revoke(&tables.store().await?.0, &clock, &environment, &key).await?;
            match tables.json {
                true => output::print_json(&to_json(&record, &clock)),
                false => output::print(format_args!("{} of {environment} is revoked", record.hint)),
            }
        }
    }
    Ok(())
}

impl Tables {
    /// The tables, and which Oncekey's they are.
    async fn store(&self) -> Result<(Store, String), Failure> {
        let named = std::env::var(ENVIRONMENTS_TABLE).ok();
        if self.stack.is_some() || named.is_some() {
            let sdk = aws_settings().load().await;
            let client = aws_sdk_dynamodb::Client::new(&sdk);
            let region = sdk.region().map_or_else(String::new, |region| format!(" in {region}"));
            let (environments, place) = match (&self.stack, named) {
                (Some(stack), _) => (table_of(&client, stack, &region).await?, format!("the stack {stack}{region}")),
                (None, named) => {
                    let table = named.unwrap_or_default();
                    (table.clone(), format!("the table {table}{region}"))
                }
            };
            return Ok((Store::new(client, TableNames { environments, ..tables::names("oncekey") }), place));
        }
        let Some(endpoints) = Endpoints::read(&self.data) else {
            let folder = self.data.display();
            return Err(Failure::Usage(format!(
                "no oncekey has run on {folder}: start one with `oncekey dev`, name its folder with --data, or its stack on AWS with --stack (or set {ENVIRONMENTS_TABLE})"
            )));
        };
        // On AWS a network may be slow to answer; here nobody answers when nobody is there.
        let reachable = tokio::net::TcpStream::connect(endpoints.dynamodb.trim_start_matches("http://")).await;
        if reachable.is_err() {
            return Err(Failure::NotDone(format!("no oncekey is running on {}: start it", self.data.display())));
        }
        let client = aws_sdk_dynamodb::Client::new(&sdk_config(&endpoints.dynamodb).await);
        Ok((Store::new(client, tables::names("oncekey")), endpoints.url))
    }
}

/// The environments table of a stack, as CloudFormation names it: no other call is needed than DynamoDB's own.
async fn table_of(client: &aws_sdk_dynamodb::Client, stack: &str, region: &str) -> Result<String, Failure> {
    let start = format!("{stack}-EnvironmentsTable-");
    let asked = client.list_tables().exclusive_start_table_name(&start).limit(2).send().await;
    let found = asked
        .map_err(|error| Failure::NotDone(format!("dynamodb:ListTables failed: {}", DisplayErrorContext(error))))?;
    let tables: Vec<&String> = found.table_names().iter().filter(|name| name.starts_with(&start)).collect();
    match tables.as_slice() {
        [table] => Ok((*table).clone()),
        [] => Err(Failure::NotDone(format!(
            "there is no stack {stack} of Oncekey{region}: say its name, and its region in AWS_REGION"
        ))),
        _ => Err(Failure::NotDone(format!(
            "{stack} has had several tables of environments{region}: set {ENVIRONMENTS_TABLE} to its output `Environments`"
        ))),
    }
}

fn show_new(environment: &EnvironmentId, key: &ApiKey, place: &str, json: bool) {
    match json {
        true => output::print_json(&json!({ "environment": environment, "apiKey": key.reveal(), "oncekey": place })),
        false => output::print(format_args!(
            "{environment}  {}\nIt opens {place}. This is the only time it is shown.",
            key.reveal()
        )),
    }
}

fn list(records: &[ApiKeyRecord], clock: &Clock, json: bool) {
    if json {
        return records.iter().for_each(|record| output::print_json(&to_json(record, clock)));
    }
    let row = |record: &ApiKeyRecord| {
        let state = match (record.opens(clock.now()), record.valid_until) {
            (true, None) => "live".to_owned(),
            (true, Some(until)) => format!("until {until}"),
            (false, _) => "ended".to_owned(),
        };
        [
            record.environment.to_string(),
            record.name().to_owned(),
            record.hint.clone(),
            record.created_at.to_string(),
            state,
        ]
    };
    output::print(output::table(["ENVIRONMENT", "KEY", "LOOKS LIKE", "CREATED", "STATE"], records.iter().map(row)));
}

fn to_json(record: &ApiKeyRecord, clock: &Clock) -> Value {
    json!({
        "environment": record.environment,
        "key": record.name(),
        "hint": record.hint,
        "createdAt": record.created_at.to_string(),
        "validUntil": record.valid_until.map(|until| until.to_string()),
        "live": record.opens(clock.now()),
        "signsPublicTokens": record.signer.is_some(),
    })
}
