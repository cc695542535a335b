//! What a process tells of itself: log lines and metrics.

pub mod logs;
pub mod metrics;
