//! The local cluster's `NetworkPolicy` agent (`dev/enforcer`): what it takes policies to mean.
//!
//! `tests/packets` shows that the kernel does what is said here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../../dev/enforcer/agent.rs"]
mod agent;
#[path = "../conformance/mod.rs"]
mod conformance;
mod cyclonus;
mod keeping;
#[path = "../kubernetes/mod.rs"]
mod kubernetes;
#[path = "../loopback/mod.rs"]
mod loopback;
#[path = "../../dev/enforcer/nft.rs"]
mod nft;
#[path = "../../dev/enforcer/policy/mod.rs"]
mod policy;
mod ruleset;
mod semantics;
#[path = "../tool/mod.rs"]
mod tool;
