//! Logs are events with fields, one JSON object a line on Lambda. Never a payload, never an API key.

use tracing_subscriber::EnvFilter;

/// Starts logging for a Lambda function: JSON on standard output, level from `RUST_LOG`, `info` by default. Lambda adds
/// the time.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).without_time().init();
}
