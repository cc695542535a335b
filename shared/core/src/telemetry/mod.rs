//! What a process tells of itself: log lines and metrics.

pub mod lines;
pub mod logs;
pub mod metrics;
