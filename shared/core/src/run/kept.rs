//! How long runs are kept.

use std::time::Duration;

/// How long a run is kept after its end: 30 days, longer than a message can live in a queue (14 days, an SQS limit).
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long after it was asked for a run's record is there for certain, if it was made: a day less, as clocks differ.
pub const SURELY_KEPT: Duration = Duration::from_secs(29 * 24 * 60 * 60);
/// How long what waits for a run, or does not know how long it is needed, is kept: a delay is at most a year, and the run is
/// kept beyond its start.
pub const KEPT_AT_MOST: Duration = Duration::from_secs((366 + 30) * 24 * 60 * 60);
