//! Tests with the real programs that `dev/tools install` puts in place: Envoy, `OpenBao`, hvac, cyclonus.
//! `VAULTWALL_ENVOY`, `VAULTWALL_BAO` and so on name others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

mod cases;
mod clients;
mod cyclonus;
mod differential;
mod docs {
    mod argo_cd;
    #[allow(dead_code, reason = "tests/pure.rs uses more of it")]
    mod command;
    mod live;
    #[allow(dead_code, reason = "tests/pure.rs uses more of it")]
    pub(crate) mod page;
    #[allow(dead_code, reason = "tests/pure.rs uses more of it")]
    mod shown;
}
mod golden_in_envoy;
mod key_sets {
    mod keys;
    mod live;
}
mod mtls;
mod program;
mod standalone;
mod tls;
mod trusted_check;
mod vault_paths {
    pub mod list;
    mod live;
}
mod xds;
