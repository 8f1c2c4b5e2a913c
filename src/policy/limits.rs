//! Limits of one vault that no installation can move, because what enforces them cannot: numbers only.

/// Most address blocks of a vault with `denial: Drop`, after neighbours are joined. More is slow in every network
/// plugin, and near the size of object that the API server refuses.
pub const MAX_DROP_BLOCKS: usize = 2_000;

/// Most addresses and ranges in one set of a firewall: Envoy rejects an address trie with more.
pub const MAX_RANGES: usize = 262_144;
