//! The tables' keys and indexes. The template declares them for AWS, and the local stack makes them, both as it stands here.

/// What a table must have to be one of ours. All attributes that it names are texts.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The partition key, and the sort key if there is one.
    pub key: &'static [&'static str],
    /// A KEYS_ONLY index: its name, and its partition and sort key.
    pub index: Option<(&'static str, [&'static str; 2])>,
    /// The attribute with the second in which an item may be deleted, where items are.
    pub expires_at: Option<&'static str>,
}

/// The KEYS_ONLY index of the runs table that lists an environment's runs: `list_pk` (environment and shard),
/// `list_sk` (creation and run id).
pub const RUNS_INDEX: &str = "newest";

/// The table of keys.
pub const KEYS: Schema = Schema { key: &["pk"], index: None, expires_at: Some("expires_at") };

/// The table of runs and batches, and of what runs leave behind.
pub const RUNS: Schema = Schema {
    key: &["run_id", "item"],
    index: Some((RUNS_INDEX, ["list_pk", "list_sk"])),
    expires_at: Some("expires_at"),
};

/// The table of API keys.
pub const ENVIRONMENTS: Schema = Schema { key: &["pk"], index: None, expires_at: None };

impl Schema {
    /// Every attribute that a key or an index is made of.
    pub fn attributes(&self) -> impl Iterator<Item = &'static str> {
        self.key.iter().copied().chain(self.index.into_iter().flat_map(|(_, key)| key))
    }
}
