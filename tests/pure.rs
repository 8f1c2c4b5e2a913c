//! Tests that need nothing but what Cargo has built: no root, no network, no other program. `make check` runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

mod cases;
mod catalog;
mod compact_json;
mod crd_rules;
mod crd_tables;
mod decisions;
mod denials;
mod descriptors;
mod diff;
mod docs;
mod examples;
mod explain;
mod files;
mod generated;
mod golden;
mod key_sets;
mod program;
mod purity;
mod render;
mod same_bytes;
mod timeouts;
mod validate;
mod vault_paths;
