//! A thousand schedules of the real handlers, and proof that a fault among them would be seen.

use oncekey_simulation::run;
use oncekey_simulation::world::Mutant;

/// Schedules in which a planted fault is looked for at once: a database's worth.
const PART: usize = 100;

#[test]
fn a_thousand_schedules_break_no_invariant() {
    let report = run(0..1_000, false, None);
    println!("{} runs, {} calls, {} violations", report.runs, report.calls, report.violations.len());
    // A seed is enough to see it again: cargo run -p oncekey-simulation -- --from SEED --schedules 1 --trace
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.runs > 2_000 && report.calls > 50_000, "{} runs, {} calls", report.runs, report.calls);
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    let trace = |seed| run(seed..seed + 1, true, None).trace;
    for seed in 0..20 {
        assert!(trace(seed).len() > 10, "{seed}");
        assert_eq!(trace(seed), trace(seed), "{seed}");
    }
    assert_ne!(trace(1), trace(2));
}

/// Faults, in how many schedules they are looked for at most, and what is said of them.
type Faults<'a> = &'a [(Mutant, u64, &'a str)];

fn are_found(faults: Faults<'_>) {
    for (mutant, schedules, invariant) in faults {
        // In parts: most are found among the first.
        let mut seen = Vec::new();
        let found = (0..*schedules).step_by(PART).find(|from| {
            let report = run(*from..from + PART as u64, false, Some(*mutant));
            seen.extend(report.violations);
            seen.iter().any(|(_, violation)| violation.contains(invariant))
        });
        println!("{mutant:?}: found from {found:?}");
        assert!(found.is_some(), "{mutant:?}: {seen:#?}");
    }
}

#[test]
fn faults_planted_in_keys_resets_debounces_and_tokens_are_found_by_the_invariants_they_break() {
    are_found(&[
        (Mutant::Claim, 200, "I1"),
        (Mutant::Clear, 600, "I4"),
        (Mutant::Fingerprints, 200, "I3: a request id of two requests"),
        (Mutant::ResetRecords, 600, "R40: a reset that meant"),
        (Mutant::Resets, 600, "R40: a reset that meant"),
        (Mutant::RawCharacters, 200, "SQS refuses its message"),
        (Mutant::Pushes, 600, "became DELAYED"),
        (Mutant::Aliases, 600, "R89: request"),
        (Mutant::Completions, 200, "R93: "),
        (Mutant::TokenWaits, 1_000, "I9: run"),
        (Mutant::Ticks, 400, "R83: "),
    ]);
}

#[test]
fn faults_planted_in_starts_waits_and_what_expires_are_found_by_the_invariants_they_break() {
    are_found(&[
        (Mutant::Start, 200, "was COMPLETED and became EXECUTING"),
        (Mutant::Suspend, 2_000, "I8 or I9"),
        (Mutant::Lease, 600, "took an attempt up"),
        (Mutant::Expire, 200, "I2"),
        (Mutant::ExpireSteps, 1_000, "its step gave"),
        (Mutant::ExpirePayloads, 1_000, "which has expired"),
        (Mutant::ExpireEnds, 200, "nobody knows how its child ended"),
        (Mutant::LatePayloads, 200, "which is not there"),
        (Mutant::EarlyWakes, 200, "I8 or I9"),
        (Mutant::Places, 200, "I11: "),
        (Mutant::Parked, 200, "I8 or I9"),
        (Mutant::Slots, 600, "R111: a counter"),
        (Mutant::Unpaced, 400, "R111: "),
        (Mutant::Impatience, 600, "I8: nothing failed but for a passing reason"),
    ]);
}

/// Those that show in one schedule of a thousand or fewer: some minutes.
#[test]
#[ignore = "cargo test --release --workspace --test schedules -- --ignored"]
fn rare_faults_are_found_by_the_invariants_they_break() {
    are_found(&[
        (Mutant::Deployments, 2_000, "R97: "),
        (Mutant::Successors, 4_000, "R76: "),
        (Mutant::Helpers, 20_000, "I3: a request of its own"),
    ]);
}
