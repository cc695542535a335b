//! What the kernel tells of a process.

use std::time::Duration;

/// Clock ticks a second in `/proc`: 100 on every Linux since long.
const TICKS: f64 = 100.0;

/// CPU time used so far, in user and kernel mode.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold spaces: user time is the 12th field, system time the 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS)
}

/// Resident memory, in kilobytes: `VmRSS` now, `VmHWM` at most.
pub(crate) fn memory_kb(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
