//! Logs are events with fields, one JSON object a line on Lambda. Never a payload, never an API key.

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging for a Lambda function: JSON on standard output, Lambda adds the time. `RUST_LOG` sets the level, as
/// `debug` or `info,oncekey_core=trace`; `info` by default.
pub fn init() {
    let targets = std::env::var("RUST_LOG").ok().and_then(|levels| levels.parse::<Targets>().ok());
    let targets = targets.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    tracing_subscriber::registry().with(lines(std::io::stdout)).with(targets).with(without_payloads()).init();
}

/// Writes each event as a line of JSON. What a task's own code says has its run's id in `span`.
pub fn lines<S, W>(to: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).without_time().with_writer(to)
}

/// Holds back the traces of other crates, whatever `RUST_LOG` says: the AWS SDKs, Lambda's runtime and the HTTP libraries
/// trace whole requests and answers. What they say from `debug` on passes, and all that our own crates say.
#[must_use]
pub fn without_payloads() -> FilterFn {
    filter_fn(|metadata| *metadata.level() <= LevelFilter::DEBUG || metadata.target().starts_with("oncekey"))
}
