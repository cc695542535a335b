//! The rules of idempotency, each a test named after it, through HTTP on a local stack of its own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod bad_input;
mod batches;
mod beside;
mod buckets;
mod budget;
mod characters;
mod crons;
mod dashboard;
mod dashboard_tokens;
mod ends;
mod environments;
mod faults;
mod functions;
mod hops;
mod hosted;
mod ingest;
mod journal;
mod keys;
mod large;
mod leases;
mod notes;
mod overdue;
mod permissions;
mod places;
mod protocol;
mod reading;
mod release;
mod replace;
mod replays;
mod reset;
mod retention;
mod routes;
mod schedules;
mod storms;
mod tasks;
mod template;
mod token_waits;
mod tokens;
mod traps;
mod triggering;
mod version_before;
mod waits;
mod wake_ups;
mod window;
