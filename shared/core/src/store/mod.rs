//! DynamoDB: one file a table, and what they share.

mod batches;
mod beside;
mod bulk;
mod bulk_actions;
mod compressed;
mod conditional;
mod crons;
mod debounces;
mod deployments;
mod environments;
mod expression;
mod journal;
mod keys;
mod limits;
mod list;
mod moves;
mod notes;
mod parked;
mod places;
mod rates;
mod resets;
mod runs;
pub mod schema;
mod token_uses;
mod tokens;
mod waiters;

use aws_sdk_dynamodb::Client;

pub use beside::{Found, Place, place, take_metadata};
pub(crate) use bulk_actions::BulkPosition;
pub use crons::PutIf;
pub use debounces::{DebounceClaim, Debounced};
pub use deployments::Declared;
pub use environments::ApiKeyRecord;
pub use journal::{Journal, Settled, StepResult, Wait, step_item};
pub use keys::{Claimed, KeyAddress, KeyRecord};
pub(crate) use list::Position;
pub use moves::{Move, Moved, Progress};
pub(crate) use parked::parked_name;
pub use places::{PURGED_AT_ONCE, PlacesWrite, Put};
pub use resets::ResetRecord;
pub use schema::RUNS_INDEX;
pub use tokens::TokenWritten;
pub use waiters::Registration;

/// The names of Oncekey's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNames {
    /// The table of [keys](schema::KEYS).
    pub keys: String,
    /// The table of [runs](schema::RUNS).
    pub runs: String,
    /// The table of [API keys](schema::ENVIRONMENTS).
    pub environments: String,
}

/// How many shards an environment's list of runs has, so that no partition of the index gets hot.
pub const SHARDS: u32 = 8;

/// A client of Oncekey's tables.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    tables: TableNames,
}

impl Store {
    /// A client that makes no call until it is used.
    #[must_use]
    pub fn new(client: Client, tables: TableNames) -> Self {
        Self { client, tables }
    }
}
