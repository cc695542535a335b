//! `oncekey tokens`.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use oncekey_client::{Json, Timestamp, Token, TokenOptions, TokenStatus};

use super::failure::Failure;
use super::input::json;
use super::output;
use super::remote::Remote;

#[derive(Subcommand)]
pub(crate) enum TokensCommand {
    /// Create a token, or give the one of this key
    Create(CreateArgs),
    /// List tokens, newest first
    List(ListArgs),
    /// Show a token with what it was completed with
    Get(OneArgs),
    /// Complete a token; one that has ended stays as it is
    Complete(CompleteArgs),
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// When its time is over: a span like 1h30m, or a date [default: 10m]
    #[arg(long)]
    timeout: Option<String>,
    /// The idempotency key, of which there is one token
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// How long the key holds, like 60s, 5m, 2h or 3d [default: 30 days]
    #[arg(long)]
    key_ttl: Option<String>,
    /// A tag; may be given again
    #[arg(long)]
    tag: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// In this status, like waiting; several with commas between
    #[arg(long)]
    status: Option<String>,
    /// With this tag; with one of several with commas between
    #[arg(long)]
    tag: Option<String>,
    /// How many at most
    #[arg(long, short = 'n', default_value_t = 25)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct OneArgs {
    /// The token's id
    token: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(crate) struct CompleteArgs {
    /// The token's id
    token: String,
    /// What it is completed with: JSON, @FILE to read it from a file, or - for standard input
    data: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn tokens(command: TokensCommand) -> Result<(), Failure> {
    match command {
        TokensCommand::Create(args) => create(&args).await,
        TokensCommand::List(args) => list(&args).await,
        TokensCommand::Get(OneArgs { token, remote }) => {
            let token = remote.client()?.tokens().retrieve(&token).await?;
            match remote.json {
                true => output::print_json(&token),
                false => show(&token),
            }
            Ok(())
        }
        TokensCommand::Complete(CompleteArgs { token, data, remote }) => {
            let client = remote.client()?;
            let data = data.as_deref().map(|text| json("the data", text)).transpose()?.filter(|data| !data.is_null());
            client.tokens().complete(&token, &data).await?;
            // How it stands: an end that came before is the one.
            let token = client.tokens().retrieve(&token).await?;
            let stands =
                token.status == TokenStatus::Completed && token.output.as_deref() == data.as_ref().map(Json::get);
            match remote.json {
                true => output::print_json(&token),
                false if stands => output::print(format_args!("{}  {}", token.id, token.status)),
                false => output::print(format_args!(
                    "{}  {}  it had ended before: nothing was changed",
                    token.id, token.status
                )),
            }
            Ok(())
        }
    }
}

async fn create(args: &CreateArgs) -> Result<(), Failure> {
    let mut options = TokenOptions::new();
    if let Some(timeout) = &args.timeout {
        options = options.timeout(timeout);
    }
    if let Some(key) = &args.key {
        options = options.key(key);
    }
    if let Some(ttl) = &args.key_ttl {
        options = options.key_ttl(ttl);
    }
    for tag in &args.tag {
        options = options.tag(tag);
    }
    let token = args.remote.client()?.tokens().create(&options).await?;
    match args.remote.json {
        true => output::print_json(&token),
        false => {
            let how = if token.is_cached { "cached" } else { "created" };
            output::print(format_args!("{}  {how}  {}", token.id, token.url));
        }
    }
    Ok(())
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let mut list = client.tokens().list().page_size(args.limit.clamp(1, 100));
    if let Some(status) = &args.status {
        list = list.filter("status", &status.to_uppercase());
    }
    if let Some(tag) = &args.tag {
        list = list.filter("tags", tag);
    }
    let mut tokens = Vec::new();
    let mut found = std::pin::pin!(list.stream());
    while tokens.len() < args.limit
        && let Some(token) = found.try_next().await?
    {
        tokens.push(token);
    }
    match args.remote.json {
        true => tokens.iter().for_each(output::print_json),
        false if tokens.is_empty() => output::print("no tokens"),
        false => {
            output::print(output::table(["TOKEN", "STATUS", "TAGS", "KEY", "CREATED", "ENDS"], tokens.iter().map(row)))
        }
    }
    Ok(())
}

fn row(token: &Token) -> [String; 6] {
    let tags = output::visible(&token.tags.join(", "));
    let key = token.idempotency_key.as_deref().map(output::visible).unwrap_or_default();
    let ends = token.completed_at.unwrap_or(token.timeout_at);
    [token.id.to_string(), token.status.to_string(), tags, key, token.created_at.to_string(), ends.to_string()]
}

/// All that is known of a token.
fn show(token: &Token) {
    let shown = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let tags = Some(output::visible(&token.tags.join(", "))).filter(|tags| !tags.is_empty());
    let lines = [
        ("token", Some(token.id.to_string())),
        ("status", Some(token.status.to_string())),
        ("tags", tags),
        ("key", token.idempotency_key.as_deref().map(output::visible)),
        ("key until", shown(token.idempotency_key_expires_at)),
        ("created", Some(token.created_at.to_string())),
        ("times out", Some(token.timeout_at.to_string())),
        ("ended", shown(token.completed_at)),
        ("url", Some(token.url.clone())),
        ("output", token.output.as_deref().map(pretty)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            // What spans lines goes on under its first.
            output::print(format_args!("{name:<12} {}", value.replace('\n', &format!("\n{:13}", ""))));
        }
    }
}

/// JSON of somebody's choice, spread over lines.
fn pretty(text: &str) -> String {
    let spread = serde_json::from_str(text).map_or_else(|_| text.to_owned(), |json: Json| json.pretty());
    output::visible_lines(&spread)
}
