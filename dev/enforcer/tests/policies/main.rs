//! The `NetworkPolicy` agent of the local cluster: how it resolves policies, and the ruleset that it keeps.
//!
//! The test `packets` shows that the kernel enforces the rulesets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cyclonus;
mod keeping;
mod ruleset;
mod semantics;
