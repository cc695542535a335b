//! Runs schedules and prints what they break: `cargo run --release -p oncekey-simulation -- --schedules 1000000`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use oncekey_simulation::world::Mutant;

/// Simulates the real handlers where any call may fail and any process may die.
#[derive(Parser)]
struct Cli {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seeds, from the first on
    #[arg(long, default_value_t = 10_000)]
    schedules: u64,
    /// Print every step of every schedule
    #[arg(long)]
    trace: bool,
    /// A fault to plant
    #[arg(long)]
    mutant: Option<Mutant>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let start = Instant::now();
    let report = oncekey_simulation::run(cli.from..cli.from + cli.schedules, cli.trace, cli.mutant);
    for line in &report.trace {
        println!("{line}");
    }
    for (seed, violation) in &report.violations {
        println!("seed {seed}: {violation}");
    }
    println!(
        "{} schedules from seed {}: {} runs, {} calls, {} violations, {:.0} s",
        cli.schedules,
        cli.from,
        report.runs,
        report.calls,
        report.violations.len(),
        start.elapsed().as_secs_f64()
    );
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
