//! DynamoDB: one file a table, and what they share.

mod batches;
mod compressed;
mod conditional;
mod environments;
mod expression;
mod journal;
mod keys;
mod list;
mod moves;
mod runs;

use aws_sdk_dynamodb::Client;

pub use environments::ApiKeyRecord;
pub use journal::{Journal, WaitRecord};
pub use keys::{Claimed, KeyAddress, KeyRecord};
pub(crate) use list::Position;
pub use moves::{Move, Moved};

/// The names of Oncekey's tables.
#[derive(Clone, Debug)]
pub struct TableNames {
    /// Partition key `pk`; native TTL on `expires_at`.
    pub keys: String,
    /// Partition key `run_id`, sort key `item`; index [`RUNS_INDEX`]; native TTL on `expires_at`.
    pub runs: String,
    /// Partition key `pk`.
    pub environments: String,
}

/// The KEYS_ONLY index of the runs table that lists an environment's runs: `list_pk` (environment and shard),
/// `list_sk` (creation and run id).
pub const RUNS_INDEX: &str = "newest";

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
    pub fn new(client: Client, tables: TableNames) -> Self {
        Self { client, tables }
    }
}
