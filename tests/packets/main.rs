//! The agent's rulesets (`dev/enforcer`) in a kernel, with packets.
//!
//! It needs root, nftables and iproute2, so `cargo test` leaves it out: `make e2e` runs it, or `cargo test --test packets`. All happens in
//! network namespaces of its own without a name, which are gone with the process however it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod behaviour;
#[path = "../conformance/mod.rs"]
mod conformance;
mod cyclonus;
mod inside;
mod net;
#[path = "../../dev/enforcer/policy/mod.rs"]
mod policy;
mod probe;
#[path = "../tool/mod.rs"]
mod tool;
