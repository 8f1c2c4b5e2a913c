//! The agent's rulesets (`dev/enforcer`) in a kernel, with packets.
//!
//! It needs root, nftables and iproute2, so `cargo test` leaves it out: `make e2e` runs it, or
//! `cargo test -p enforcer --test packets`. It uses network namespaces without a name, which end with the process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod behaviour;
mod cyclonus;
mod inside;
mod net;
mod probe;
