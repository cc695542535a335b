//! `oncekey trigger`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use oncekey_client::{Debounce, Handle, Key, KeyRelease};

use super::failure::{Failure, end_of};
use super::input::json;
use super::output;
use super::remote::Remote;

#[derive(Args)]
pub(crate) struct TriggerArgs {
    /// The task
    task: String,
    /// Its payload: JSON, @FILE to read it from a file, or - for standard input
    payload: Option<String>,
    /// The idempotency key; given several times, its parts
    #[arg(long, short, value_parser = NonEmptyStringValueParser::new())]
    key: Vec<String>,
    /// How long the key holds, like 60s, 5m, 2h or 3d [default: 30 days]
    #[arg(long)]
    key_ttl: Option<String>,
    /// Which ends of its run free the key: on-failure, on-end or never [default: on-failure]
    #[arg(long, value_name = "ENDS")]
    key_release: Option<KeyRelease>,
    /// Fail if another run holds the key
    #[arg(long)]
    refuse_held_key: bool,
    /// Cancel the run that holds the key if it has not ended, and make another in its place
    #[arg(long, conflicts_with = "refuse_held_key")]
    replace_held_key: bool,
    /// Make the key of the payload
    #[arg(long, conflicts_with = "key")]
    key_from_payload: bool,
    /// Start it no earlier: a span like 1h30m, or a date
    #[arg(long)]
    delay: Option<String>,
    /// Push the start of the run that is delayed under this debounce key, if there is one, instead of making another
    #[arg(long, value_name = "KEY", requires = "debounce_delay", conflicts_with = "delay")]
    debounce: Option<String>,
    /// Start it this span after the latest trigger of its debounce key, like 30s
    #[arg(long, value_name = "SPAN", requires = "debounce")]
    debounce_delay: Option<String>,
    /// But no later than this span after the first; a push beyond makes another run
    #[arg(long, value_name = "SPAN", requires = "debounce")]
    debounce_max_delay: Option<String>,
    /// Give it the payload of the latest trigger, and not of the first
    #[arg(long, requires = "debounce")]
    debounce_trailing: bool,
    /// Let it expire unless it has started within this span, like 10m, after it was due
    #[arg(long)]
    expires_in: Option<String>,
    /// A tag; may be given again
    #[arg(long)]
    tag: Vec<String>,
    /// The queue that carries it
    #[arg(long)]
    queue: Option<String>,
    /// Wait for its end and print its output
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn trigger(args: TriggerArgs) -> Result<(), Failure> {
    let client = args.remote.client()?;
    let payload = args.payload.as_deref().map(|text| json("the payload", text)).transpose()?;
    let mut trigger = client.trigger(&args.task, &payload);
    match args.key.as_slice() {
        [] => {}
        [text] => trigger = trigger.idempotency_key(text.as_str()),
        parts => trigger = trigger.idempotency_key(Key::from(parts.to_vec())),
    }
    if args.key_from_payload {
        trigger = trigger.idempotency_key_from([]);
    }
    if let Some(ttl) = &args.key_ttl {
        trigger = trigger.key_ttl(ttl);
    }
    if let Some(release) = args.key_release {
        trigger = trigger.key_release(release);
    }
    if args.refuse_held_key {
        trigger = trigger.refuse_held_key();
    }
    if args.replace_held_key {
        trigger = trigger.replace_held_key();
    }
    if let Some(delay) = &args.delay {
        trigger = trigger.delay(delay);
    }
    if let (Some(key), Some(delay)) = (&args.debounce, &args.debounce_delay) {
        let mut debounce = Debounce::new(key, delay);
        if args.debounce_trailing {
            debounce = debounce.trailing();
        }
        if let Some(span) = &args.debounce_max_delay {
            debounce = debounce.max_delay(span);
        }
        trigger = trigger.debounce(&debounce);
    }
    if let Some(span) = &args.expires_in {
        trigger = trigger.expires_in(span);
    }
    if let Some(queue) = &args.queue {
        trigger = trigger.queue(queue);
    }
    if !args.tag.is_empty() {
        trigger = trigger.option("tags", &args.tag);
    }
    let handle = trigger.await?;
    for warning in &handle.warnings {
        eprintln!("oncekey: {warning}");
    }
    if !args.wait {
        match args.remote.json {
            true => output::print_json(&handle),
            false => output::print(describe(&handle)),
        }
        return Ok(());
    }
    if !args.remote.json {
        output::print(describe(&handle));
    }
    let run = client.runs().poll(&handle.id).await?;
    match args.remote.json {
        true => output::print_json(&run),
        false => output::print_run(&run),
    }
    end_of(run)
}

/// The handle, and why it is this one.
fn describe(handle: &Handle) -> String {
    let Some(key) = &handle.idempotency else {
        // Without a key, only a debounced one was there.
        return format!("{}  {}", handle.id, if handle.is_cached { "pushed" } else { "created" });
    };
    format!("{}  {}  {:?} until {}", handle.id, key.status, key.key, key.window_ends_at)
}
